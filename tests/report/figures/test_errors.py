"""Figure 3."""

import pytest

from stitching.report.figures.errors import draw_errors, error_measures
from stitching.results.grid import read_grid
from tests.report.figures.grids import IMAGES, make_grid, measured, words
from tests.report.made import make_cell


def test_the_title_names_measures_data_protocol_and_number_of_images(tmp_path, written):
    draw_errors(make_grid(tmp_path))
    title, setting = words(written)[:2]
    assert title.endswith("latent MSE, RMSE, LPIPS, Fréchet distance of EfficientNet features")
    assert setting.startswith("protocol strict, data faces, map ridge (none on the diagonal),")


def test_fid_is_shown_where_cells_have_it(tmp_path):
    measures = error_measures(make_grid(tmp_path, image__fid=12.0))
    assert [m.key for m in measures][-1] == "image/fid"


def test_the_distance_that_most_cells_have_is_shown(tmp_path):
    make_cell(tmp_path, "vae", "nf", 0, **IMAGES, image__fid=12.0)
    make_cell(tmp_path, "nf", "vae", 1, **IMAGES)
    assert error_measures(read_grid(tmp_path))[-1].key == "image/fd_effnet"


def test_what_no_cell_has_gets_no_panel(tmp_path, written):
    make_cell(tmp_path, "vae", "nf", latent__mse=0.3)
    draw_errors(read_grid(tmp_path))
    assert words(written)[0].endswith(": latent MSE, RMSE")


def test_a_number_stands_above_its_interval(tmp_path, written):
    draws = {"image/rmse": measured(0.2, own=0.1)}
    make_cell(tmp_path, "vae", "nf", draws=draws)
    draw_errors(read_grid(tmp_path))
    texts = words(written)
    [at] = [i for i, text in enumerate(texts) if text.startswith("[0.1")]
    assert texts[at - 1] == "0.200"


def test_a_cell_without_a_result_is_a_word(tmp_path, written):
    make_cell(tmp_path, "vae", "nf", 0)
    make_cell(tmp_path, "nf", "nf", 1, state="failed")
    draw_errors(read_grid(tmp_path))
    assert "failed" in words(written)


def test_the_best_of_a_column_and_its_ties_are_bold(tmp_path, written):
    for number, (encoder, rmse) in enumerate((("a", 0.30), ("b", 0.301), ("c", 0.9))):
        draws = {"image/rmse": measured(rmse, own=0.1, seed=number)}
        make_cell(tmp_path, encoder, "nf", number, draws=draws)
    draw_errors(read_grid(tmp_path))
    bold = {text for text, how in written if how.get("bold") and text.startswith("0.")}
    assert bold == {"0.300", "0.301"}


def test_a_distance_that_is_rounding_reads_zero(tmp_path, written):
    make_cell(tmp_path, "nf", "nf", 0, image__fd_effnet=5.7e-14)
    make_cell(tmp_path, "vae", "nf", 1, image__fd_effnet=200.0)
    draw_errors(read_grid(tmp_path))
    assert "0.00" in words(written)
    assert not any("e-14" in text for text in words(written))


def test_notes_tell_of_bias_and_of_units(tmp_path, written):
    make_grid(tmp_path, image__fd_effnet_n=20, image__fd_effnet_dim=1280)
    draw_errors(read_grid(tmp_path))
    notes = " ".join(words(written))
    assert "20 images per side, 1280 features" in notes
    assert "mostly estimation bias" in notes
    assert "compare within a column" in notes


def test_signs_that_do_not_occur_are_not_explained(tmp_path, written):
    make_cell(tmp_path, "vae", "nf", 0)
    draw_errors(read_grid(tmp_path))
    notes = " ".join(words(written))
    for word in ("Framed", "Bold", "brackets"):
        assert word not in notes


@pytest.mark.parametrize("n", [2, 12])
def test_a_grid_of_any_size_stays_on_its_page(tmp_path, n):
    names = [f"model{i}" for i in range(n)]
    sheet = draw_errors(make_grid(tmp_path, names, names))
    assert sheet.width == 7.0
    assert sheet.y < 30
