"""Grids and cells from Python: tables, pictures, files, and what is refused."""

import numpy as np
import pytest
import torch

import stitching as st
from tests.api.conftest import QUICK, pixels_as_functions


def test_encoders_are_rows_and_decoders_columns(grid):
    assert (grid.encoders, grid.decoders) == (
        ["thumbnail", "mine", "broken"],
        ["thumbnail", "pixels"],
    )
    table = grid.table("image/rmse")
    assert table.index.name == "encoder"
    assert table.loc["thumbnail", "pixels"] == grid["thumbnail", "pixels"].metrics["image/rmse"]
    words = grid.table("image/rmse", intervals=True)
    assert words.loc["broken", "pixels"] == "failed"
    assert words.loc["thumbnail", "pixels"].count("[") == 1
    assert len(grid.frame) == len(grid) == 4


def test_a_cell_that_fails_leaves_the_others_and_is_noted(grid):
    assert any("broken-to-pixels" in note and "not finite" in note for note in grid.notes)
    assert np.isnan(grid.table()["pixels"]["broken"])
    with pytest.raises(KeyError, match="broken to pixels: failed"):
        grid["broken", "pixels"]


def test_pictures_and_plots_are_images(grid):
    tile = 128
    assert grid.pictures().size > (3 * tile, 3 * tile)  # the original, two columns; three rows
    assert grid.plot("latent/r2").size > (500, 300)
    cell = grid["mine", "pixels"]
    assert cell.images.stitched.shape == (1, 32, 32, 3)
    assert cell.images.own is None
    assert repr(cell.images) == (
        "<Images original: (1, 32, 32, 3), own: None, stitched: (1, 32, 32, 3)>"
    )
    assert cell.plot().size[0] > 500
    assert cell.map is None


def test_a_saved_grid_and_the_files_of_any_sweep_are_read_alike(grid, tmp_path):
    folder = grid.save(tmp_path / "saved")
    assert (folder / "report.html").is_file()
    again = st.read(folder)
    for measure in ("image/rmse", "latent/r2"):
        kept = grid.table(measure).drop("broken")
        assert again.table(measure).equals(kept.loc[again.encoders, again.decoders])
    (folder / "a-to-b_7").mkdir()
    (folder / "a-to-b_7/status.json").write_text("{}")
    with pytest.raises(FileExistsError, match="cells of another grid, a-to-b_7: its tables"):
        grid.save(folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/report.html").write_text("mine")
    with pytest.raises(FileExistsError, match="did not write"):
        grid.save(tmp_path / "other")
    assert (tmp_path / "other/report.html").read_text() == "mine"


def test_a_notebook_shows_tables_with_intervals_and_failures(grid):
    shown = grid._repr_html_()
    assert "broken-to-pixels" in shown
    assert "[" in shown
    assert "image/rmse" in grid["mine", "pixels"]._repr_html_()


def test_a_cell_in_memory_has_all_images_scores_and_its_map(data, grid):
    cell = st.stitch("thumbnail", "pixels", data, **QUICK)
    assert cell.scores.equals(grid["thumbnail", "pixels"].scores)
    low, value, high = cell.scores.loc["image/rmse", ["low", "value", "high"]]
    assert low < value < high
    x = data.split("test").images(slice(None))
    mapped = cell.map.predict(st.load_model("thumbnail", image_size=32).encode(x))
    stitched = mapped.view(-1, 3, 32, 32).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    assert np.abs(stitched * 255 - cell.images.stitched).max() <= 0.51
    error = (stitched - cell.images.original / 255.0) ** 2
    assert np.sqrt(error.mean((1, 2, 3))).mean() == pytest.approx(value, rel=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(models=["thumbnial"]), "thumbnial"),
        (dict(models=[]), "give models"),
        (dict(models=["random"]), "give models"),
        (dict(seeds=1), "seeds is not an option, did you mean seed"),
        (dict(encoder_width=3), "encoder_width"),
        (dict(models=["vae"]), "image_size=64|trained with"),
        (dict(data="nothing"), "nothing"),
        (dict(metric=["rsme"]), "rsme"),
        (dict(device="cpux"), "cpux"),
        (dict(models=[pixels_as_functions()], dtype="float64"), "float32"),
        (
            dict(models=[pixels_as_functions(), pixels_as_functions()]),
            "two models are called mine",
        ),
    ],
)
def test_wrong_input_is_one_message_before_any_work(data, change, message):
    models = change.pop("models", ["thumbnail"])
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=message):
        st.grid(models, change.pop("data", data), **{**QUICK, **change})


def test_a_finished_cell_of_other_settings_is_not_replaced_in_silence(data, tmp_path):
    cell, other = (st.stitch("thumbnail", "thumbnail", data, **QUICK, seed=k) for k in (0, 1))
    cell.save(tmp_path / "cell")
    cell.save(tmp_path / "cell")
    with pytest.raises(FileExistsError, match="another cell"):
        other.save(tmp_path / "cell")
    st.grid(["thumbnail"], data, folder=tmp_path / "grid", **QUICK)
    with pytest.warns(UserWarning, match="was replaced"):
        st.grid(["thumbnail"], data, folder=tmp_path / "grid", **QUICK, seed=1)


def test_options_of_models_and_data_belong_to_their_functions(data):
    for text in ("encoder.size=8", "data.n_test=4", "+decoder.x=1"):
        with pytest.raises(ValueError, match="belong to load_model"):
            st.stitch("thumbnail", "pixels", data, text)


def test_a_model_changed_in_place_is_refused(data):
    model = st.load_model("projection", image_size=32, latent_dim=8)
    st.stitch(model, "thumbnail", data, **QUICK)
    with torch.no_grad():
        next(iter(model.state_dict().values())).mul_(2)
    with pytest.raises(ValueError, match="was changed since it was loaded"):
        st.stitch(model, "thumbnail", data, **QUICK)


def test_a_model_that_is_fitted_is_left_as_it_is(data):
    model = st.load_model("pca", image_size=32, width=4)
    model.fit_images(torch.rand(30, 3, 32, 32))
    before = model.encode(torch.ones(1, 3, 32, 32))
    fitted = st.stitch(model, "thumbnail", data, **QUICK)
    assert torch.equal(model.encode(torch.ones(1, 3, 32, 32)), before)
    assert fitted.metrics["d_source"] == 4
