"""The main measures of each pair of models, `summary.csv`."""

import csv
import io

from stitching.report import read_grid
from stitching.results.summary import MOST_COLUMNS, summary_csv
from tests.report.made import make_cell

MEASURES = (
    "latent/r2", "latent/r2_beyond_pixels", "latent/mse", "image/rmse", "image/lpips", "image/kid",
    "image/fid", "probe/kappa", "probe/consistency",
)  # fmt: skip


def rows(**grids):
    return [*csv.DictReader(io.StringIO(summary_csv(grids)))]


def test_each_pair_has_its_kind_and_state(tmp_path):
    make_cell(tmp_path, "vae", "vae", 0)
    make_cell(tmp_path, "pca", "vae", 1)
    make_cell(tmp_path, "nf", "vae", 2, state="failed")
    found = rows(strict=read_grid(tmp_path))
    assert [(x["encoder"], x["kind"], x["state"], x["image/rmse"]) for x in found] == [
        ("pca", "control", "done", "0.1"), ("vae", "own reconstruction", "done", "0.1"),
        ("nf", "model", "failed", ""),
    ]  # fmt: skip


def test_columns_are_at_most_twenty_with_one_distance(tmp_path):
    facts = {f"{key}{end}": 0.5 for key in MEASURES for end in ("", ".low", ".high")}
    for number in (0, 1):
        config = {"data": {"n_train": 50 + number}}
        make_cell(tmp_path, "a", "b", number, config=config, **facts, n_train=50 + number)
    (first, second) = rows(strict=read_grid(tmp_path))
    assert (first["data/n_train"], second["data/n_train"]) == ("50.0", "51.0")
    assert len(first) <= MOST_COLUMNS
    assert [key for key in first if key in MEASURES] == [
        "image/rmse", "latent/r2", "latent/r2_beyond_pixels", "image/kid", "probe/kappa",
    ]  # fmt: skip
    grid = read_grid(tmp_path)
    assert len(rows(strict=grid, paper=grid)[0]) <= MOST_COLUMNS
    assert not any("." in key for key in first)


def test_without_a_main_measure_the_first_ones_are_taken(tmp_path):
    make_cell(tmp_path, "a", "b", image__rmse=None, latent__nmse=0.25)
    (row,) = rows(strict=read_grid(tmp_path))
    assert (row["latent/nmse"], row["latent/nmse/low"]) == ("0.25", "")
