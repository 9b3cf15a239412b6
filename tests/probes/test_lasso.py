import numpy as np
import pytest
from sklearn.linear_model import Lasso

from stitching.probes import LassoProbes, ProbeConvergenceWarning
from stitching.probes.labels import stratified_folds
from tests.probes.clouds import standardised, two_clouds


@pytest.mark.parametrize("width", [5, 100])
@pytest.mark.parametrize("standardise", [True, False])
def test_it_is_scikit_learns_lasso_on_labels_0_and_1(width, standardise):
    latents, labels = two_clouds(30, 50, width)
    probes = LassoProbes(alpha=0.02, standardise=standardise)
    probe = probes.fit(latents, {"Male": labels})["Male"]
    x = standardised(latents) if standardise else latents.double().numpy()
    oracle = Lasso(alpha=0.02).fit(x, labels.astype(float))
    np.testing.assert_allclose(
        probe.scores(latents), oracle.predict(x) - 0.5, rtol=1e-5, atol=1e-5
    )
    assert probe.facts["n_weights"] == np.count_nonzero(oracle.coef_)


def test_predictions_are_regressions_clipped_and_rounded():
    latents, labels = two_clouds(30, 50, gap=6.0)
    probe = LassoProbes(alpha=0.005, standardise=False).fit(latents, {"Male": labels})["Male"]
    predictions = probe.scores(latents) + 0.5
    assert predictions.min() < -0.05  # the paper rounded without clipping
    assert np.array_equal(probe.predict(latents), np.rint(predictions.clip(0, 1)) == 1)


def walked(latents, labels, n_alphas=8, n_folds=5):
    """Penalties, and errors on held-out items of fits made from scratch."""
    x, y, folds = standardised(latents), labels.astype(float), stratified_folds(labels, n_folds, 0)
    top = np.abs((y - y.mean()) @ x).max() / len(y)
    errors, alphas = [], np.geomspace(top, 0.01 * top, n_alphas)
    for alpha in alphas:
        total = 0.0
        for fold in range(n_folds):
            fit = folds != fold
            model = Lasso(alpha=alpha, tol=1e-8, max_iter=100_000).fit(x[fit], y[fit])
            total += np.square(model.predict(x[~fit]) - y[~fit]).sum()
        errors.append(total / len(y))
    return alphas, np.array(errors)


@pytest.mark.parametrize("width", [5, 60])
def test_the_penalty_is_where_errors_on_held_out_items_first_rise(width):
    latents, labels = two_clouds(30, 30, width, gap=1.5)
    facts = LassoProbes().fit(latents, {"Male": labels})["Male"].facts
    alphas, errors = walked(latents, labels)
    best = int(np.flatnonzero(np.diff(errors) > 0)[0])
    assert 0 < best < len(alphas) - 1
    assert facts["alpha"] == pytest.approx(alphas[best], rel=1e-5)
    assert facts["cv_mse"] == pytest.approx(errors[best], rel=5e-3)
    assert facts["edge"] == 0


def test_a_fit_stopped_early_says_so():
    latents, labels = two_clouds(20, 20, 60)
    probes = LassoProbes(alpha=1e-3, max_iter=1)
    with pytest.warns(ProbeConvergenceWarning, match="probes stopped before .*: Male, Young"):
        found = probes.fit(latents, {"Male": labels, "Young": ~labels})
    assert [probe.facts["converged"] for probe in found.values()] == [0, 0]


def test_a_penalty_without_weights_predicts_the_more_frequent_label():
    latents, labels = two_clouds(10, 30)
    probe = LassoProbes(alpha=10.0).fit(latents, {"Bald": labels})["Bald"]
    assert probe.facts["n_weights"] == 0
    assert not probe.predict(latents).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, "probe.alpha must be > 0"),
        ({"n_alphas": 2}, "probe.n_alphas must be >= 3, got 2"),
        ({"n_folds": 1}, "probe.n_folds must be >= 2, got 1"),
        ({"max_iter": 0}, "probe.max_iter must be >= 1, got 0"),
        ({"seed": -1}, "probe.seed must be >= 0, got -1"),
    ],
)
def test_settings_out_of_range_are_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        LassoProbes(**options)


def test_a_tie_at_exactly_one_half_is_a_yes():
    latents, labels = two_clouds(20, 20)
    # So large a penalty that no weight is left: the prediction is the share of yes, 0.5.
    probe = LassoProbes(alpha=1e3).fit(latents, {"Male": labels})["Male"]
    assert probe.facts["n_weights"] == 0
    assert probe.predict(latents).all()
    assert (probe.scores(latents) > 0).all()
    np.testing.assert_allclose(probe.scores(latents), 0, atol=1e-15)


def test_just_below_one_half_is_a_no():
    latents, labels = two_clouds(20, 21)
    labels = labels if labels.mean() < 0.5 else ~labels
    probe = LassoProbes(alpha=1e3).fit(latents, {"Male": labels})["Male"]
    assert not probe.predict(latents).any()
