"""Two sweeps that could meet in one folder: no result of one is taken for the other's."""

import pytest
import yaml

from tests.launchers.running import SMALL, cells, finish, launch, read, rows, start

pytestmark = pytest.mark.long

PLAIN = [*SMALL, "tracker=none", "decoder=one"]


@pytest.fixture(scope="module")
def at_once(conf, tmp_path_factory):
    """Two sweeps started at once, as by a loop of a shell, with the default folder."""
    cwd = tmp_path_factory.mktemp("at-once")
    started = [
        start("-m", "--config-dir", str(conf), "encoder=one", f"seed={k},{k + 2}", *PLAIN, cwd=cwd)
        for k in (0, 1)
    ]
    outputs = [finish(process) for process in started]
    assert [code for code, _ in outputs] == [0, 0], outputs
    return list(cwd.glob("outputs/*/*_grid"))


def test_sweeps_started_at_once_have_a_folder_each(at_once):
    assert len(at_once) == 2


def test_no_cell_of_one_is_in_the_others_folder(at_once):
    seeds = [
        {yaml.safe_load((path / "config.yaml").read_text())["seed"] for path in found.values()}
        for found in map(cells, at_once)
    ]
    assert sorted(map(sorted, seeds)) == [[0, 2], [1, 3]]


def test_each_cell_names_its_own_sweep(at_once):
    for sweep in at_once:
        wanted = read(sweep, "sweep.json")["id"]
        assert {read(path)["sweep"] for path in cells(sweep).values()} == {wanted}


@pytest.fixture(scope="module")
def same_folder(conf, tmp_path_factory):
    """A sweep, then another one in its folder, which asks for one cell twice."""
    cwd = tmp_path_factory.mktemp("same-folder")
    for encoder in ("one,random", "two,two"):
        code, output = launch(
            "-m", "--config-dir", str(conf), f"encoder={encoder}", *PLAIN, "hydra.sweep.dir=grid",
            cwd=cwd,
        )  # fmt: skip
        assert code == 0, output
    return cwd / "grid", output


def test_cells_of_an_older_sweep_are_not_the_newer_ones(same_folder):
    sweep, _ = same_folder
    ids = {name: read(path)["sweep"] for name, path in cells(sweep).items()}
    newer = read(sweep, "sweep.json")["id"]
    assert {name for name, found in ids.items() if found == newer} == {
        "two-to-one_0", "two-to-one_1",
    }  # fmt: skip


def test_the_table_has_cells_of_the_newer_sweep_only(same_folder):
    assert {(row["encoder"], row["decoder"]) for row in rows(same_folder[0])} == {("two", "one")}


def test_a_cell_that_was_asked_for_twice_is_no_average(same_folder):
    once, twice = (path / "metrics.json" for name, path in sorted(cells(same_folder[0]).items())
                   if name.startswith("two"))  # fmt: skip
    assert once.read_bytes() == twice.read_bytes()
    table = (same_folder[0] / "table.md").read_text()
    (first, *_) = [line for line in table.splitlines() if line.startswith("| two |")]
    assert len(first.split("|")) == 4  # one decoder, one value


def test_what_was_left_out_is_said(same_folder):
    assert "one-to-one_0" in same_folder[1]
