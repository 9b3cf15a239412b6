import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_squared_error, r2_score

from stitching.metrics.latent import latent_scores
from stitching.metrics.resampling import Estimate, Resamples, bootstrap_size, flatten

MEASURES = ("mse", "rmse", "r2", "nmse", "cosine")


def pair(n: int, d: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    true = torch.randn(n, d, generator=g) * torch.linspace(0.1, 3, d) + 5
    return true, true + 0.3 * torch.randn(n, d, generator=g)


def unbiased(r2, n):
    """scikit-learn's R2 with the unbiased variance of n items in place of the plain one."""
    return 1 - (1 - r2) * (n - 1) / n


def values(true, mapped, resamples=None):
    return flatten(latent_scores(true, mapped, resamples))[0]


def on_rows(true, mapped, counts):
    """Latents of a resample as rows, repeated as often as it holds them."""
    times = counts.long()
    return (z.double().repeat_interleave(times, dim=0).numpy() for z in (true, mapped))


# --- Values


@pytest.mark.parametrize(("n", "d"), [(50, 1), (50, 7), (5, 40), (2, 3)])
def test_r2_equals_scikit_learns_variance_weighted_score_with_the_unbiased_variance(n, d):
    true, mapped = pair(n, d)
    plain = r2_score(
        true.double().numpy(), mapped.double().numpy(), multioutput="variance_weighted"
    )
    assert values(true, mapped)["latent/r2"] == pytest.approx(unbiased(plain, n), abs=1e-10)


def test_nmse_is_one_less_r2_of_equally_weighted_dimensions_less_its_bias():
    n = 50
    true, mapped = (z.double().numpy() for z in pair(n, 7))
    plain = 1 - unbiased(r2_score(true, mapped), n)
    error, square = (true - mapped) ** 2, (true - true.mean(0)) ** 2
    mean, variance = error.mean(0), true.var(0, ddof=1)
    influence = square * n / (n - 1) - variance
    bias = (influence**2).mean(0) * mean / variance**3
    bias -= (influence * (error - mean)).mean(0) / variance**2
    expected = plain - bias.mean() / n
    assert values(*pair(n, 7))["latent/nmse"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("r2", [0.0, 0.5, 0.99])
def test_r2_and_nmse_of_few_items_are_right_on_average(r2):
    g = np.random.default_rng(0)
    found = []
    for _ in range(400):
        z, noise = g.normal(size=(2, 20, 60))
        mapped = r2 * z + (r2 * (1 - r2)) ** 0.5 * noise
        found.append(values(torch.from_numpy(z) + 3, torch.from_numpy(mapped) + 3))
    for key, truth in (("latent/r2", r2), ("latent/nmse", 1 - r2)):
        numbers = np.array([row[key] for row in found])
        assert abs(numbers.mean() - truth) < 0.4 * numbers.std()


def test_mse_equals_scikit_learns():
    true, mapped = pair(30, 11)
    expected = mean_squared_error(true.double().numpy(), mapped.double().numpy())
    assert values(true, mapped)["latent/mse"] == pytest.approx(expected, rel=1e-12)


def test_squared_rmse_is_mse():
    scores = values(*pair(30, 11))
    assert scores["latent/rmse"] ** 2 == pytest.approx(scores["latent/mse"], rel=1e-12)


def test_cosine_equals_that_of_centred_latents():
    true, mapped = (z.double() for z in pair(30, 11))
    mean = true.mean(dim=0)
    expected = torch.cosine_similarity(true - mean, mapped - mean).mean()
    assert values(true, mapped)["latent/cosine"] == pytest.approx(float(expected), rel=1e-12)


def test_items_count_alike_whatever_the_batches_they_came_in():  # case C07
    true = torch.zeros(100, 3)
    true[0] = 1
    mapped = true.clone()
    mapped[64:] += 1
    assert values(true, mapped)["latent/mse"] == pytest.approx(0.36, rel=1e-12)


def test_perfect_map_has_no_error():
    true, _ = pair(10, 4)
    assert values(true, true.clone()) == {
        "latent/mse": 0.0,
        "latent/rmse": 0.0,
        "latent/r2": 1.0,
        "latent/nmse": 0.0,
        "latent/nmse_dims": 4,
        "latent/cosine": 1.0,
    }


def test_the_test_items_own_mean_is_better_than_any_predictor_by_one_nth():
    true, _ = pair(40, 6)
    mapped = true.double().mean(dim=0).expand(40, 6)
    scores = values(true.double(), mapped)
    assert scores["latent/r2"] == pytest.approx(1 / 40, abs=1e-12)
    assert scores["latent/nmse"] == pytest.approx(1 - 1 / 40, abs=1e-12)


def test_the_mean_of_the_fit_items_has_r2_minus_one_over_their_number():
    g = torch.Generator().manual_seed(0)
    fit = torch.randn(100, 5000, generator=g, dtype=torch.float64)
    test = torch.randn(30, 5000, generator=g, dtype=torch.float64)
    found = values(test, fit.mean(0).expand(30, -1))["latent/r2"]
    assert found == pytest.approx(-1 / 100, abs=0.001)


def test_a_map_of_the_widest_dimension_alone_has_high_r2_and_high_nmse():
    g = torch.Generator().manual_seed(0)
    true = torch.randn(200, 10, generator=g)
    true[:, 0] *= 30
    mapped = true.mean(dim=0).expand(200, 10).clone()
    mapped[:, 0] = true[:, 0]
    scores = values(true, mapped)
    assert scores["latent/r2"] > 0.98
    assert scores["latent/nmse"] == pytest.approx(0.9 * 199 / 200, abs=1e-6)


def test_shrinkage_leaves_the_cosine_at_one():
    true = pair(20, 5)[0].double()
    mean = true.mean(dim=0)
    scores = values(true, mean + 0.1 * (true - mean))
    assert scores["latent/cosine"] == pytest.approx(1, abs=1e-12)
    assert scores["latent/r2"] < 0.25


def test_mirrored_latents_have_a_cosine_of_minus_one():
    true = pair(20, 5)[0].double()
    assert values(true, 2 * true.mean(dim=0) - true)["latent/cosine"] == pytest.approx(-1)


@pytest.mark.parametrize("key", ["latent/r2", "latent/nmse", "latent/cosine"])
def test_common_offset_leaves_relative_scores_unchanged(key):
    g = torch.Generator().manual_seed(3)
    true = torch.randn(20, 3, generator=g, dtype=torch.float64)
    mapped = true + torch.randn(20, 3, generator=g, dtype=torch.float64)
    shifted = values(true + 1e6, mapped + 1e6)[key]
    assert shifted == pytest.approx(values(true, mapped)[key], abs=1e-8)


@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
def test_scale_of_the_target_space_leaves_relative_scores_unchanged(scale, seed):
    true, mapped = (z.double() for z in pair(12, 4, seed))
    before, after = values(true, mapped), values(scale * true, scale * mapped)
    for name in ("r2", "nmse", "cosine"):
        assert after[f"latent/{name}"] == pytest.approx(before[f"latent/{name}"], abs=1e-9)


def test_order_of_items_leaves_scores_unchanged():
    true, mapped = pair(33, 5)
    order = torch.randperm(33, generator=torch.Generator().manual_seed(1))
    assert values(true[order], mapped[order]) == pytest.approx(values(true, mapped))


def test_many_items_and_dimensions_are_summed_over_all_blocks():
    true, mapped = pair(500, 3000)
    errors = (true.double() - mapped.double()).square()
    squares = (true.double() - true.double().mean(dim=0)).square()
    scores = values(true, mapped)
    assert scores["latent/mse"] == pytest.approx(float(errors.mean()), rel=1e-12)
    plain = float(1 - errors.sum() / squares.sum())
    assert scores["latent/r2"] == pytest.approx(unbiased(plain, 500), abs=1e-12)
    halves = [
        values(*(z[:, cols] for z in (true, mapped))) for cols in (slice(1500), slice(1500, 3000))
    ]
    nmse = (halves[0]["latent/nmse"] + halves[1]["latent/nmse"]) / 2
    assert scores["latent/nmse"] == pytest.approx(nmse, rel=1e-10)


def test_inputs_are_not_modified():
    true, mapped = (z.double() for z in pair(9, 4))
    before = true.clone(), mapped.clone()
    latent_scores(true, mapped, Resamples(9))
    assert torch.equal(true, before[0])
    assert torch.equal(mapped, before[1])


# --- Undefined


@pytest.mark.parametrize("true", [torch.full((7, 3), 0.1), torch.tensor([[0.3, 0.7]])])
@pytest.mark.parametrize("n_bootstrap", [0, 20])
def test_r2_is_missing_with_a_reason_when_the_true_latents_do_not_vary(true, n_bootstrap):
    scores = values(true, true + 1, Resamples(len(true), n_bootstrap))
    assert scores["latent/r2"] is None
    assert "all equal" in scores["latent/r2_missing"]
    assert scores["latent/nmse"] is None
    assert "no dimension of the true latents varies" in scores["latent/nmse_missing"]
    assert scores["latent/cosine"] is None
    assert scores["latent/mse"] == pytest.approx(1)


def test_constant_dimensions_are_left_out_of_nmse_alone():
    true, mapped = pair(30, 4)
    constant = torch.full((30, 3), 0.1)
    wide = torch.cat([true, constant], dim=1), torch.cat([mapped, constant + 1], dim=1)
    scores = values(*wide)
    assert scores["latent/nmse_dims"] == 4
    assert scores["latent/nmse"] == pytest.approx(values(true, mapped)["latent/nmse"], rel=1e-12)
    assert scores["latent/r2"] < values(true, mapped)["latent/r2"]


def test_a_dimension_that_varies_by_rounding_only_is_left_out_of_nmse():
    true, mapped = pair(30, 4)
    true[:, 0] = 7.0
    true[3, 0] = torch.nextafter(torch.tensor(7.0), torch.tensor(8.0))
    assert values(true, mapped)["latent/nmse_dims"] == 3


def test_an_item_at_the_mean_has_no_direction_and_no_cosine():
    true = torch.tensor([[-1.0], [0.0], [1.0]])
    scores = values(true, true + 0.5)
    assert scores["latent/cosine"] is None
    assert scores["latent/cosine_missing"].startswith("1 of 3 items lie exactly at the mean")


# --- Draws


@pytest.mark.parametrize(("n", "d"), [(25, 6), (12, 40)])
def test_r2_of_a_resample_is_that_of_the_repeated_rows_with_unbiased_variances(n, d):
    true, mapped = pair(n, d)
    resamples = Resamples(n, 20)
    draws = latent_scores(true, mapped, resamples)["latent/r2"].draws
    for counts, draw in zip(resamples.counts, draws, strict=True):
        rows = on_rows(true, mapped, counts)
        plain = r2_score(*rows, multioutput="variance_weighted")
        size = int(counts.sum())
        assert draw == pytest.approx(1 - (1 - unbiased(plain, size)) * (n - 1) / n, abs=1e-9)


def test_the_interval_of_an_r2_near_zero_holds_it():
    true = torch.randn(100, 2000, generator=torch.Generator().manual_seed(0))
    found = latent_scores(true, torch.zeros(100, 2000), Resamples(100))["latent/r2"]
    low, high = found.interval
    assert found.value == pytest.approx(0, abs=0.001)
    assert low < 0 < high
    assert np.mean(found.draws) == pytest.approx(found.value, abs=1e-3)


@pytest.mark.parametrize("key", ["mse", "rmse", "cosine"])
def test_other_scores_of_a_resample_are_those_of_the_repeated_rows(key):
    true, mapped = (z.double() for z in pair(25, 6))
    resamples = Resamples(25, 20)
    weights = resamples.counts / bootstrap_size(25)
    error = (true - mapped).square().mean(dim=1)
    mean = true.mean(dim=0)
    expected = {
        "mse": weights @ error,
        "rmse": (weights @ error).sqrt(),
        "cosine": weights @ torch.cosine_similarity(true - mean, mapped - mean),
    }
    draws = latent_scores(true, mapped, resamples)[f"latent/{key}"].draws
    assert draws == pytest.approx(expected[key].numpy(), rel=1e-10)


def test_nmse_varies_over_resamples_as_that_of_the_repeated_rows():
    true, mapped = pair(200, 6)
    mapped = 4 + 0.5 * (mapped - 5)  # biased and shrunk
    resamples = Resamples(200, 300)
    draws = latent_scores(true, mapped, resamples)["latent/nmse"].draws
    exact = np.array([1 - r2_score(*on_rows(true, mapped, row)) for row in resamples.counts])
    assert np.corrcoef(draws, exact)[0, 1] > 0.98
    assert draws.std() == pytest.approx(exact.std(), rel=0.1)


def test_nmse_has_an_interval_where_one_item_moves_a_dimension():
    true, mapped = pair(40, 3)
    true[:, 0], mapped[:, 0] = 0, 0.1
    true[5, 0] = 1
    assert np.isfinite(latent_scores(true, mapped, Resamples(40))["latent/nmse"].draws).all()


def test_r2_is_undefined_on_a_resample_of_one_item():
    true, mapped = pair(6, 5)
    resamples = Resamples(6, 200)
    draws = latent_scores(true, mapped, resamples)["latent/r2"].draws
    single = ((resamples.counts > 0).sum(dim=1) == 1).numpy()
    assert 0 < single.sum() < 200
    assert (np.isnan(draws) == single).all()


@pytest.mark.parametrize("measure", MEASURES)
def test_draws_do_not_move_the_values(measure):
    true, mapped = pair(40, 6)
    key = f"latent/{measure}"
    with_draws, without = (
        latent_scores(true, mapped, some)[key] for some in (Resamples(40, 50), None)
    )
    assert isinstance(with_draws, Estimate)
    assert with_draws.value == without.value
    assert with_draws.draws.shape == (50,)
    assert without.draws is None


# --- Bad input


@pytest.mark.parametrize("side", [0, 1])
def test_rows_that_are_not_finite_are_named(side):  # case C39
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
    with pytest.raises(ValueError, match="n, D >= 1"):
        latent_scores(torch.zeros(0, 4), torch.zeros(0, 4))


def test_resamples_of_other_items_are_refused():
    with pytest.raises(ValueError, match="9 latents but resamples of 8 items"):
        latent_scores(*pair(9, 4), Resamples(8))
