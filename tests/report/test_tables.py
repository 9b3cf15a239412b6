"""Rounding, tables and what is said beside them."""

import re

import pytest

from stitching.report import Measure, main, print_table, read_grid
from stitching.report.tables import markdown
from stitching.results.formats import direction, format_value, with_interval
from stitching.results.measures import measure_of
from tests.report.made import cells_of, drawn, make_cell, make_sweep, rows_of, scores

PERCENT = Measure("x", "x", percent=True)
PLAIN = Measure("x", "x")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.29, "29.0"), (0.57, "57.0"), (0.58, "58.0"), (-0.00999, "-1.0"), (1.0, "100.0")),
        *((0.0, "0.0"), (-0.0001, "0.0"), (2 / 3, "66.7"), (0.9996, "100.0")),
    ],
)
def test_percentages_are_rounded_not_cut_off(value, text):
    assert format_value(value, PERCENT) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.0637, "0.0637"), (0.20345, "0.203"), (0.9996, "1.00"), (0.09996, "0.100")),
        *((12.345, "12.3"), (123.5, "124"), (99999.6, "100000"), (1234567.0, "1.23e+06")),
        *((0.00012345, "0.000123"), (0.000012345, "1.23e-05"), (-0.0132, "-0.0132")),
        *((0.0, "0.00"), (-0.0, "0.00"), (7, "7.00"), ("missing", "missing")),
    ],
)
def test_other_numbers_have_three_significant_digits(value, text):
    assert format_value(value, PLAIN) == text


def test_the_text_table_shows_encoders_as_rows_and_decoders_as_columns(tmp_path):
    make_cell(tmp_path, "vae", "nf", 0, image__rmse=0.0641)
    make_cell(tmp_path, "vae", "vqvae", 1, image__rmse=0.2)
    make_cell(tmp_path, "random", "nf", 2, image__rmse=0.5)
    make_cell(tmp_path, "random", "vqvae", 3, state="failed")
    assert print_table(read_grid(tmp_path)).splitlines() == [
        "image/rmse: Pixel RMSE (0-1 scale); lower is better",
        "encoder \\ decoder      nf   vqvae",
        "(controls)",
        "random              0.500  failed",
        "(models)",
        "vae                0.0641   0.200",
    ]


def test_the_markdown_table_shows_the_same(tmp_path):
    make_sweep(tmp_path, ("vae",), ("nf", "dm"), image__rmse=0.0641)
    text = markdown(read_grid(tmp_path))
    assert "| encoder \\ decoder | nf | dm |\n| --- | ---: | ---: |" in text
    assert "| vae | 0.0641 | 0.0641 |" in text
    assert "data faces, map ridge, 100 images to fit, 20 to test, seed 0." in text


def test_a_value_that_is_not_finite_is_invalid_everywhere(tmp_path):
    make_cell(tmp_path, "vae", "nf", 0, image__lpips=float("nan"))
    make_cell(tmp_path, "nf", "nf", 1, image__lpips=0.5)
    main([str(tmp_path)])
    rows = rows_of(tmp_path / "summary.csv")
    assert [row["image/lpips"] for row in rows] == ["invalid", "0.5"]
    assert cells_of(tmp_path)["image/lpips/state"].fillna("").tolist() == ["invalid", ""]
    assert "| vae | invalid |" in (tmp_path / "table.md").read_text()


def test_a_value_of_none_is_missing_with_its_reason(tmp_path):
    reason = "the true latents are all equal"
    make_cell(tmp_path, "vae", "nf", 0, latent__r2=None, latent__r2_missing=reason)
    make_cell(tmp_path, "nf", "nf", 1, latent__r2=1.0)
    text = print_table(read_grid(tmp_path))
    assert "vae                missing" in text
    assert f"missing in 1 of 2 cells: {reason}" in text


