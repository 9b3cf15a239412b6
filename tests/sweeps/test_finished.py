import json

import pytest

from stitching import finished

KEY = "ab" * 32


@pytest.fixture
def cell(tmp_path):
    """A finished cell."""
    folder = tmp_path / "vae-to-nf_0"
    folder.mkdir()
    (folder / "metrics.json").write_text('{"image/rmse": 0.1}')
    (folder / "picture.png").write_bytes(b"png")
    (folder / "penalty_curve.csv").write_text("alpha,gcv\n")
    finished.mark_done(folder, KEY, "s1", finished.now())
    return folder


def test_a_finished_cell_is_whole_for_its_own_identity_alone(cell):
    assert finished.is_whole(cell, KEY)
    assert not finished.is_whole(cell, "cd" * 32)


@pytest.mark.parametrize("name", ["metrics.json", "picture.png", "penalty_curve.csv"])
@pytest.mark.parametrize("damage", ["truncated", "changed", "gone"])
def test_a_damaged_file_makes_it_not_whole(cell, name, damage):
    path = cell / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if damage == "truncated" else content[:-1] + b"?")
    assert not finished.is_whole(cell, KEY)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"state": "done"}', '{"files": 3}'])
def test_a_damaged_status_makes_it_not_whole(cell, text):
    (cell / "status.json").write_text(text)
    assert not finished.is_whole(cell, KEY)


def test_a_running_cell_is_not_whole(cell):
    finished.mark(cell, "running", "s2", finished.now())
    assert not finished.is_whole(cell, KEY)


def test_the_status_holds_the_hash_of_every_file(cell):
    status = finished.read_status(cell)
    assert set(status["files"]) == {"metrics.json", "picture.png", "penalty_curve.csv"}
    assert {"host", "pid", "started", "finished", "sweep", "key"} <= status.keys()


def test_a_kept_cell_belongs_to_the_present_sweep(cell):
    finished.keep(cell, "s2")
    status = finished.read_status(cell)
    assert (status["sweep"], status["state"], status["kept"]) == ("s2", "done", True)
    assert finished.is_whole(cell, KEY)


def test_a_failure_to_find_out_leaves_a_finished_cell_to_be_found_later(cell):
    finished.mark_failed(cell, "s2", finished.now(), "OSError: the disk with weights is away")
    assert finished.read_status(cell)["state"] == "failed"
    assert finished.is_whole(cell, KEY)
    finished.mark_failed(cell, "s3", finished.now(), "OSError: still away")
    assert finished.is_whole(cell, KEY)
    finished.keep(cell, "s4")
    status = finished.read_status(cell)
    assert (status["state"], status["sweep"]) == ("done", "s4")
    assert "before" not in status


def test_a_copy_is_whole_and_leaves_the_tracker_behind(cell, tmp_path):
    (cell / "wandb").mkdir()
    copy = tmp_path / "copy"
    copy.mkdir()
    finished.copy_files(cell, copy)
    finished.mark_done(copy, KEY, "s2", finished.now(), reused=str(cell))
    assert finished.is_whole(copy, KEY)
    assert not (copy / "wandb").exists()
    assert not list(copy.glob("*.partial"))


def test_a_cell_that_changes_while_it_is_copied_is_an_error(cell, tmp_path):
    (cell / "picture.png").write_bytes(b"other")
    with pytest.raises(OSError, match="changed while it was copied"):
        finished.copy_files(cell, tmp_path)


def test_clearing_removes_what_an_attempt_left_and_nothing_else(cell):
    (cell / "wandb").mkdir()
    for name in ("error.txt", "progress.json", "metrics.json.7.partial", "notes.txt"):
        (cell / name).write_text("")
    (cell / ".hydra").mkdir()
    finished.clear(cell)
    assert sorted(path.name for path in cell.iterdir()) == [".hydra", "notes.txt"]


def test_the_index_finds_a_whole_cell_and_no_other(cell, tmp_path):
    index = finished.Index(tmp_path / "cache")
    assert index.find(KEY) is None
    index.record(KEY, cell)
    assert index.find(KEY) == cell
    (cell / "metrics.json").write_text("{}")
    assert index.find(KEY) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"folder": 3}'])
def test_a_damaged_entry_of_the_index_finds_nothing(tmp_path, text):
    index = finished.Index(tmp_path)
    index.record(KEY, tmp_path)
    (tmp_path / "cells" / f"{KEY}.json").write_text(text)
    assert index.find(KEY) is None


def test_an_index_that_cannot_be_written_learns_nothing_and_stops_nobody(cell, tmp_path):
    (tmp_path / "file").write_text("")
    index = finished.Index(tmp_path / "file")
    with index.claim(KEY):
        index.record(KEY, cell)
    assert index.find(KEY) is None


def test_an_identity_is_claimed_by_one_process_at_a_time(tmp_path):
    from filelock import FileLock, Timeout

    with finished.Index(tmp_path).claim(KEY), pytest.raises(Timeout):
        FileLock(tmp_path / "cells" / f"{KEY}.lock").acquire(blocking=False)
    FileLock(tmp_path / "cells" / f"{KEY}.lock").acquire(blocking=False).lock.release()


def test_json_with_nan_is_refused_and_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        finished.write_json(tmp_path / "x.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []
    finished.write_json(tmp_path / "x.json", {"a": 1})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1}
