"""The files of conf/metric, found by listing the folder."""

from pathlib import Path

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from stitching.metrics.base import ImageMetric
from stitching.metrics.frechet import SmallSampleWarning
from stitching.metrics.resampling import Resamples
from stitching.weights import pretrained
from tests.metrics.sets import byte_images

CONF = Path(__file__).parents[2] / "conf"
FILES = sorted((CONF / "metric").glob("*.yaml"))


def build(file: Path, **space) -> ImageMetric:
    node = yaml.safe_load(file.read_text())[file.stem]
    if space:
        node["space"] |= space
    return instantiate(node, _convert_="all")


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(pretrained, "_network", pretrained.Network())
    monkeypatch.setattr(pretrained, "NETWORK_BUDGET_S", 0.0)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_file_has_one_key_which_is_its_name(file):
    assert list(yaml.safe_load(file.read_text())) == [file.stem]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_option_is_a_metric_of_that_name(offline, tmp_path, file):
    space = {}
    if file.stem == "fd_torch":
        from torchvision.models import resnet18

        torch.save(resnet18().state_dict(), tmp_path / "resnet18.pth")
        space = {"weights": str(tmp_path / "resnet18.pth"), "size": 32}
    metric = build(file, **space)
    assert isinstance(metric, ImageMetric)
    assert metric.name == file.stem


@pytest.mark.filterwarnings(f"ignore::{SmallSampleWarning.__module__}.SmallSampleWarning")
@pytest.mark.parametrize(
    ("name", "key", "perfect"),
    [
        ("rmse", "rmse", 0), ("ssim", "ssim", 1), ("lpips", "lpips", 0),
        ("lpips_vgg", "lpips_vgg", 0), ("fd_effnet", "fd_effnet", 0),
        ("kd_effnet", "kd_effnet", 0), ("precision_recall", "precision", 1),
        ("precision_recall", "recall", 1),
    ],
)  # fmt: skip
def test_a_decoder_that_returns_its_target_scores_perfectly(offline, name, key, perfect):
    options = {"size": 32} if name in ("fd_effnet", "kd_effnet", "precision_recall") else {}
    metric = build(CONF / "metric" / f"{name}.yaml", **options)
    features = metric.space.features(byte_images(8, 0))
    estimate = metric.compute(features, features.clone(), Resamples(8))[f"image/{key}"]
    assert estimate.value == pytest.approx(perfect, abs=1e-6)


def test_a_list_of_options_is_what_is_measured():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(overrides=["+metric=[rmse,lpips,kid]"])
    assert list(cfg.metric) == ["rmse", "lpips", "kid"]


def test_one_option_can_be_left_out():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(overrides=["+metric=[rmse,fid,kid]", "~metric.fid"])
    assert list(cfg.metric) == ["rmse", "kid"]


def test_a_space_of_ones_own_needs_its_weights():
    node = OmegaConf.load(CONF / "metric" / "fd_torch.yaml")
    assert OmegaConf.missing_keys(node) == {"fd_torch.space.weights"}
