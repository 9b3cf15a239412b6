import os
import time

import pytest

from stitching.status.cells import Machine
from stitching.status.sweeps import look
from tests.status.made import HERE, NOW, STARTED, cell, iso, pairs, plan

AWAY = "another-machine"
MACHINE = Machine(HERE, NOW)


def alive(**facts):
    """A cell that runs elsewhere, as its heartbeat tells."""
    return {"state": "running", "host": AWAY, "age": 2, "progress": {}} | facts


def test_cells_are_counted_by_state(tmp_path):
    plan(tmp_path, pairs(("a", "b", "c")), host=AWAY)
    cell(tmp_path, "a-to-vae_0")
    cell(tmp_path, "a-to-nf_1", reused="/x")
    cell(tmp_path, "b-to-vae_2", "failed", error="E: x")
    cell(tmp_path, "b-to-nf_3", **alive())
    cell(tmp_path, "c-to-vae_4", "running", host=AWAY, age=100, progress={})
    sweep = look(tmp_path, MACHINE)
    assert sweep.counts == {
        "done": 2, "reused": 1, "failed": 1, "interrupted": 0, "running": 1, "dead": 1,
        "missing": 1,
    }  # fmt: skip
    assert sweep.planned == 6


def test_a_sweep_runs_while_a_cell_does(tmp_path):
    plan(tmp_path, pairs(), host=AWAY)
    cell(tmp_path, "vae-to-vae_0", **alive())
    assert look(tmp_path, MACHINE).state == "running"


def test_a_sweep_runs_while_its_process_lives_here_though_no_cell_does(tmp_path):
    plan(tmp_path, pairs(), pid=os.getpid(), started=iso(time.time()))
    assert look(tmp_path, Machine(HERE, time.time())).state == "running"


def test_a_sweep_whose_process_here_is_gone_is_dead(tmp_path):
    plan(tmp_path, pairs())
    cell(tmp_path, "vae-to-vae_0")
    sweep = look(tmp_path, MACHINE)
    assert (sweep.state, sweep.complete, sweep.counts["missing"]) == ("dead", False, 3)


def test_of_a_sweep_started_elsewhere_without_signs_of_life_nothing_is_known(tmp_path):
    plan(tmp_path, pairs(), host=AWAY)
    assert look(tmp_path, MACHINE).state == "unknown"


def test_a_sweep_that_says_it_ended_is_finished_whatever_is_missing(tmp_path):
    plan(tmp_path, pairs(), finished=iso(NOW))
    cell(tmp_path, "vae-to-vae_0")
    sweep = look(tmp_path, MACHINE)
    assert (sweep.state, sweep.complete) == ("finished", False)


def test_a_sweep_killed_after_its_last_cell_is_finished(tmp_path):
    plan(tmp_path, pairs(("a",), ("b",)))
    cell(tmp_path, "a-to-b_0")
    sweep = look(tmp_path, MACHINE)
    assert (sweep.state, sweep.complete) == ("finished", True)


def test_failed_cells_leave_a_finished_sweep_incomplete(tmp_path):
    plan(tmp_path, pairs(("a",), ("b",)))
    cell(tmp_path, "a-to-b_0", "failed", error="E: x")
    sweep = look(tmp_path, MACHINE)
    assert (sweep.state, sweep.complete) == ("finished", False)


def test_of_cells_of_one_process_only_the_last_begun_runs(tmp_path):
    plan(tmp_path, pairs(("a",), ("b", "c")), pid=os.getpid(), started=iso(time.time()))
    for age, name in ((5, "a-to-b_0"), (2, "a-to-c_1")):
        started = iso(time.time() - age)
        cell(tmp_path, name, "running", pid=os.getpid(), started=started)
    sweep = look(tmp_path, Machine(HERE, time.time()))
    assert [c.state for c in sweep.cells] == ["dead", "running"]


def test_cells_of_an_earlier_start_wait_for_this_one(tmp_path):
    plan(tmp_path, pairs(("a",), ("b",)), sweep="s-2", host=AWAY)
    cell(tmp_path, "a-to-b_0", sweep="s-1")
    sweep = look(tmp_path, MACHINE)
    assert sweep.cells[0].state == "missing"
    assert "earlier start" in sweep.cells[0].reason
    assert "cells of an earlier start" in sweep.notes[0]


def test_a_sweep_without_a_plan_is_read_from_its_cells(tmp_path):
    cell(tmp_path, "vae-to-nf_1")
    cell(tmp_path, "vae-to-vae_0", "failed", error="E: x")
    (tmp_path / "figures").mkdir()
    sweep = look(tmp_path, MACHINE)
    assert [c.folder for c in sweep.cells] == ["vae-to-vae_0", "vae-to-nf_1"]
    assert (sweep.planned, sweep.state, sweep.name) == (None, "finished", "s-1")


def test_without_a_plan_the_sweep_that_wrote_last_counts(tmp_path):
    cell(tmp_path, "vae-to-vae_0", sweep="old", age=500)
    cell(tmp_path, "vae-to-nf_1", sweep="new", age=5)
    sweep = look(tmp_path, MACHINE)
    assert [c.folder for c in sweep.cells] == ["vae-to-nf_1"]
    assert sweep.notes


def test_a_sweeper_that_decides_as_it_goes_has_no_known_number(tmp_path):
    plan(tmp_path, [], jobs=None, sweeper="optuna", host=AWAY)
    cell(tmp_path, "vae-to-vae_0")
    cell(tmp_path, "vae-to-vae_1", **alive())
    sweep = look(tmp_path, MACHINE)
    assert (sweep.planned, sweep.state, sweep.left_s) == (None, "running", None)


