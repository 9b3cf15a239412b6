"""States of all cells, for the end of a sweep."""

import pytest

from stitching.report import summary_lines
from tests.records.test_plan import plan
from tests.report.made import make_cell, make_sweep, write


def test_all_cells_well_are_one_line(tmp_path):
    assert summary_lines(make_sweep(tmp_path)) == ["4 cells: 4 succeeded"]


def test_each_cell_that_is_not_done_is_named_with_its_reason(tmp_path):
    plan(tmp_path, [("a", "b"), ("a", "d"), ("c", "b"), ("c", "d")])
    make_cell(tmp_path, "a", "b", 0)
    make_cell(tmp_path, "a", "d", 1, state="failed")
    make_cell(tmp_path, "c", "b", 2, state="running")
    error = tmp_path / "a-to-d_1" / "error.txt"
    assert summary_lines(tmp_path) == [
        "4 cells: 1 succeeded, 1 unfinished, 1 missing, 1 failed",
        f"  failed      a-to-d_1  ValueError: broken (see {error})",
        "  unfinished  c-to-b_2  its status is 'running'",
        "  missing     c-to-d_3  it was not started",
    ]


def test_reused_cells_are_counted(tmp_path):
    make_cell(tmp_path, "a", "b", 0)
    folder = make_cell(tmp_path, "c", "b", 1)
    write(folder, "status.json", {"state": "done", "sweep": "s1", "reused": "/old"})
    assert summary_lines(tmp_path) == ["2 cells: 2 succeeded (1 of them reused)"]


def test_a_sweep_of_which_no_cell_finished_has_its_summary(tmp_path):
    make_cell(tmp_path, "a", "b", state="failed")
    assert summary_lines(tmp_path)[0] == "1 cell: 1 failed"


def test_of_very_many_failures_the_first_are_shown(tmp_path):
    for number in range(60):
        make_cell(tmp_path, f"e{number}", "b", number, state="failed")
    lines = summary_lines(tmp_path)
    assert len(lines) == 6
    assert lines[-1].startswith("  and 56 more: e4-to-b_4, ")


def test_a_folder_without_cells_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no cells in the folder"):
        summary_lines(tmp_path)
