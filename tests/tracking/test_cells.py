import json

import numpy as np
import pytest
from PIL import Image

from stitching.tracking import NoTracker
from stitching.tracking.cells import attribute_rows, log_cell, panels_of, value_rows
from tests.tracking.offline import (
    cell,
    history_keys,
    make,
    read_run,
    stored_picture,
    stored_table,
)

METRICS = {
    "encoder": "vae",
    "n_train": 100,
    "alpha": 0.5,
    "data/test_ids": "abc",
    "data/n_invalid": 1,
    "latent/r2": 0.75,
    "latent/r2.low": 0.5,
    "latent/r2.high": 1.0,
    "latent/reverse_r2": 0.25,
    "latent/reverse_r2.low": 0.125,
    "latent/reverse_r2.high": 0.5,
    "latent/nmse_dims": 512,
    "image/fid_missing": "no weights",
    "image/fid": None,
    "geometry/cka": 0.5,
    "geometry/cka.null_high": 0.25,
    "probe/kappa": 0.5,
    "probe/kappa/Male": 0.5,
    "probe/kappa/Male.low": 0.25,
    "probe/kappa/Male.high": 0.75,
}
RESOURCES = {"time/total_s": 1.5, "memory/peak_mib": 100.0, "sweep": "s"}


def finished_cell(tmp_path, **pictures):
    folder = cell(tmp_path)
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    (folder / "resources.json").write_text(json.dumps(RESOURCES))
    for number, name in enumerate(("reconstructions", "picture", "picture_original")):
        Image.new("RGB", (8, 4), (number, 0, 255)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """The folder of a cell, and the run that was made of it."""
    pytest.importorskip("wandb")
    folder = finished_cell(tmp_path_factory.mktemp("sweep"))
    with make() as tracker:
        tracker.start({}, "vae-to-nf", "s", folder, tags=["reused"])
        log_cell(tracker, folder)
    return folder, read_run(folder)


def test_panels_are_measures_resources_pictures_and_counts_of_invalid_items(logged):
    assert history_keys(logged[1]) == {
        "data/n_invalid",
        "latent/r2",
        "latent/reverse_r2",
        "geometry/cka",
        "probe/kappa",
        "time/total_s",
        "memory/peak_mib",
        "probe/attributes",
        "cell/values",
        "cell/facts",
        "pictures/reconstructions",
        "pictures/stitched",
        "pictures/original",
    }


def test_every_panel_is_in_a_section(logged):
    assert all("/" in key for key in history_keys(logged[1]))


def test_every_value_of_the_files_is_in_one_of_two_tables(logged):
    _, rows = stored_table(logged[1], "cell/values")
    found = {key: value for key, value, _, _ in rows}
    found |= {f"{key}.low": low for key, _, low, _ in rows if low is not None}
    found |= {f"{key}.high": high for key, _, _, high in rows if high is not None}
    found |= dict(stored_table(logged[1], "cell/facts")[1])
    assert found == METRICS | RESOURCES


def test_the_summary_holds_measures_alone(logged):
    history = history_keys(logged[1])
    names = [key for key in logged[1]["summary"] if not key.startswith("_")]
    # Of pictures and tables the summary has facts, such as `cell/values/nrows`.
    others = [x for x in names if not any(x == y or x.startswith(f"{y}/") for y in history)]
    assert others == []
    assert [name for name in names if "." in name] == []


def test_the_table_of_attributes_has_their_intervals(logged):
    columns, rows = stored_table(logged[1], "probe/attributes")
    assert columns == ["attribute", "measure", "value", "low", "high"]
    assert rows == [["Male", "kappa", 0.5, 0.25, 0.75]]


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("pictures/reconstructions", "reconstructions.png"),
        ("pictures/stitched", "picture.png"),
        ("pictures/original", "picture_original.png"),
    ],
)
def test_pictures_are_the_files_of_the_cell_byte_by_byte(logged, key, name):
    folder, run = logged
    assert stored_picture(run, key) == (folder / name).read_bytes()


def test_a_cell_taken_from_another_sweep_says_so(logged):
    assert "reused" in logged[1]["tags"]


def test_a_users_own_measure_has_a_panel_because_it_has_an_interval():
    values = {"image/own": 0.5, "image/own.low": 0.25, "image/own.high": 0.75, "image/n": 3}
    assert panels_of(values) == {"image/own": 0.5}
    assert value_rows(values) == [["image/own", 0.5, 0.25, 0.75], ["image/n", 3, None, None]]


def test_a_measure_that_is_not_finite_keeps_its_panel():
    assert np.isnan(panels_of({"image/rmse": float("nan")})["image/rmse"])


def test_a_flag_has_no_panel():
    assert panels_of({"time/cached": True}) == {}


def test_attributes_without_a_number_have_no_row():
    assert attribute_rows({"probe/kappa/Bald": None, "probe/kappa/Male": 1}) == [
        ["Male", "kappa", 1.0, None, None]
    ]


def test_a_cell_without_its_files_is_an_error(tmp_path):
    with NoTracker() as tracker:
        tracker.start({}, "n", "g", tmp_path)
        with pytest.raises(FileNotFoundError, match=r"metrics\.json"):
            log_cell(tracker, tmp_path)
