"""What `sweep.json` says of the cells of a folder."""

import json
import os

import pytest

from stitching.records.plan import Job
from stitching.report import main, read_grid, read_sweep, report_sweeps
from stitching.results.reading import read_cells
from stitching.results.variants import split
from tests.report.made import make_cell, make_sweep, write


def plan(root, pairs, *, sweep="s1", extra=(), **facts):
    """Write `sweep.json` with a job for each pair."""
    jobs = []
    for number, (encoder, decoder) in enumerate(pairs):
        overrides = [f"encoder={encoder}", f"decoder={decoder}", *(extra and [extra[number]])]
        folder = f"{encoder}-to-{decoder}_{number}"
        job = {"number": number, "folder": folder, "encoder": encoder, "decoder": decoder}
        jobs.append(job | {"overrides": overrides})
    write(root, "sweep.json", {"id": sweep, "jobs": jobs} | facts)


def test_a_sweep_is_read_as_it_was_written(tmp_path):
    plan(tmp_path, [("a", "b")], host="h", pid=7, command=["launch.py", "-m"], finished="2026")
    sweep = read_sweep(tmp_path)
    assert (sweep.id, sweep.host, sweep.pid, sweep.finished) == ("s1", "h", 7, "2026")
    assert sweep.command == ("launch.py", "-m")
    assert sweep.jobs == (Job(0, "a-to-b_0", "a", "b", ("encoder=a", "decoder=b")),)


def test_an_older_sweep_has_no_description(tmp_path):
    assert read_sweep(make_sweep(tmp_path)) is None


def test_a_sweeper_that_decides_on_the_way_has_no_jobs(tmp_path):
    write(tmp_path, "sweep.json", {"id": "s1", "jobs": None})
    assert read_sweep(tmp_path).jobs is None


@pytest.mark.parametrize("text", ['{"id": "s', "[]", "{}", '{"id": "s", "jobs": [{}]}'])
def test_a_damaged_description_is_an_error(tmp_path, text):
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(ValueError, match=r"sweep.json (cannot be read|is no description)"):
        read_sweep(tmp_path)


def test_with_a_damaged_description_cells_are_read_with_a_note(tmp_path):
    make_cell(tmp_path, "a", "b")
    (tmp_path / "sweep.json").write_text("{")
    cells, (note,) = read_cells(tmp_path)
    assert [cell.state for cell in cells] == ["done"]
    assert "cells that never started have no names" in note


def test_a_planned_cell_that_left_no_files_is_missing_in_its_place(tmp_path):
    plan(tmp_path, [("a", "b"), ("c", "b"), ("a", "d")])
    make_cell(tmp_path, "a", "d", 2)
    make_cell(tmp_path, "a", "b", 0)
    cells, _ = read_cells(tmp_path)
    assert [(cell.path.name, cell.state, cell.job) for cell in cells] == [
        ("a-to-b_0", "done", 0), ("c-to-b_1", "missing", 1), ("a-to-d_2", "done", 2),
    ]  # fmt: skip


def test_models_that_never_started_have_their_row_and_column(tmp_path):
    plan(tmp_path, [("a", "b"), ("c", "b"), ("a", "d"), ("c", "d")])
    make_cell(tmp_path, "a", "b", 0)
    grid = read_grid(tmp_path)
    assert (grid.encoders, grid.decoders) == (["a", "c"], ["b", "d"])
    assert set(grid.absent.values()) == {"missing"}
    assert "c-to-d_3 missing: it was not started" in grid.notes


def test_a_folder_without_status_is_missing(tmp_path):
    plan(tmp_path, [("a", "b"), ("c", "b")])
    make_cell(tmp_path, "a", "b", 0)
    (tmp_path / "c-to-b_1" / ".hydra").mkdir(parents=True)
    assert read_grid(tmp_path).absent == {("c", "b"): "missing"}


