"""Parts that the report of a large sweep leaves out."""

import pytest

from stitching.report import limits, main
from stitching.results.output import CLAIMS, PAGE, RECORD
from tests.report.made import APPENDIX, TABLES, cells_of, drawn, make_cell, scores


def names(folder):
    """Return the tables and pictures in a folder."""
    found = {path.name for path in folder.iterdir() if path.is_file()}
    return found - {RECORD, PAGE, *CLAIMS}


@pytest.fixture
def sweep(tmp_path):
    for number, encoder in enumerate(("a", "b", "c")):
        draws = {"image/rmse": drawn(scores(0.1 + 0.1 * number)), "image/ssim": drawn(scores(0.5))}
        make_cell(tmp_path, encoder, "d", number, draws=draws)
    return tmp_path


@pytest.mark.parametrize("limit", ["LARGEST_SIDE", "MOST_CELLS"])
def test_a_large_grid_has_tables_of_the_main_measures_and_says_so(
    sweep, monkeypatch, capsys, limit
):
    monkeypatch.setattr(limits, limit, 2)
    main([str(sweep)])
    assert names(sweep) == TABLES
    text = (sweep / "table.md").read_text()
    assert "without heatmaps" in text
    assert "`image/rmse`" in text
    assert "`image/ssim`" not in text
    assert "0.100*" not in text
    assert capsys.readouterr().out.count("without heatmaps") == 1
    assert "image/ssim" in cells_of(sweep)


def test_pictures_can_be_asked_for(sweep, monkeypatch):
    monkeypatch.setattr(limits, "MOST_CELLS", 2)
    main([str(sweep)])
    main([str(sweep), "--pictures"])
    heatmaps = {"heatmap_image_rmse.png", "heatmap_image_ssim.png"}
    assert names(sweep) == TABLES | APPENDIX | heatmaps
    assert "`image/ssim`" in (sweep / "tables.md").read_text()


def test_many_seeds_are_a_large_sweep(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(limits, "MOST_GRIDS", 2)
    for seed in range(3):
        make_cell(tmp_path, "a", "d", seed, seed=seed)
    main([str(tmp_path)])
    assert names(tmp_path / "report" / "seed=0") == TABLES
    assert capsys.readouterr().out.count("is made of up to 2 grids, here are 3") == 1


def test_a_small_grid_has_all_of_it(sweep):
    main([str(sweep)])
    assert "without heatmaps" not in (sweep / "table.md").read_text()
