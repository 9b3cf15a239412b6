"""Which folders are cells, and which cells count: reports and the status of a sweep agree."""

import pytest

from stitching.results.folders import cell_folders, is_job, models_of
from stitching.results.reading import read_cells
from stitching.status import look
from tests.report.made import make_cell, write


def names(root):
    (root / "figures").mkdir()
    cells, _ = read_cells(root)
    return [cell.path.name for cell in cells], [cell.folder for cell in look(root).cells]


def test_cells_are_in_the_order_of_their_jobs(tmp_path):
    for number in (10, 9, 2):
        make_cell(tmp_path, "a", "b", number)
    expected = ["a-to-b_2", "a-to-b_9", "a-to-b_10"]
    assert names(tmp_path) == (expected, expected)


@pytest.mark.parametrize("starts", [[], ["s0"]])
def test_of_another_start_only_finished_cells_of_the_same_sweep_count(tmp_path, starts):
    make_cell(tmp_path, "a", "b", 0, sweep="s0")
    make_cell(tmp_path, "c", "b", 1)
    jobs = [
        {"number": n, "folder": f"{e}-to-b_{n}", "encoder": e, "decoder": "b", "overrides": []}
        for n, e in enumerate("ac")
    ]
    write(tmp_path, "sweep.json", {"id": "s1", "jobs": jobs, "starts": starts})
    reported, shown = read_cells(tmp_path)[0], look(tmp_path).cells
    states = ["done" if starts else "missing", "done"]
    assert [cell.state for cell in reported] == [cell.state for cell in shown] == states


def test_a_folder_of_a_cell_is_its_own_only_cell(tmp_path):
    folder = make_cell(tmp_path, "a", "b")
    assert cell_folders(folder) == [folder]


@pytest.mark.parametrize(
    ("name", "models", "job"),
    [
        ("vae-to-nf_3", ("vae", "nf"), True),
        ("nf-5000-to-dm[n_steps=5]_12", ("nf-5000", "dm[n_steps=5]"), True),
        ("a-to-b", ("a", "b"), False),
        ("figures_1", ("", ""), False),
    ],
)
def test_names_of_folders_give_models(name, models, job):
    assert (models_of(name), is_job(name)) == (models, job)
