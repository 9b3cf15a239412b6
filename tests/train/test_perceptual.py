"""LPIPS as a part of a training's loss."""

import copy

import pytest
import torch

from stitching.metrics.lpips import LPIPSActivations
from stitching.models.flow import Glow
from stitching.train.perceptual import PerceptualLoss
from stitching.train.trainer import Recipe, Trainer
from tests.small import small_vae

RECIPE = {"n_images": 160, "batch_size": 8, "lr": 1e-3}


@pytest.fixture(scope="module")
def distance():
    return PerceptualLoss(2.0, torch.device("cpu"))


def images(n=2, size=32, seed=0):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_it_is_the_weighted_distance_of_the_measure(distance):
    space = LPIPSActivations("vgg", None)
    made, real = ((images(seed=seed) * 255).round() / 255 for seed in (0, 1))
    features = space.features(made), space.features(real)
    expected = 2 * (features[0] - features[1]).square().sum(1).mean()
    torch.testing.assert_close(distance(made, real), expected, rtol=1e-4, atol=1e-6)


def test_equal_images_have_no_distance_and_the_place_of_a_crop_follows_the_seed(distance):
    x, y = images(size=48), images(size=48, seed=1)
    assert float(distance(x, x)) == 0
    values = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        values.append(float(distance(x, y)))
    assert values[0] == values[1] != values[2]


def test_gradients_reach_what_was_made_and_nothing_else(distance):
    made, real = images().requires_grad_(True), images(seed=1).requires_grad_(True)
    distance(made, real).backward()
    assert made.grad.abs().sum() > 0
    assert real.grad is None


def test_a_training_with_it_ends_nearer_in_lpips():
    pixels = (images(32) * 255).to(torch.uint8)
    reached = {}
    for weight in (0.0, 20.0):
        model = small_vae().requires_grad_(True)
        trainer = Trainer(model, Recipe(**RECIPE, lpips=weight), seed=0)
        for _ in range(20):
            figures = trainer.advance(pixels)
        x = pixels.float() / 255
        assert (figures["perceived"] > 0) == (weight > 0)
        with torch.no_grad():
            made = model.decoder(model.posterior(x)[0])
        reached[weight] = float(PerceptualLoss(1.0, torch.device("cpu"))(made, x))
    assert reached[20.0] < reached[0.0]


def test_the_average_of_a_training_does_not_carry_it():
    trainer = Trainer(small_vae().requires_grad_(True), Recipe(**RECIPE, ema=0.9, lpips=1.0), 0)
    assert trainer.model.perceptual is not None
    assert trainer.average.perceptual is None
    assert "LPIPS" in trainer.recipe.objective


def test_a_model_whose_objective_makes_no_images_is_refused():
    model = Glow("nf", 16, 1, 2, False, 8, (-0.5, 0.5))
    with pytest.raises(ValueError, match="model nf makes no images"):
        Trainer(model, Recipe(**RECIPE, lpips=1.0), seed=0)
    Trainer(copy.deepcopy(model), Recipe(**RECIPE), seed=0)  # without it, it trains


def test_missing_weights_are_said_before_training(monkeypatch):
    from stitching.metrics import lpips
    from stitching.metrics.base import MetricUnavailable

    def nowhere(net, weights):
        raise MetricUnavailable("tried everything")

    monkeypatch.setattr(lpips, "find_trunk", nowhere)
    with pytest.raises(ValueError, match=r"tried everything; or set training\.lpips=0"):
        PerceptualLoss(1.0, torch.device("cpu"))
