import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from stitching.maps import PenaltyEdgeWarning
from stitching.probes import LogisticProbes, ProbeConvergenceWarning, control_labels
from stitching.probes.labels import stratified_folds
from tests.probes.clouds import standardised, two_clouds


def oracle(latents, labels, alpha):
    """Score the latents by scikit-learn's regression on standardised latents."""
    x = standardised(latents)
    model = LogisticRegression(C=1 / alpha, tol=1e-10, solver="newton-cholesky").fit(x, labels)
    return model, model.decision_function(x)


def messy(width, n=60, dtype=torch.float64):
    """Latents with a constant column, a large mean and very different scales."""
    latents, labels = two_clouds(n // 3, n - n // 3, width, seed=width)
    latents = latents.to(dtype) * torch.logspace(-3, 3, width, dtype=dtype)
    latents[:, 1] += 1e4
    latents[:, 2] = 0.1
    return latents, labels


@pytest.mark.parametrize("width", [5, 60, 200])
@pytest.mark.parametrize("alpha", [1e-3, 1.0, 1e3])
def test_it_is_scikit_learns_minimum(width, alpha):
    latents, labels = messy(width)
    probe = LogisticProbes(alpha=alpha).fit(latents, {"Male": labels})["Male"]
    model, scores = oracle(latents, labels, alpha)
    np.testing.assert_allclose(probe.scores(latents), scores, rtol=1e-5, atol=1e-5)
    spread = latents.double().numpy().std(0)
    ours = probe.weight * spread
    np.testing.assert_allclose(ours, model.coef_[0], rtol=1e-5, atol=1e-6 * np.abs(ours).max())


def test_a_constant_dimension_has_no_weight():
    latents, labels = messy(5)
    probe = LogisticProbes(alpha=1.0).fit(latents, {"Male": labels})["Male"]
    assert probe.weight[2] == 0
    assert probe.facts["n_constant"] == 1


@pytest.mark.parametrize(
    ("width", "signal", "flipped"),
    [(8, 0.8, 5), (90, 0.8, 5), (90, 2.0, 0)],  # the last in the lower half of the grid
)
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.filterwarnings("ignore:probe penalty at an edge")
def test_the_penalty_is_that_of_brute_force_cross_validation(width, signal, flipped, seed):
    latents, labels = two_clouds(25, 35, width, seed=seed)
    latents[:, : width // 3] += signal * torch.from_numpy(labels[:, None])
    labels = labels ^ (np.arange(60) < flipped)
    probes = LogisticProbes(seed=seed, n_alphas=5)
    probe = probes.fit(latents, {"Male": labels})["Male"]
    x, folds = standardised(latents), stratified_folds(labels, 5, seed)
    losses = []
    coordinates = probes.coordinates(latents)
    alphas = probes.grid(coordinates).tolist()
    for alpha in alphas:
        total = 0.0
        for fold in range(5):
            fit = folds != fold
            model = LogisticRegression(C=1 / alpha, tol=1e-12, solver="newton-cholesky")
            model.fit(x[fit], labels[fit])
            signs = np.where(labels[~fit], 1, -1)
            total += np.logaddexp(0, -signs * model.decision_function(x[~fit])).sum()
        losses.append(total / len(labels))
    best = int(np.argmin(losses))
    assert (best < 2) is (flipped == 0)
    assert probe.facts["alpha"] == alphas[best]
    assert probe.facts["cv_log_loss"] == pytest.approx(min(losses), rel=0.05)
    assert probe.facts["cv_converged"] == 1


@pytest.mark.parametrize("width", [5, 150])
def test_an_attribute_laid_out_along_a_line_is_read(width):
    latents, labels = two_clouds(300, 300, width, gap=5.0)
    probe = LogisticProbes(alpha=1.0).fit(latents[:300], {"Smiling": labels[:300]})["Smiling"]
    assert (probe.predict(latents[300:]) == labels[300:]).mean() > 0.9


def test_labels_that_latents_separate_have_a_minimum():
    latents, _ = two_clouds(20, 20, 60)
    labels = np.asarray(latents[:, 0] > 1)
    facts = LogisticProbes(alpha=1e-3).fit(latents, {"a": labels})["a"].facts
    assert facts["converged"] == 1
    assert facts["gradient"] <= 1e-7


def test_a_fit_stopped_early_says_so():
    latents, labels = two_clouds(20, 20, 60)
    with pytest.warns(ProbeConvergenceWarning, match="probes stopped before .*: Male"):
        probe = LogisticProbes(alpha=1e-3, max_iter=2).fit(latents, {"Male": labels})["Male"]
    assert probe.facts["converged"] == 0
    assert probe.facts["n_iter"] == 2
    assert np.isfinite(probe.weight).all()


def test_labels_without_any_slope_have_the_log_odds_as_score():
    corners = torch.tensor([[a, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)]).repeat(5, 1)
    labels = np.asarray(corners[:, 0] * corners[:, 1] > 0) | (np.arange(20) < 0)
    probe = LogisticProbes(alpha=1.0).fit(corners, {"exclusive": labels})["exclusive"]
    assert np.abs(probe.weight).max() < 1e-12
    assert probe.bias == pytest.approx(0, abs=1e-7)
    assert probe.facts["converged"] == 1
    assert probe.facts["n_iter"] < 10


def test_latents_that_never_vary_give_the_log_odds():
    labels = np.arange(40) < 10
    probe = LogisticProbes().fit(torch.full((40, 3), 0.1), {"a": labels})["a"]
    np.testing.assert_allclose(probe.scores(torch.full((5, 3), 0.1)), np.log(10 / 30), rtol=1e-5)
    assert (probe.weight == 0).all()
    assert probe.facts["edge"] == 0


@pytest.mark.parametrize("alpha", [1e-8, 1e8])
def test_extreme_penalties_do_not_run_away(alpha):
    latents, labels = two_clouds(20, 60, 100)
    probe = LogisticProbes(alpha=alpha).fit(latents, {"Male": labels})["Male"]
    assert np.abs(probe.scores(latents)).max() < 1e3


def test_swapping_yes_and_no_swaps_the_predictions():
    latents, labels = two_clouds(20, 60)
    probes = LogisticProbes(alpha=1.0)
    yes, no = (probes.fit(latents, {"a": x})["a"].scores(latents) for x in (labels, ~labels))
    np.testing.assert_allclose(yes, -no, rtol=1e-5, atol=1e-6)


def test_the_order_of_items_does_not_count_for_a_given_penalty():
    latents, labels = two_clouds(20, 40, 100)
    order = np.random.default_rng(0).permutation(60)
    probes = LogisticProbes(alpha=1.0)
    first = probes.fit(latents, {"a": labels})["a"]
    second = probes.fit(latents[order], {"a": labels[order]})["a"]
    np.testing.assert_allclose(first.weight, second.weight, rtol=1e-5, atol=1e-8)


def test_penalties_at_an_edge_are_warned_of_by_attribute():
    latents, exact = two_clouds(20, 20, 3, gap=100.0)
    unrelated = control_labels(exact, "unrelated", 1)
    message = r"edge of its grid: exact \(lower\), unrelated \(upper\)"
    with pytest.warns(PenaltyEdgeWarning, match=message) as caught:
        found = LogisticProbes().fit(latents, {"exact": exact, "unrelated": unrelated})
    assert len(caught) == 1
    assert [found[name].facts["edge"] for name in found] == [-1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, "probe.alpha must be > 0"),
        ({"alpha": float("inf")}, "probe.alpha must be > 0"),
        ({"n_alphas": 2}, "probe.n_alphas must be >= 3, got 2"),
        ({"n_folds": 1}, "probe.n_folds must be >= 2, got 1"),
        ({"max_iter": 0}, "probe.max_iter must be >= 1, got 0"),
        ({"seed": -1}, "probe.seed must be >= 0, got -1"),
    ],
)
def test_settings_out_of_range_are_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        LogisticProbes(**options)