def test_a_measure_that_no_cell_has_is_named_with_the_reason(tmp_path, capsys):
    make_sweep(tmp_path, image__fid_missing="no network", image__kid_missing="no network")
    main([str(tmp_path)])
    text = (tmp_path / "table.md").read_text()
    assert "- image/kid, image/fid missing in 4 of 4 cells: no network" in text
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "image/fid" in line]
    assert line == "in no cell (reasons in table.md): image/kid, image/fid"
    assert not (tmp_path / "heatmap_image_fid.png").exists()


@pytest.mark.parametrize(("n", "biased"), [(128, True), (1280, True), (5000, False)])
def test_a_frechet_distance_comes_with_its_counts_and_bias(tmp_path, n, biased):
    make_cell(tmp_path, "a", "b", image__fid=9.0, image__fid_n=n, image__fid_dim=1280)
    text = print_table(read_grid(tmp_path))
    assert f"{n} images per side, 1280 features" in text
    assert ("estimation bias" in text) == biased


@pytest.mark.parametrize("constant", [0, 3])
def test_probe_agreement_says_how_many_attributes_inform_it(tmp_path, constant):
    probe = {"probe__n_attributes": 8, "probe__n_constant": constant}
    make_cell(tmp_path, "a", "b", probe__kappa=0.9, **probe)
    text = print_table(read_grid(tmp_path))
    assert "mean over 8 attributes" in text
    assert ("up to 3 of them uninformative" in text) == bool(constant)


def test_the_diagonal_without_a_map_does_not_hide_the_map_of_the_others(tmp_path, capsys):
    make_cell(tmp_path, "a", "a", 0, map="identity")
    make_cell(tmp_path, "b", "a", 1, map="ridge")
    main([str(tmp_path)])
    assert "map ridge (none on the diagonal)" in capsys.readouterr().out


# ---- intervals and signs


@pytest.mark.parametrize(
    ("value", "ends", "texts"),
    [
        (0.0641, (0.061, 0.0672), ("0.0641", "[0.0610, 0.0672]")),
        (0.0946, (0.0871, 0.10049), ("0.0946", "[0.0871, 0.1005]")),
        (9.996, (8.0, 12.0), ("10.0", "[8.0, 12.0]")),
        (-0.002, (-0.0301, 0.0261), ("-0.0020", "[-0.0301, 0.0261]")),
        (1e-18, (-0.0193, 0.0172), ("0.0000", "[-0.0193, 0.0172]")),
        (1.28e-7, (1.2e-7, 1.3e-7), ("1.28e-07", "[1.20e-07, 1.30e-07]")),
        (0.5, None, ("0.500", "")),
        (0.0, (0.0, 0.0), ("0.00", "[0.00, 0.00]")),
    ],
)
def test_a_number_and_its_interval_have_the_same_decimals(value, ends, texts):
    assert with_interval(value, ends, PLAIN) == texts


def test_an_interval_in_percent_has_one_decimal():
    assert with_interval(0.29, (0.285, 0.5799), PERCENT) == ("29.0", "[28.5, 58.0]")


def one_column(root, **facts):
    for number, (encoder, level) in enumerate((("a", 0.5), ("b", 0.301), ("c", 0.3))):
        items = scores(level, shared=0.1, own=0.05, seed=number + 1)
        make_cell(root, encoder, "d", number, draws={"image/rmse": drawn(items)}, **facts)


def test_the_console_marks_the_best_and_its_ties_and_has_intervals(tmp_path):
    one_column(tmp_path)
    lines = print_table(read_grid(tmp_path)).splitlines()
    found = [re.sub(r"\.\d+, 0\.\d+", "", line) for line in lines[2:5]]
    assert found == [
        "a                  0.500 [0]",
        "b                  0.301 [0]≈",
        "c                  0.300 [0]*",
    ]


