import numpy as np
import pytest
import torch

from stitching.metrics.resampling import Resamples
from stitching.metrics.ssim import SSIM, structural_similarity
from tests.metrics.sets import byte_images, no_resamples, noisy


def smooth(n: int, side: int, seed: int) -> torch.Tensor:
    x = byte_images(n, seed, side=side).float()
    return torch.nn.functional.avg_pool2d(x, 7, 1, 3).round().to(torch.uint8)


def ssim(x: torch.Tensor, y: torch.Tensor) -> float:
    metric = SSIM()
    sides = metric.space.features(x), metric.space.features(y)
    return metric.compute(*sides, no_resamples(len(x)))["image/ssim"].value


def scikit_images(x: torch.Tensor, y: torch.Tensor) -> float:
    from skimage.metrics import structural_similarity

    return structural_similarity(
        x.numpy(), y.numpy(), channel_axis=0, data_range=255,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    )  # fmt: skip


@pytest.mark.parametrize("side", [11, 12, 32, 64])
def test_score_equals_the_mean_of_scikit_images(side):
    x = smooth(3, side, 0)
    y = noisy(x, 0.05)
    expected = np.mean([scikit_images(*pair) for pair in zip(x, y, strict=True)])
    assert ssim(x, y) == pytest.approx(expected, abs=1e-10)


def test_map_inside_the_border_agrees_with_torchmetrics():
    from torchmetrics.functional.image import structural_similarity_index_measure

    x = smooth(2, 32, 0).double() / 255
    y = noisy(smooth(2, 32, 0), 0.05).double() / 255
    _, places = structural_similarity_index_measure(
        x, y, sigma=1.5, data_range=1.0, reduction="none", return_full_image=True
    )
    expected = places[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))
    torch.testing.assert_close(structural_similarity(x, y), expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("value", [0, 3, 130, 250, 255])
def test_flat_images_are_fully_similar_to_themselves(value):
    x = torch.full((2, 3, 32, 32), value, dtype=torch.uint8)
    assert ssim(x, x) == pytest.approx(1, abs=1e-10)


def test_flat_images_of_two_values_follow_the_closed_form():
    x = torch.full((1, 3, 16, 16), 51, dtype=torch.uint8)
    expected = (2 * 0.2 * 0.8 + 1e-4) / (0.2**2 + 0.8**2 + 1e-4)
    assert ssim(x, 4 * x) == pytest.approx(expected, rel=1e-12)


def test_similarity_is_symmetric_and_falls_with_noise():
    x = smooth(2, 32, 0)
    scores = [ssim(x, noisy(x, amount)) for amount in (0.01, 0.05, 0.2)]
    assert scores == sorted(scores, reverse=True)
    assert ssim(noisy(x, 0.05), x) == pytest.approx(scores[1], rel=1e-12)


def test_images_that_are_not_square_agree_with_scikit_image():
    x = smooth(1, 40, 0)[..., :20]
    y = noisy(x, 0.05)
    assert ssim(x, y) == pytest.approx(scikit_images(x[0], y[0]), abs=1e-10)


@pytest.mark.parametrize("n", [1, 7, 40])
def test_each_images_similarity_does_not_depend_on_its_neighbours(n):
    x = smooth(40, 16, 0)
    y = noisy(x, 0.05)
    draws = SSIM().compute(x[:n], y[:n], Resamples(n, 0, 0))
    expected = np.mean([ssim(x[i : i + 1], y[i : i + 1]) for i in range(n)])
    assert draws["image/ssim"].value == pytest.approx(expected, abs=1e-12)


def test_interval_holds_the_value():
    x = smooth(30, 16, 0)
    y = torch.cat([noisy(x[:15], 0.02), noisy(x[15:], 0.1)])
    estimate = SSIM().compute(x, y, Resamples(30))["image/ssim"]
    low, high = estimate.interval
    assert low < estimate.value < high


def test_images_smaller_than_the_window_are_refused():
    x = byte_images(1, 0, side=10)
    with pytest.raises(ValueError, match=r"at least 11 x 11 pixels, got 10 x 10"):
        ssim(x, x)
    assert SSIM().smallest_image == 11


def test_sets_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"one shape .*\(1, 3, 12, 12\) and \(2, 3, 12, 12\)"):
        structural_similarity(torch.zeros(1, 3, 12, 12), torch.zeros(2, 3, 12, 12))
