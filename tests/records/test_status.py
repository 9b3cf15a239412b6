import json

import pytest

from stitching.records import files, status
from stitching.records.status import CellFolder

KEY = "ab" * 32

FILES = {
    "metrics.json": b'{"image/rmse": 0.1}',
    "picture.png": b"png",
    "penalty_curve.csv": b"alpha,gcv\n",
}

HYDRA = [".hydra/config.yaml", "launch.log"]


@pytest.fixture
def cell(tmp_path):
    """A finished cell."""
    folder = tmp_path / "vae-to-nf_0"
    CellFolder(folder, "s1", HYDRA).begin()
    status.ledger_of(folder).write_all(FILES)
    CellFolder(folder, "s1").mark_done(KEY)
    return folder


def test_a_finished_cell_is_whole_for_its_own_identity_alone(cell):
    assert status.is_whole(cell, KEY)
    assert not status.is_whole(cell, "cd" * 32)


@pytest.mark.parametrize("name", ["metrics.json", "picture.png", "penalty_curve.csv"])
@pytest.mark.parametrize("damage", ["truncated", "changed", "gone"])
def test_a_damaged_file_makes_it_not_whole(cell, name, damage):
    path = cell / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if damage == "truncated" else content[:-1] + b"?")
    assert not status.is_whole(cell, KEY)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"state": "done"}', '{"files": 3}'])
def test_a_damaged_status_makes_it_not_whole(cell, text):
    (cell / "status.json").write_text(text)
    assert not status.is_whole(cell, KEY)


def test_a_running_cell_is_not_whole(cell):
    CellFolder(cell, "s2", HYDRA).begin()
    assert not status.is_whole(cell, KEY)


def test_the_status_holds_the_hash_of_every_file(cell):
    record = status.read_status(cell)
    hashed = {name for name, sha256 in record["files"].items() if sha256 is not None}
    assert hashed == set(FILES)
    assert {"host", "pid", "started", "finished", "sweep", "key"} <= record.keys()


def test_a_kept_cell_belongs_to_the_present_sweep(cell):
    CellFolder(cell, "s2").keep()
    record = status.read_status(cell)
    assert (record["sweep"], record["state"], record["kept"]) == ("s2", "done", True)
    assert status.is_whole(cell, KEY)


def test_a_failure_to_find_out_leaves_a_finished_cell_to_be_found_later(cell):
    CellFolder(cell, "s2").mark_failed("OSError: the disk with weights is away")
    assert status.read_status(cell)["state"] == "failed"
    assert status.is_whole(cell, KEY)
    CellFolder(cell, "s3").mark_failed("OSError: still away")
    assert status.is_whole(cell, KEY)
    CellFolder(cell, "s4").keep()
    record = status.read_status(cell)
    assert (record["state"], record["sweep"]) == ("done", "s4")
    assert "before" not in record


def test_a_copy_is_whole_and_leaves_the_tracker_behind(cell, tmp_path):
    (cell / "wandb").mkdir()
    copy = tmp_path / "copy"
    CellFolder(copy, "s2", HYDRA).begin()
    CellFolder(copy).copy_from(cell)
    CellFolder(copy, "s2").mark_done(KEY, reused=str(cell))
    assert status.is_whole(copy, KEY)
    assert not (copy / "wandb").exists()
    assert not list(copy.glob("*.partial"))


def test_a_cell_that_changes_while_it_is_copied_is_an_error(cell, tmp_path):
    (cell / "picture.png").write_bytes(b"other")
    CellFolder(tmp_path, "s2", HYDRA).begin()
    with pytest.raises(OSError, match="changed while it was copied"):
        CellFolder(tmp_path).copy_from(cell)