def test_a_wide_table_on_the_console_has_no_intervals(tmp_path):
    for number in range(8):
        draws = {"image/rmse": drawn(scores(0.25, own=0.1))}
        make_cell(tmp_path, "a", f"decoder{number}", number, draws=draws)
    lines = print_table(read_grid(tmp_path)).splitlines()
    assert lines[2].split() == ["a", *["0.250"] * 8]


def test_markdown_has_intervals_and_explains_its_signs(tmp_path):
    one_column(tmp_path)
    text = markdown(read_grid(tmp_path))
    assert "In brackets: 95 % intervals over resamples of the test images." in text
    line = next(line for line in text.splitlines() if line.startswith("| c |"))
    assert line.startswith("| c | 0.300 [0.2")
    assert line.endswith("] \\* |")
    assert "\\* best of its column, own reconstructions and controls aside" in text
    assert "; ≈ not distinguishable" in text


def test_the_summary_has_the_ends_of_intervals_beside_the_value(tmp_path):
    one_column(tmp_path)
    main([str(tmp_path)])
    row = rows_of(tmp_path / "summary.csv")[0]
    assert list(row)[4:7] == ["image/rmse", "image/rmse/low", "image/rmse/high"]


def test_the_floor_of_a_distance_is_told(tmp_path):
    make_cell(tmp_path, "a", "b", image__fid=9.0, image__fid_floor=4.25)
    text = print_table(read_grid(tmp_path))
    assert "two disjoint halves of the test images are 4.25 apart" in text


def test_likeness_within_chance_is_counted(tmp_path):
    null = {"geometry/cka.null_high": 0.3}
    make_cell(tmp_path, "a", "b", 0, geometry__cka=0.9, **null)
    make_cell(tmp_path, "b", "a", 1, geometry__cka=0.2, **null)
    text = markdown(read_grid(tmp_path))
    assert "No better than for shuffled items in 1 of 2 cells." in text


def test_a_distance_within_chance_is_counted(tmp_path):
    null = {"geometry/procrustes.null_low": 0.3}
    make_cell(tmp_path, "a", "b", 0, geometry__procrustes=0.9, **null)
    make_cell(tmp_path, "b", "a", 1, geometry__procrustes=0.2, **null)
    assert "No better than for shuffled items in 1 of 2 cells." in markdown(read_grid(tmp_path))


def test_the_protocol_is_part_of_the_setting(tmp_path):
    make_cell(tmp_path, "a", "b", protocol="strict")
    assert "protocol strict, data faces" in markdown(read_grid(tmp_path))


def test_a_users_own_measure_of_images_is_shown_without_a_direction(tmp_path):
    make_cell(tmp_path, "a", "b", draws={"image/mine": drawn(scores(0.25))}, image__note_n=3)
    text = markdown(read_grid(tmp_path))
    assert "`image/mine`: for comparison, neither end is better." in text
    assert "| a | 0.250 [0.250, 0.250] |" in text
    assert "image/note" not in text


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("geometry/cka", "higher is more alike"),
        ("geometry/procrustes", "lower is more alike"),
        ("latent/mse", "lower is better, comparable within a column"),
        ("probe/majority", "for comparison, neither end is better"),
    ],
)
def test_the_good_end_of_a_measure_is_told(key, text):
    assert direction(measure_of(key)) == text


def test_both_values_are_told_where_the_penalty_is_not_determined(tmp_path, capsys):
    flat = {"map__flat": 1, "map__flat_alpha": 3.9, "alpha": 268.8}
    make_cell(tmp_path, "a", "d", 0, latent__r2=0.542, flat__latent__r2=0.535, **flat)
    make_cell(tmp_path, "b", "d", 1, latent__r2=0.6)
    grid = read_grid(tmp_path)
    note = "enalty not determined: a to d 0.542 at penalty 269, 0.535 at 3.9"
    for text in (markdown(grid), print_table(grid)):
        assert note in text
        assert "0.542§" in text or "0.542 §" in text
        assert "§ penalty of the map not determined" in text
