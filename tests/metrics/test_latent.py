import math

import pytest
import torch
from sklearn.metrics import mean_squared_error, r2_score

from stitching.metrics.latent import latent_scores


def pair(n: int, d: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    true = torch.randn(n, d, generator=g) * torch.linspace(0.1, 3, d) + 5
    return true, true + 0.3 * torch.randn(n, d, generator=g)


@pytest.mark.parametrize(("n", "d"), [(50, 1), (50, 7), (5, 40), (2, 3)])
def test_r2_equals_scikit_learns_variance_weighted_score(n, d):
    true, mapped = pair(n, d)
    expected = r2_score(
        true.double().numpy(), mapped.double().numpy(), multioutput="variance_weighted"
    )
    assert latent_scores(true, mapped)["latent/r2"] == pytest.approx(expected, abs=1e-10)


def test_mse_equals_scikit_learns():
    true, mapped = pair(30, 11)
    expected = mean_squared_error(true.double().numpy(), mapped.double().numpy())
    assert latent_scores(true, mapped)["latent/mse"] == pytest.approx(expected, rel=1e-12)


def test_squared_rmse_is_mse():
    scores = latent_scores(*pair(30, 11))
    assert scores["latent/rmse"] ** 2 == pytest.approx(scores["latent/mse"], rel=1e-12)


def test_perfect_map_has_r2_one_and_no_error():
    true, _ = pair(10, 4)
    scores = latent_scores(true, true.clone())
    assert scores == {"latent/mse": 0.0, "latent/rmse": 0.0, "latent/r2": 1.0}


def test_mean_predictor_has_r2_zero():
    true, _ = pair(40, 6)
    mapped = true.double().mean(dim=0).expand(40, 6)
    assert latent_scores(true.double(), mapped)["latent/r2"] == pytest.approx(0, abs=1e-12)


def test_common_offset_leaves_r2_unchanged():
    g = torch.Generator().manual_seed(3)
    true = torch.randn(20, 3, generator=g, dtype=torch.float64)
    mapped = true + torch.randn(20, 3, generator=g, dtype=torch.float64)
    shifted = latent_scores(true + 1e6, mapped + 1e6)["latent/r2"]
    assert shifted == pytest.approx(latent_scores(true, mapped)["latent/r2"], abs=1e-8)


def test_order_of_items_leaves_scores_unchanged():
    true, mapped = pair(33, 5)
    order = torch.randperm(33, generator=torch.Generator().manual_seed(1))
    assert latent_scores(true[order], mapped[order]) == pytest.approx(latent_scores(true, mapped))


def test_many_items_and_dimensions_are_summed_over_all_chunks():
    true, mapped = pair(500, 9000)
    errors = (true.double() - mapped.double()).square()
    spread = (true.double() - true.double().mean(dim=0)).square().sum()
    scores = latent_scores(true, mapped)
    assert scores["latent/mse"] == pytest.approx(float(errors.mean()), rel=1e-12)
    assert scores["latent/r2"] == pytest.approx(float(1 - errors.sum() / spread), abs=1e-12)


@pytest.mark.parametrize("true", [torch.full((7, 3), 0.1), torch.tensor([[0.3, 0.7]])])
def test_r2_is_missing_with_a_reason_when_the_true_latents_do_not_vary(true):
    scores = latent_scores(true, true + 1)
    assert scores["latent/r2"] is None
    assert "all equal" in scores["latent/r2_missing"]
    assert scores["latent/mse"] == pytest.approx(1)


@pytest.mark.parametrize("side", [0, 1])
def test_rows_that_are_not_finite_are_named(side):
    latents = list(pair(9, 4))
    latents[side][4, 1] = math.inf
    latents[side][7, 0] = math.nan
    with pytest.raises(ValueError, match=r"latents must be finite, but 2 of 9 .* rows 4, 7"):
        latent_scores(*latents)


@pytest.mark.parametrize("shape", [(8, 4), (9, 3), (9,)])
def test_sets_of_different_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="encode both from the same split"):
        latent_scores(torch.zeros(9, 4), torch.zeros(shape))


def test_empty_sets_are_refused():
    with pytest.raises(ValueError, match="N, D >= 1"):
        latent_scores(torch.zeros(0, 4), torch.zeros(0, 4))
