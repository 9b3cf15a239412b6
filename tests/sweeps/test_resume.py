"""Sweeps in real processes that are started again: what is kept, redone, taken over."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import toys
from tests.sweeps import running

PAIRS = ["encoder=one,two", "decoder=one,two"]


@pytest.fixture(scope="module")
def conf(tmp_path_factory):
    return toys.write_models(tmp_path_factory.mktemp("conf"), **running.MODELS)


@pytest.fixture(scope="module")
def place(tmp_path_factory, conf):
    """A folder with one finished sweep of four cells, and a way to start more there."""
    cwd = tmp_path_factory.mktemp("place")

    def launch(*arguments, folder="grid"):
        return running.launch(
            *arguments, f"hydra.sweep.dir={folder}", cwd=cwd, conf=conf, cache=cwd / "cache"
        )

    done = launch(*PAIRS)
    assert done.returncode == 0, done.stderr
    return cwd, launch


def metrics(folder):
    return {path.parent.name: path.read_bytes() for path in folder.glob("*/metrics.json")}


def statuses(folder):
    return {
        path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/status.json")
    }


def rows(folder):
    with open(folder / "summary.csv") as file:
        found = [row for row in csv.DictReader(file) if row["state"] == "done"]
    return [(row["encoder"], row["decoder"]) for row in found]


@pytest.fixture(scope="module")
def repaired(place):
    """The sweep again, after one of its files was truncated and one cell's mark had been lost."""
    cwd, launch = place
    before = metrics(cwd / "grid"), (cwd / "grid" / "table.md").read_bytes()
    path = cwd / "grid" / "two-to-one_2" / "resamples.npz"
    path.write_bytes(path.read_bytes()[:-10])
    (cwd / "grid" / "one-to-two_1" / "status.json").write_text('{"state": "runn')
    return before, launch(*PAIRS)


def test_finished_cells_are_kept_and_truncated_ones_run_again(repaired):
    _, done = repaired
    assert done.returncode == 0, done.stderr
    kept = [
        line.rpartition(" - ")[2] for line in done.stdout.splitlines() if "before, kept" in line
    ]
    assert kept == ["one-to-one: finished before, kept", "two-to-two: finished before, kept"]


def test_the_resumed_sweep_has_the_table_of_an_uninterrupted_one(place, repaired):
    cwd, _ = place
    (cells, table), _ = repaired
    assert metrics(cwd / "grid") == cells
    assert (cwd / "grid" / "table.md").read_bytes() == table
    assert rows(cwd / "grid") == [("one", "one"), ("one", "two"), ("two", "one"), ("two", "two")]


@pytest.fixture(scope="module")
def elsewhere(place, repaired):
    """The same cells in another folder and another order, one of them twice."""
    _, launch = place
    return launch("encoder=two,two", "decoder=two,one", folder="other")


def test_a_cell_finished_in_another_folder_is_taken_from_there(place, elsewhere):
    cwd, _ = place
    found, status = metrics(cwd / "other"), statuses(cwd / "other")
    assert found["two-to-one_1"] == metrics(cwd / "grid")["two-to-one_2"]
    assert status["two-to-one_1"]["reused"] == str(cwd / "grid" / "two-to-one_2")


def test_repeats_are_counted_once(place, elsewhere):
    cwd, _ = place
    assert len(statuses(cwd / "other")) == 4
    assert set(rows(cwd / "other")) == {("two", "two"), ("two", "one")}
    assert "4 cells: 4 succeeded" in elsewhere.stdout
    assert "repeats, of which tables show one: two-to-two_0, two-to-two_2" in elsewhere.stdout


def test_a_smaller_sweep_in_the_same_folder_does_not_mix_with_the_larger_one(
    place, repaired, elsewhere
):
    cwd, launch = place
    done = launch("encoder=two", "decoder=one")
    assert done.returncode == 0, done.stderr
    assert rows(cwd / "grid") == [("two", "one")]
    assert "left out, written by another sweep" in done.stdout
    assert launch(*PAIRS).returncode == 0


def test_another_number_in_the_settings_reuses_nothing(place, repaired, elsewhere):
    cwd, launch = place
    done = launch(*PAIRS, "data.n_test=5")
    assert done.returncode == 0, done.stderr
    assert "kept" not in done.stdout
    assert "taken from" not in done.stdout
    sweep = json.loads((cwd / "grid" / "sweep.json").read_text())["id"]
    mine = [name for name, status in statuses(cwd / "grid").items() if status["sweep"] == sweep]
    found = metrics(cwd / "grid")
    assert len(mine) == 4
    assert {json.loads(found[name])["n_test"] for name in mine} == {5}


@pytest.mark.long
def test_finished_cells_outlive_starts_that_cannot_see_the_data(conf, tmp_path):
    from PIL import Image

    pictures, away = tmp_path / "pictures", tmp_path / "away"
    pictures.mkdir()
    for i in range(60):
        Image.new("RGB", (40, 40), (4 * i, 80, 200)).save(pictures / f"{i}.png")
    arguments = ["encoder=one,two", "decoder=one", "hydra.sweep.dir=grid", "data=folder",
                 "data.root=pictures", "data.n_train=9", "data.n_test=3"]  # fmt: skip

    def launch():
        return running.launch(*arguments, cwd=tmp_path, conf=conf, cache=tmp_path / "cache")

    assert launch().returncode == 0
    before = metrics(tmp_path / "grid")
    pictures.rename(away)
    for _ in range(2):
        done = launch()
        assert done.returncode == 1
        assert "the sweep was not started" in done.stderr
        assert {x["state"] for x in statuses(tmp_path / "grid").values()} == {"done"}
    away.rename(pictures)
    done = launch()
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finished before, kept") == 2
    assert metrics(tmp_path / "grid") == before
    assert {x["state"] for x in statuses(tmp_path / "grid").values()} == {"done"}


@pytest.mark.long
def test_a_sweep_killed_at_any_moment_ends_as_if_it_had_not_been(conf, tmp_path):
    kills = int(os.environ.get("REPEATS", "4"))
    script = Path(__file__).with_name("killing.py")
    command = [sys.executable, str(script), str(toys.LAUNCH), str(conf), str(kills), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    whole = found["whole"]
    assert len(whole["cells"]) == 16
    assert {state for state, _ in whole["cells"].values()} == {"done"}
    assert len(found["killed"]) == kills
    for resumed in found["killed"]:
        assert resumed["kept"] == resumed["done"]
        assert resumed["cells"] == whole["cells"]
        assert resumed["table"] == whole["table"]
        assert resumed["leftovers"] == []
