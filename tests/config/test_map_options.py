"""Options of a cell about its map: what is refused before any work, and what files come out."""

import json
import re

import pandas as pd
import pytest
import torch
from PIL import Image

import stitching
from stitching import config
from stitching.config import assemble
from stitching.results.cell import CellRecord
from stitching.results.configs import swept_setting
from stitching.results.grid import read_grid
from tests.test_cli import conf, launch  # noqa: F401 - a fixture

SIZES = ["tracker=none", "data.image_size=32", "data.n_train=40", "data.n_test=8",
         "metric=[rmse]", "probe.attributes=[Male]"]  # fmt: skip


def build(*overrides):
    return assemble.build_cell(config.compose_config([*SIZES[:1], *overrides]))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["rank_curve=all"], "rank_curve='all': use null, auto, or a list"),
        (["rank_curve=[1,-2]"], "use null, auto, or a list of ranks"),
        (["rank_curve=auto", "map=relative"], "rank_curve needs map=ridge, ols or reduced_rank"),
        (["rank_curve=auto", "map.alpha_per_target=true"], "one penalty for all targets"),
        (["via=nobody"], "via=nobody: there is no model named nobody"),
        (
            ["map=identity"],
            "map=identity is for one space, but encoder=vae and decoder=nf differ",
        ),
        (["map=diagonal"], "map=diagonal needs equal widths, source has 512 and target 12288"),
        (["map=conv1x1"], "map=conv1x1"),
        (["map.selection=best"], "map.selection='best': use one of gcv, loo, kfold"),
        (["map.selection=loo", "map.chunk=100"], "must be in memory: use map.selection=gcv"),
        (["map.chunk=0"], "map.chunk must be >= 1 rows"),
    ],
)
def test_wrong_options_are_refused_before_any_work(overrides, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build(*overrides)


@pytest.mark.parametrize("kind", ["identity", "conv1x1"])
def test_a_diagonal_cell_needs_nothing_of_the_map(kind):
    assert build("encoder=vae", "decoder=vae", f"map={kind}").fitting.template.name == kind


@pytest.fixture(scope="module")
def sizes(conf, tmp_path_factory):  # noqa: F811
    """A sweep over the number of images, the largest first."""
    cwd = tmp_path_factory.mktemp("sizes")
    done = launch(
        "-m", "--config-dir", str(conf), "encoder=one", "decoder=two", *SIZES[:2], *SIZES[3:],
        "data.n_train=200,100", "rank_curve=auto", "via=one", "export_map=true",
        "hydra.sweep.dir=grid", cwd=cwd,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return cwd / "grid", done


def cell_of(sizes, n_train):
    folder, _ = sizes
    found = {json.loads((p / "metrics.json").read_text())["n_train"]: p for p in cells(folder)}
    return found[n_train]


def cells(folder):
    return sorted(path.parent for path in folder.glob("*/metrics.json"))


def test_a_smaller_size_encodes_nothing_that_a_larger_one_has(sizes):
    resources = json.loads((cell_of(sizes, 100) / "resources.json").read_text())
    assert resources["count/images_encoded"] == 0


def test_a_sweep_over_a_number_ends_with_curves(sizes):
    folder, done = sizes
    assert "2 cells: 2 succeeded; over data.n_train" in done.stdout
    for name in ("latent_r2", "image_rmse", "probe_consistency"):
        with Image.open(folder / f"curve_{name}.png") as image:
            assert image.width > 400


def test_the_swept_setting_is_found_in_the_cells(sizes):
    folder, _ = sizes
    assert swept_setting(read_grid(folder).done) == ("data.n_train", [200, 100])


def test_two_swept_settings_are_none(sizes, tmp_path):
    for name, text in (("a", "map: {x: 1, y: 1}"), ("b", "map: {x: 2, y: 2}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(text)
    paths = [tmp_path / "a", tmp_path / "b"]
    found = [CellRecord(path, "", "", "done", "", None, 0, {}) for path in paths]
    assert swept_setting(found) is None


def test_a_cell_holds_the_whole_penalty_curve(sizes):
    table = pd.read_csv(cell_of(sizes, 200) / "penalty_curve.csv")
    assert list(table) == ["alpha", "dof", "cv_mse", "chosen", "flat"]
    metrics = json.loads((cell_of(sizes, 200) / "metrics.json").read_text())
    chosen = table[table["chosen"] == 1]
    assert chosen["alpha"].item() == pytest.approx(metrics["alpha"])
    assert chosen["cv_mse"].item() == pytest.approx(table["cv_mse"].min())
    assert (cell_of(sizes, 200) / "penalty_curve.png").stat().st_size > 0


def test_a_cell_holds_the_rank_curve(sizes):
    table = pd.read_csv(cell_of(sizes, 200) / "rank_curve.csv")
    metrics = json.loads((cell_of(sizes, 200) / "metrics.json").read_text())
    assert table["latent/r2"].iloc[-1] == pytest.approx(metrics["latent/r2"], abs=1e-6)
    assert table["image/rmse"].iloc[-1] == pytest.approx(metrics["image/rmse"], rel=1e-4)
    assert (cell_of(sizes, 200) / "rank_curve.png").stat().st_size > 0


def test_an_exported_map_applies_in_python(sizes):
    fitted = stitching.load_map(cell_of(sizes, 200) / "map.safetensors")
    latents = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    expected = latents @ fitted.weight.T + fitted.bias
    torch.testing.assert_close(fitted(latents), expected, rtol=1e-4, atol=1e-5)


def test_a_detour_through_the_encoder_itself_is_the_direct_map(sizes):
    metrics = json.loads((cell_of(sizes, 200) / "metrics.json").read_text())
    assert metrics["latent/via_r2"] == pytest.approx(metrics["latent/r2"], abs=1e-9)
