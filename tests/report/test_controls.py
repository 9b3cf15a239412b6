"""Controls in reports: first, apart from models, and named."""

import re

from stitching.config import conf_dir
from stitching.report import read_grid
from stitching.report.heatmaps import APART, measure_panel
from stitching.report.latex import latex
from stitching.report.tables import markdown
from stitching.results.controls import CONTROLS, controls_first, is_control
from stitching.results.measures import measure_of
from tests.report.made import make_cell, make_sweep

ROWS = ("nf", "pixels", "vae", "random")


def test_controls_come_first_in_their_own_order(tmp_path):
    make_sweep(tmp_path, ROWS, ("pca", "vae"))
    grid = read_grid(tmp_path)
    assert grid.encoders == ["random", "pixels", "nf", "vae"]
    assert grid.groups == [("controls", ["random", "pixels"]), ("models", ["nf", "vae"])]
    assert list(dict.fromkeys(grid.frame["encoder"])) == grid.encoders
    assert list(grid.controls) == ["random", "pixels", "pca"]


def test_a_control_is_known_by_its_yaml_whatever_its_name(tmp_path):
    make_cell(tmp_path, "vae", "nf", 0, encoder__model="vae")
    make_cell(tmp_path, "floor", "nf", 1, encoder__model="shuffled")
    make_cell(tmp_path, "pca[width=8]", "nf", 2, encoder__model="pca")
    assert read_grid(tmp_path).encoders == ["floor", "pca[width=8]", "vae"]


def test_a_grid_of_one_kind_has_no_titles(tmp_path):
    make_sweep(tmp_path, ("a", "b"), ("c",))
    grid = read_grid(tmp_path)
    assert grid.groups == [("", ["a", "b"])]
    assert "models" not in markdown(grid)
    assert "multicolumn{2}{l}" not in latex(grid)


def test_tables_have_both_groups_below_their_titles(tmp_path):
    make_sweep(tmp_path, ROWS, ("nf",))
    grid = read_grid(tmp_path)
    text = markdown(grid, [measure_of("image/rmse")])
    names = re.findall(r"^\| (\S+) \|", text, re.M)
    assert names[1:] == ["*controls*", "random", "pixels", "*models*", "nf", "vae"]
    assert f"`pixels`, {CONTROLS['pixels']}" in text
    tex = latex(grid, measures=[measure_of("image/rmse")])
    places = [tex.index(x) for x in (r"\emph{controls}", "pixels &", r"\addlinespace",
                                     r"\emph{models}", "nf &")]  # fmt: skip
    assert places == sorted(places)


def test_a_heatmap_has_a_gap_between_them(tmp_path):
    make_sweep(tmp_path, ROWS, ("nf",))
    grid = read_grid(tmp_path)
    panel = measure_panel(grid, measure_of("image/rmse"), 1.0, title="")
    assert [gap > 0 for gap in panel.gaps] == [False, False, True, False]
    assert "controls" in APART


def test_every_control_is_a_model_of_its_name():
    names = {path.stem for path in (conf_dir() / "model").glob("*.yaml")}
    assert names >= set(CONTROLS)
    assert not is_control("vae")


def test_the_order_within_models_stays():
    kinds = {"b": "vae", "z": "random", "a": "pca", "p": "pixels"}
    assert controls_first(kinds, kinds) == ["z", "a", "p", "b"]