def test_a_sweeper_that_decides_as_it_goes_is_finished_when_it_says_so(tmp_path):
    plan(tmp_path, [], jobs=None, sweeper="optuna")
    cell(tmp_path, "vae-to-vae_0")
    assert look(tmp_path, MACHINE).state == "dead"
    plan(tmp_path, [], jobs=None, sweeper="optuna", finished=iso(NOW))
    assert look(tmp_path, MACHINE).complete


def test_time_left_is_that_of_the_median_cell_on_as_many_workers_as_run(tmp_path):
    plan(tmp_path, [("a", f"m{i}") for i in range(9)], host=AWAY)
    for i, seconds in enumerate((10, 100, 1000)):
        cell(tmp_path, f"a-to-m{i}_{i}", seconds=seconds)
    for i in (3, 4):
        cell(tmp_path, f"a-to-m{i}_{i}", **alive(seconds=38))  # begun 40 s ago
    # Four to come of 100 s, and 60 s of either running one, by two workers.
    assert look(tmp_path, MACHINE).left_s == (4 * 100 + 2 * 60) / 2


def test_reused_cells_do_not_make_the_rest_look_fast(tmp_path):
    plan(tmp_path, [("a", f"m{i}") for i in range(4)], host=AWAY)
    cell(tmp_path, "a-to-m0_0", seconds=100)
    cell(tmp_path, "a-to-m1_1", seconds=0, reused="/x")
    cell(tmp_path, "a-to-m2_2", **alive(seconds=98))
    sweep = look(tmp_path, MACHINE)
    assert (sweep.left_s, sweep.rate_per_h) == (100, 1)


def test_a_running_sweep_has_lasted_until_now(tmp_path):
    plan(tmp_path, pairs(), host=AWAY)
    cell(tmp_path, "vae-to-vae_0", **alive())
    assert look(tmp_path, MACHINE).elapsed_s == NOW - STARTED


def test_a_dead_sweep_lasted_until_its_last_sign(tmp_path):
    plan(tmp_path, pairs())
    cell(tmp_path, "vae-to-vae_0", age=500)
    cell(tmp_path, "vae-to-nf_1", "running", age=120, progress={})
    assert look(tmp_path, MACHINE).elapsed_s == NOW - STARTED - 120


def test_a_single_cell_is_looked_at_with_the_plan_of_its_sweep(tmp_path):
    plan(tmp_path, [("VAE", "NF")])
    folder = cell(tmp_path, "VAE-to-NF_0", **alive())
    sweep = look(folder, MACHINE)
    assert (sweep.single, sweep.state, sweep.planned) == (True, "running", 1)
    assert (sweep.cells[0].encoder, sweep.plan.launcher) == ("VAE", "basic")


def test_a_single_dead_cell_is_dead(tmp_path):
    folder = cell(tmp_path, "2026-11-26", "running", age=300)
    assert look(folder, MACHINE).state == "dead"


def test_a_folder_given_relative_to_here_is_read(tmp_path, monkeypatch):
    plan(tmp_path, pairs(("a",), ("b",)))
    folder = cell(tmp_path, "a-to-b_0")
    monkeypatch.chdir(folder)
    assert look(type(folder)("."), MACHINE).cells[0].encoder == "a"


def test_a_dead_sweep_says_how_to_go_on(tmp_path):
    command = ["launch.py", "-m", "encoder=vae,nf", "a='b c'", "hydra.sweep.dir=x"]
    plan(tmp_path, pairs(), command=command)
    make, again = look(tmp_path, MACHINE).commands()
    assert make == f"make resume DIR={tmp_path}"
    assert again == (
        "cd '/work dir' && python launch.py -m encoder=vae,nf 'a='\"'\"'b c'\"'\"'' "
        f"hydra.sweep.dir={tmp_path}"
    )


@pytest.mark.parametrize("state", ["running", "done"])
def test_there_is_nothing_to_go_on_with_while_it_runs_or_when_it_is_done(tmp_path, state):
    plan(tmp_path, pairs(("a",), ("b",)), host=AWAY)
    cell(tmp_path, "a-to-b_0", **(alive() if state == "running" else {}))
    assert look(tmp_path, MACHINE).commands() == []


def test_no_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a folder"):
        look(tmp_path / "nothing", MACHINE)


def test_a_folder_of_sweeps_names_them(tmp_path):
    cell(tmp_path / "one", "a-to-b_0")
    with pytest.raises(ValueError, match=rf"no cells in the folder .*{tmp_path / 'one'}"):
        look(tmp_path, MACHINE)


def test_a_damaged_plan_is_said_so_and_cells_are_read_without_it(tmp_path):
    cell(tmp_path, "a-to-b_0")
    (tmp_path / "sweep.json").write_text('{"id": ')
    sweep = look(tmp_path, MACHINE)
    assert sweep.state == "finished"
    assert "sweep.json cannot be read" in sweep.notes[0]


def test_a_planned_cell_under_another_name_is_found_by_its_number(tmp_path):
    plan(tmp_path, pairs())
    cell(tmp_path, "vae-to-vae-500_0")
    cell(tmp_path, "old-to-vae_0", sweep="s-0")
    sweep = look(tmp_path, MACHINE)
    assert (sweep.counts["done"], sweep.counts["missing"]) == (1, 3)
    assert sweep.cells[0].folder == "vae-to-vae-500_0"
