"""Scores of changed latents, against those computed from the start."""

import pytest
import torch

from stitching.metrics.latent import latent_scores
from stitching.metrics.resampling import Estimate
from stitching.metrics.shifted import ShiftedScores


@pytest.mark.parametrize(("n", "d"), [(2, 1), (30, 7), (20, 5000)])
@pytest.mark.parametrize("size", [1e-3, 1.0])
def test_values_are_those_of_the_changed_latents(n, d, size):
    g = torch.Generator().manual_seed(n)
    true, noise, change = torch.randn(3, n, d, generator=g, dtype=torch.float64).unbind()
    true[:, 0] = true[:, 0] * 9 + 100
    mapped = true + 0.3 * noise
    if d > 1:
        true[:, -1] = 0.1  # does not vary
    found = ShiftedScores(true, mapped).values(size * change)
    expected = latent_scores(true, mapped + size * change)
    estimates = {k: v.value for k, v in expected.items() if isinstance(v, Estimate)}
    assert found == pytest.approx(estimates, rel=1e-9)


def test_single_precision_resolves_a_small_change():
    g = torch.Generator().manual_seed(0)
    true, noise, change = torch.randn(3, 50, 5000, generator=g, dtype=torch.float64).unbind()
    true, mapped, change = true + 5, true + 5 + 0.3 * noise, 1e-3 * (change - noise)
    exact = latent_scores(true, mapped + change)
    before = latent_scores(true, mapped)
    found = ShiftedScores(true.float(), mapped.float()).values(change.float())
    plain = ShiftedScores(true.float(), mapped.float()).values(torch.zeros(50, 5000))
    for key in ("latent/mse", "latent/r2", "latent/nmse", "latent/cosine"):
        moved = exact[key].value - before[key].value
        assert found[key] - plain[key] == pytest.approx(moved, rel=1e-3)


@pytest.mark.filterwarnings("error")
def test_what_is_undefined_is_left_out():
    true = torch.full((5, 3), 0.1)
    assert set(ShiftedScores(true, true + 1).values(torch.zeros(5, 3))) == {
        "latent/mse",
        "latent/rmse",
    }
