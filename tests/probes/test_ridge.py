import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge as SklearnRidge

from stitching.maps import PenaltyEdgeWarning
from stitching.probes import RidgeProbes, control_labels
from tests.probes.clouds import standardised, two_clouds


def fitted(latents, labels, **options):
    return RidgeProbes(min_per_class=2, **options).fit(latents, {"a": labels})["a"]


@pytest.mark.parametrize("width", [5, 150])
def test_an_attribute_laid_out_along_a_line_is_read(width):
    latents, labels = two_clouds(300, 300, width, gap=5.0)
    probe = fitted(latents[:300], labels[:300])
    assert (probe.predict(latents[300:]) == labels[300:]).mean() > 0.93


def test_the_direction_is_that_of_fishers_discriminant():
    latents, labels = two_clouds(200, 400)
    oracle = LinearDiscriminantAnalysis().fit(latents, labels).decision_function(latents)
    assert np.corrcoef(fitted(latents, labels).scores(latents), oracle)[0, 1] > 0.9999


def test_a_rare_attribute_is_not_predicted_no_throughout():  # case C27
    latents, labels = two_clouds(60, 1940, gap=4.0)
    predictions, truth = (
        fitted(latents[:1000], labels[:1000]).predict(latents[1000:]),
        labels[1000:],
    )
    assert predictions[truth].mean() > 0.9
    assert (~predictions[~truth]).mean() > 0.9


@pytest.mark.parametrize("width", [5, 60])
@pytest.mark.parametrize("standardise", [True, False])
def test_the_threshold_is_midway_between_held_out_class_means(width, standardise):
    latents, labels = two_clouds(10, 30, width)
    probe = fitted(latents, labels, standardise=standardise, alpha=7.0)
    x = standardised(latents) if standardise else latents.double().numpy()
    y = np.where(labels, 1.0, -1.0)
    held_out = np.empty(40)
    for i in range(40):
        keep = np.arange(40) != i
        oracle = SklearnRidge(alpha=7.0).fit(x[keep], y[keep])
        held_out[i] = oracle.predict(x[[i]])[0]
    middle = (held_out[labels].mean() + held_out[~labels].mean()) / 2
    assert probe.facts["threshold"] == pytest.approx(middle, abs=1e-6)


@pytest.mark.parametrize("width", [5, 60])
def test_scores_are_those_of_ridge_regression_less_the_threshold(width):
    latents, labels = two_clouds(15, 25, width)
    probe, x = fitted(latents, labels, alpha=3.0), standardised(latents)
    oracle = SklearnRidge(alpha=3.0).fit(x, np.where(labels, 1.0, -1.0))
    expected = oracle.predict(x) - probe.facts["threshold"]
    np.testing.assert_allclose(probe.scores(latents), expected, rtol=1e-5, atol=1e-6)


def test_swapping_yes_and_no_swaps_the_predictions():
    latents, labels = two_clouds(20, 60)
    yes, no = fitted(latents, labels).predict(latents), fitted(latents, ~labels).predict(latents)
    assert np.array_equal(yes, ~no)


def test_latents_that_never_vary_give_one_prediction():
    _, labels = two_clouds(10, 30)
    probe = fitted(torch.full((40, 3), 0.1), labels)
    assert len(set(probe.predict(torch.full((5, 3), 0.1)).tolist())) == 1


def test_penalties_at_an_edge_are_warned_of_by_attribute():
    latents, labels = two_clouds(20, 20, 3)
    unrelated = control_labels(labels, "unrelated", 1)
    message = r"edge of its grid: unrelated \(upper\)"
    with pytest.warns(PenaltyEdgeWarning, match=message) as caught:
        RidgeProbes().fit(latents, {"Male": labels, "unrelated": unrelated})
    assert len(caught) == 1


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan")])
def test_a_penalty_must_be_positive(alpha):
    with pytest.raises(ValueError, match=r"probe\.alpha must be > 0"):
        RidgeProbes(alpha=alpha)