def contents(folder):
    """Return names and contents of all files below a folder but the record."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "status.json"
    }


def test_a_new_attempt_removes_what_an_earlier_one_wrote_and_nothing_else(cell):
    theirs = {"wandb/run/x": b"1", "error.txt.kept-1": b"2", "a_curve.csv": b"3", "x.png": b"4"}
    for name, data in theirs.items():
        (cell / name).parent.mkdir(parents=True, exist_ok=True)
        (cell / name).write_bytes(data)
    (cell / "launch.log").write_bytes(b"a line")
    CellFolder(cell, "s2", HYDRA).begin()
    assert contents(cell) == theirs | {"launch.log": b"a line"}


def test_an_edited_file_of_a_finished_cell_is_kept_beside(cell):
    (cell / "picture.png").write_bytes(b"edited")
    CellFolder(cell, "s2", HYDRA).begin()
    assert contents(cell) == {"picture.png.kept-1": b"edited"}


@pytest.mark.parametrize(
    ("earlier", "kept"),
    [
        ({"state": "failed", "error": "E"}, ["error.txt", "picture.png"]),
        ({"state": "running"}, ["error.txt", "picture.png"]),
        ({"state": "done", "key": KEY, "files": "recorded"}, ["error.txt"]),
        ({"state": "failed", "before": {"state": "done", "files": "recorded"}}, ["error.txt"]),
    ],
)
def test_folders_of_earlier_versions_go_on_and_lose_nothing(tmp_path, earlier, kept):
    (tmp_path / "picture.png").write_bytes(b"png")
    (tmp_path / "error.txt").write_bytes(b"why")
    recorded = {"picture.png": files.sha256_of(tmp_path / "picture.png")}
    for facts in (earlier, earlier.get("before", {})):
        if "files" in facts:
            facts["files"] = recorded
    (tmp_path / "status.json").write_text(json.dumps({"sweep": "s1", **earlier}))
    CellFolder(tmp_path, beside=HYDRA).require_free("")
    CellFolder(tmp_path, "s2", HYDRA).reserve()
    CellFolder(tmp_path, "s2", HYDRA).begin()
    assert sorted(contents(tmp_path)) == [f"{name}.kept-1" for name in kept]


def test_a_folder_with_files_of_other_origin_is_refused_for_names_that_are_needed(tmp_path):
    (tmp_path / "holiday.png").touch()
    CellFolder(tmp_path, beside=HYDRA).require_free("")
    for name in ("picture.png", "launch.log"):
        (tmp_path / name).touch()
    with pytest.raises(OSError, match=r"holds picture\.png and launch\.log, .*: go away"):
        CellFolder(tmp_path, beside=HYDRA).require_free("go away")


def test_a_file_that_has_the_heartbeats_name_and_is_none_is_refused(cell):
    (cell / "progress.json").write_text('{"written": 1.0}')
    CellFolder(cell, beside=HYDRA).require_free("")
    (cell / "progress.json").write_text('{"theirs": 1}')
    with pytest.raises(OSError, match="was not written by this project: go away"):
        CellFolder(cell, beside=HYDRA).require_free("go away")


def test_the_trackers_runs_are_recorded_until_a_new_attempt(cell):
    CellFolder(cell, "s2", HYDRA).begin()
    CellFolder(cell).note_run("wandb/offline-run-1")
    CellFolder(cell, "s2").mark_failed("E: x")
    assert status.read_status(cell)["runs"] == ["wandb/offline-run-1"]
    CellFolder(cell, "s3", HYDRA).begin()
    assert status.read_status(cell)["runs"] == []


def test_the_index_finds_a_whole_cell_and_no_other(cell, tmp_path):
    index = status.Index(tmp_path / "cache")
    assert index.find(KEY) is None
    index.record(KEY, cell)
    assert index.find(KEY) == cell
    (cell / "metrics.json").write_text("{}")
    assert index.find(KEY) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"folder": 3}'])
def test_a_damaged_entry_of_the_index_finds_nothing(tmp_path, text):
    index = status.Index(tmp_path)
    index.record(KEY, tmp_path)
    (tmp_path / "cells" / f"{KEY}.json").write_text(text)
    assert index.find(KEY) is None


def test_an_index_that_cannot_be_written_learns_nothing_and_stops_nobody(cell, tmp_path):
    (tmp_path / "file").write_text("")
    index = status.Index(tmp_path / "file")
    with index.claim(KEY):
        index.record(KEY, cell)
    assert index.find(KEY) is None


def test_an_identity_is_claimed_by_one_process_at_a_time(tmp_path):
    from filelock import FileLock, Timeout

    with status.Index(tmp_path).claim(KEY), pytest.raises(Timeout):
        FileLock(tmp_path / "cells" / f"{KEY}.lock").acquire(blocking=False)
    FileLock(tmp_path / "cells" / f"{KEY}.lock").acquire(blocking=False).lock.release()