def test_cells_of_another_sweep_do_not_count_even_if_written_later(tmp_path):
    plan(tmp_path, [("a", "b"), ("c", "b")], sweep="s2")
    make_cell(tmp_path, "a", "b", 0, sweep="s2")
    os.utime(make_cell(tmp_path, "c", "b", 1, sweep="s1") / "status.json", ns=(2**62, 2**62))
    grid = read_grid(tmp_path)
    assert list(grid.frame["encoder"]) == ["a"]
    assert any("its folder holds a cell of the sweep s1" in note for note in grid.notes)
    assert any("left out" in note and "(s2): c-to-b_1" in note for note in grid.notes)


def test_a_sweep_of_which_nothing_started_has_its_cells(tmp_path):
    plan(tmp_path, [("a", "b"), ("c", "b")])
    assert [cell.state for cell in read_cells(tmp_path)[0]] == ["missing", "missing"]
    with pytest.raises(ValueError, match=r"no finished cell(.|\n)*c-to-b_1 missing"):
        report_sweeps([tmp_path])


def test_a_cell_says_what_it_is_made_of_and_where_it_was_copied_from(tmp_path):
    folder = make_cell(tmp_path, "a", "b")
    status = {"state": "done", "sweep": "s1", "key": "abc", "reused": "/elsewhere"}
    write(folder, "status.json", status)
    ((cell,), _) = read_cells(tmp_path)
    assert (cell.key, cell.reused, cell.job) == ("abc", "/elsewhere", None)


def test_a_cell_of_which_a_file_is_gone_is_invalid(tmp_path):
    make_cell(tmp_path, "c", "b", 1)
    folder = make_cell(tmp_path, "a", "b", 0)
    files = {"metrics.json": "0", "picture.png": "0"}
    write(folder, "status.json", {"state": "done", "sweep": "s1", "files": files})
    grid = read_grid(tmp_path)
    assert grid.absent == {("a", "b"): "invalid"}
    assert "a-to-b_0 invalid: picture.png is gone" in grid.notes


def test_a_cell_that_never_started_belongs_to_its_seed(tmp_path):
    pairs = [("a", "b"), ("a", "b"), ("c", "b"), ("c", "b")]
    plan(tmp_path, pairs, extra=["seed=0", "seed=1", "seed=0", "seed=1"])
    make_cell(tmp_path, "a", "b", 0, seed=0)
    make_cell(tmp_path, "a", "b", 1, seed=1)
    make_cell(tmp_path, "c", "b", 2, seed=0)
    parts, rest = split(read_cells(tmp_path)[0])
    found = {v.label: [cell.path.name for cell in cells] for v, cells in parts.items()}
    assert found == {
        "seed=0": ["a-to-b_0", "c-to-b_2"], "seed=1": ["a-to-b_1", "c-to-b_3"],
    }  # fmt: skip
    assert rest == []


def test_a_sweep_file_does_not_change_the_table(tmp_path):
    make_sweep(tmp_path)
    main([str(tmp_path)])
    names = ("summary.csv", "grid.parquet")
    before = [(tmp_path / name).read_bytes() for name in names]
    plan(tmp_path, [("vae", "vae"), ("vae", "nf"), ("nf", "vae"), ("nf", "nf")])
    main([str(tmp_path)])
    assert [(tmp_path / name).read_bytes() for name in names] == before
    assert json.loads((tmp_path / "sweep.json").read_text())["id"] == "s1"


def test_a_planned_cell_under_another_name_is_found_by_its_number(tmp_path):
    # As where `decoder.name=nf-${.checkpoint}` names what the plan calls nf.
    plan(tmp_path, [("a", "nf"), ("b", "nf")])
    make_cell(tmp_path, "a", "nf-500", 0)
    make_cell(tmp_path, "b", "nf-500", 1)
    make_cell(tmp_path, "old", "nf", 0, sweep="s0")
    cells, _ = read_cells(tmp_path)
    assert [(x.path.name, x.state, x.job) for x in cells] == [
        ("a-to-nf-500_0", "done", 0),
        ("b-to-nf-500_1", "done", 1),
    ]
