import pytest

from stitching.status.cells import Machine
from stitching.status.sweeps import look
from stitching.status.texts import describe, duration
from tests.status.made import HERE, NOW, cell, pairs, plan

AWAY = "another-machine"


def said(folder, width=100):
    return describe(look(folder, Machine(HERE, NOW)), width)


@pytest.fixture
def mixed(tmp_path):
    """A sweep that has one cell of each kind."""
    plan(tmp_path, pairs(("a", "b", "c")), host=AWAY, launcher="submitit_slurm", pid=77)
    cell(tmp_path, "a-to-vae_0", seconds=120)
    cell(tmp_path, "a-to-nf_1", reused="/x")
    cell(tmp_path, "b-to-vae_2", "failed", error="ValueError: no weights")
    cell(tmp_path, "b-to-nf_3", "running", host="node7", age=2, progress={})
    cell(tmp_path, "c-to-vae_4", "running", host=AWAY, age=100, progress={"stage": "fit"})
    return tmp_path


def test_the_heading_tells_what_where_and_how_far(mixed):
    assert said(mixed).split("\n\n")[0].splitlines() == [
        "s-1: running",
        "  started 2027-01-15 07:00:00 UTC on another-machine by process 77, "
        "launcher submitit_slurm",
        "  launch.py -m encoder=vae,nf",
        "  6 planned: 2 done (1 reused), 1 failed, 1 running, 1 dead, 1 to come",
        "  1 h elapsed, 1 cells/h, about 2 min 58 s left",
    ]


def test_the_grid_has_a_sign_for_each_pair(mixed):
    assert said(mixed).split("\n\n")[1].splitlines() == [
        "encoder vae  nf",
        "a         +   =",
        "b         x   >",
        "c         !   .",
        "x failed   ! dead   > running   . to come   + done   = reused",
    ]


def test_a_running_cell_tells_stage_bar_rate_heartbeat_and_machine(mixed):
    assert (
        "b-to-nf_3  encode: vae encodes train [########--] 1,200/1,500 images, 210/s, "
        "heartbeat 2 s ago, on node7"
    ) in said(mixed)


def test_a_failed_cell_tells_its_error_and_where_more_is(mixed):
    error = mixed / "b-to-vae_2/error.txt"
    assert f"b-to-vae_2  ValueError: no weights\n    {error}" in said(mixed)


def test_a_dead_cell_tells_why_and_where_it_was_seen_last(mixed):
    assert (
        "c-to-vae_4  no heartbeat for more than 60 s (on another-machine); last seen in fit "
        "1 min 40 s ago"
    ) in said(mixed)


def test_a_dead_sweep_tells_how_to_go_on(tmp_path):
    plan(tmp_path, pairs())
    text = said(tmp_path)
    assert "s-1: dead: its process 999999999 is gone, and no cell runs" in text
    assert f"to go on, either of\n  make resume DIR={tmp_path}\n  cd '/work dir' && " in text
    assert "4 missing" in text


def test_a_sweep_that_may_wait_in_a_queue_is_not_called_dead(tmp_path):
    plan(tmp_path, pairs(), host="login1")
    assert "no sign of life; it was started on login1" in said(tmp_path)


def test_of_several_cells_of_a_pair_the_worst_is_shown(tmp_path):
    plan(tmp_path, [("a", "b")] * 3)
    cell(tmp_path, "a-to-b_0")
    cell(tmp_path, "a-to-b_1", "failed", error="E: x")
    cell(tmp_path, "a-to-b_2")
    text = said(tmp_path)
    assert "\na       x\n" in text
    assert "of several cells of a pair" in text


def test_names_that_do_not_fit_stand_upright(tmp_path):
    plan(tmp_path, pairs(("vae",), ("nf", "vqvae", "diffusion")))
    assert said(tmp_path, 20).split("\n\n")[1].splitlines()[:10] == [
        "            d",
        "            i",
        "            f",
        "            f",
        "          v u",
        "          q s",
        "          v i",
        "        n a o",
        "encoder f e n",
        "vae     . . .",
    ]


def test_a_grid_too_wide_for_the_terminal_is_broken(tmp_path):
    plan(tmp_path, pairs(("a",), [f"model{i}" for i in range(30)]))
    grid = said(tmp_path, 40).split("\n\n")[1]
    assert max(map(len, grid.splitlines()[:-1])) <= 40
    assert sum(line.count(".") for line in grid.splitlines()[:-1]) == 30


def test_many_cells_of_one_kind_are_counted(tmp_path):
    plan(tmp_path, [("a", f"m{i}") for i in range(30)])
    for i in range(30):
        cell(tmp_path, f"a-to-m{i}_{i}", "failed", error="E: x")
    assert "and 10 more: --json names all" in said(tmp_path)


def test_a_single_cell_has_no_grid(tmp_path):
    plan(tmp_path, [("a", "b")])
    text = said(cell(tmp_path, "a-to-b_0", "running", host=AWAY, age=3, progress={}))
    assert text.startswith("a-to-b_0 of s-1: running\n")
    assert "encoder b" not in text
    assert "1 min 3 s elapsed" in text


def test_odd_values_of_a_heartbeat_are_left_out(tmp_path):
    odd = {"stage": None, "text": 3, "done": "x", "total": 0, "rate": None}
    plan(tmp_path, [("a", "b")], host=AWAY)
    cell(tmp_path, "a-to-b_0", "running", host=AWAY, age=3, progress=odd)
    assert "a-to-b_0  : 3, heartbeat 3 s ago" in said(tmp_path)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.6, "1 min"), (61, "1 min 1 s"), (7200, "2 h"), (90_061, "1 d 1 h")],
)
def test_durations_have_their_two_largest_units(seconds, text):
    assert duration(seconds) == text
