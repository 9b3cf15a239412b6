"""Curves over the number of fit images, from the files of cells."""

import csv

import pytest

from stitching.results.learning import as_csv, learning_curves, markdown
from stitching.results.reading import read_cells
from tests.report.made import drawn, make_cell, scores

SIZES = (100, 200, 400, 800)


def sweep(root, sizes=SIZES, encoders=("vae", "pixels")):
    for number, (n, encoder) in enumerate((n, e) for n in sizes for e in encoders):
        r2 = drawn(scores(0.9 - 3 / n, shared=0.02))
        rmse = drawn(scores(0.05 + 1 / n, shared=0.002))
        make_cell(
            root, encoder, "nf", number, n_train=n, draws={"latent/r2": r2, "image/rmse": rmse}
        )
    return read_cells(root)[0]


def test_cells_of_a_pair_form_a_curve_for_each_measure(tmp_path):
    curves = learning_curves(sweep(tmp_path))
    assert [x.key for x in curves] == ["latent/r2"] * 2 + ["image/rmse"] * 2
    assert [(x.encoder, x.control) for x in curves] == [("vae", False), ("pixels", True)] * 2
    first = curves[0]
    assert first.sizes == SIZES
    assert first.end.limit.value == pytest.approx(0.9, abs=2e-3)
    assert first.end.limit.interval()[0] < 0.9 < first.end.limit.interval()[1]


def test_own_reconstructions_and_cells_that_failed_are_left_out(tmp_path):
    make_cell(tmp_path, "nf", "nf", 90, n_train=100, latent__r2=1.0)
    make_cell(tmp_path, "vae", "nf", 91, n_train=1600, state="failed")
    curves = learning_curves(sweep(tmp_path))
    assert {x.encoder for x in curves} == {"vae", "pixels"}
    assert curves[0].sizes == SIZES


def test_a_measure_that_a_size_lacks_has_a_shorter_curve_and_a_reason(tmp_path):
    cells = sweep(tmp_path, SIZES[:3], ("vae",))
    (curve, _) = learning_curves(cells)
    assert curve.end.limit.value is None
    assert "- vae-to-nf: 3 sizes: an extrapolation needs at least 4." in markdown([curve])


def test_the_table_shows_sizes_limit_and_exponent(tmp_path):
    text = markdown(learning_curves(sweep(tmp_path)), "data faces")
    head = "| to | from | 100 | 200 | 400 | 800 | N → ∞ | p |  |"
    assert head in text
    row = next(line for line in text.splitlines() if line.startswith("| nf | *pixels* |"))
    assert "0.900 [" in row
    assert "| 1.0" in row


def test_the_csv_has_a_row_per_size_and_one_for_the_limit(tmp_path):
    rows = [*csv.DictReader(as_csv(learning_curves(sweep(tmp_path))).splitlines())]
    assert len(rows) == 4 * (len(SIZES) + 1)
    part = [x for x in rows if (x["encoder"], x["measure"]) == ("vae", "image/rmse")]
    assert [x["n_train"] for x in part] == ["100", "200", "400", "800", "inf"]
    assert float(part[-1]["low"]) < float(part[-1]["value"]) < float(part[-1]["high"])
    assert float(part[-1]["value"]) == pytest.approx(0.05, abs=1e-3)
