"""Presets of the paper's figures: what they compose, and that one runs."""

import json
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from stitching import config
from stitching.config import assemble
from stitching.report.figures import write_figures
from stitching.results.cell import BASELINES
from stitching.results.commands import AT
from stitching.results.grid import read_grid
from tests.toys import LAUNCH, write_models

CONF = config.conf_dir()
FIGURES = [f"figure{number}" for number in range(1, 7)]
PRESETS = [*FIGURES, "paper", "grid-celeba"]


def composed(*overrides):
    config.register_roles()
    with initialize_config_dir(str(CONF.resolve()), version_base="1.3"):
        return compose("config", list(overrides), return_hydra_config=True)


def text_of(name):
    return (CONF / "experiment" / f"{name}.yaml").read_text()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_sweep_over_models_that_there_are(name):
    hydra = composed(f"experiment={name}").hydra
    assert hydra.mode.name == "MULTIRUN"
    models = {path.stem for path in (CONF / "model").glob("*.yaml")}
    for role in config.ROLES:
        assert set(hydra.sweeper.params[role].split(",")) <= models


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_how_it_is_started(name):
    first, *rest = text_of(name).splitlines()
    assert first == "# @package _global_"
    assert f"python launch.py experiment={name}" in "\n".join(rest)


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "figure2"])
def test_a_preset_takes_photographs(name):
    cfg = composed(f"experiment={name}", "data=celeba", "data.root=somewhere")
    assert cfg.data.name == "celeba"
    assert cfg.data.root == "somewhere"


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_takes_the_protocol_of_the_paper(name):
    assert composed(f"experiment={name}", "protocol=paper").protocol.name == "paper"


@pytest.mark.parametrize("name", PRESETS)
def test_metrics_of_a_preset_can_be_changed(name):
    assert set(composed(f"experiment={name}", "metric=[ssim]").metric) == {"ssim"}


@pytest.mark.parametrize(
    ("name", "metrics", "probes"),
    [
        ("figure1", {"rmse"}, False),
        ("figure2", {"rmse"}, False),
        ("figure3", {"rmse", "lpips", "fid", "fd_effnet"}, False),
        ("figure4", {"rmse"}, True),
        ("figure5", {"rmse"}, True),
        ("figure6", {"rmse"}, True),
    ],
)
def test_a_figure_measures_what_it_shows(name, metrics, probes):
    cfg = composed(f"experiment={name}")
    assert set(cfg.metric) == metrics
    assert (cfg.probe.get("_target_") is not None) is probes
    assert not cfg.geometry
    assert not cfg.round_trip


def test_figure_2_is_of_images_that_the_gan_drew():
    cfg = composed("experiment=figure2")
    assert cfg.data.name == "drawn"
    assert cfg.data.model.name == "gan"
    assert cfg.hydra.sweeper.params.decoder == "gan"


def test_figure_6_sweeps_over_the_checkpoints_that_its_comment_makes():
    params = composed("experiment=figure6").hydra.sweeper.params
    assert params["decoder.checkpoint"] == AT
    assert f"checkpoints_at=[{AT}]" in text_of("figure6")
    assert params.encoder in BASELINES


def test_the_paper_preset_has_both_protocols():
    assert composed("experiment=paper").hydra.sweeper.params.protocol == "strict,paper"


def test_the_grid_on_celeba_has_the_papers_split_and_no_weights_of_drawn_faces():
    cfg = composed("experiment=grid-celeba")
    assert (cfg.data.name, cfg.data.split_by, cfg.data.n_train) == ("celeba", "paper", 9000)
    assert cfg.data.n_test >= composed("protocol=paper").protocol.test_images
    assert not cfg.zoo.startswith("zoo:")


def test_the_grid_on_celeba_asks_for_its_folder():
    cfg = composed("experiment=grid-celeba", "encoder=random", "decoder=pixels")
    cell = OmegaConf.create({key: value for key, value in cfg.items() if key != "hydra"})
    with pytest.raises(ValueError, match=r"data\.root"):
        assemble.build_cell(config.resolve(cell))


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """The preset of figure 3 on two toy models."""
    cwd = tmp_path_factory.mktemp("launched")
    write_models(cwd / "my", one=8, two=24)
    arguments = ["--config-dir", "my", "experiment=figure3", "encoder=random,one,two",
                 "decoder=one,two", "metric=[rmse,lpips]", "data.image_size=32", "data.n_train=24",
                 "data.n_test=6", "tracker=none", "hydra.sweep.dir=grid"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(LAUNCH), *arguments], cwd=cwd, capture_output=True, text=True,
        timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return cwd / "grid"


def test_a_launched_preset_leaves_what_its_figure_needs(launched, tmp_path):
    paths = write_figures(read_grid(launched), tmp_path)
    assert {path.stem for path in paths} == {"figure1", "figure3"}


def test_a_launched_preset_measures_no_more_than_its_figure_shows(launched):
    metrics = json.loads((launched / "one-to-two_3" / "metrics.json").read_text())
    assert not any(key.startswith(("probe/", "geometry/", "latent/reverse")) for key in metrics)
