import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from stitching.probes import LogisticProbes, SoftmaxProbes
from stitching.probes.labels import stratified_folds
from tests.probes.clouds import standardised, two_clouds


def three_clouds(width=5, sizes=(10, 20, 30), gap=2.0, seed=0):
    """Clouds of classes 2, 5 and 9 around corners of a triangle."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([2, 5, 9], sizes))
    latents = rng.standard_normal((len(labels), width))
    latents[:, 0] += gap * (labels == 5)
    latents[:, 1] += gap * (labels == 9)
    return torch.from_numpy(latents), labels


@pytest.mark.parametrize("width", [5, 70])
@pytest.mark.parametrize("alpha", [1e-2, 10.0])
def test_it_is_scikit_learns_minimum(width, alpha):
    latents, labels = three_clouds(width)
    probe = SoftmaxProbes(alpha=alpha).fit(latents, {"digit": labels})["digit"]
    x = standardised(latents)
    model = LogisticRegression(C=1 / alpha, tol=1e-10, solver="newton-cholesky").fit(x, labels)
    scores = model.decision_function(x)
    scores -= model.intercept_.mean()  # a constant for all classes is free
    np.testing.assert_allclose(probe.scores(latents), scores, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        probe.weight * latents.numpy().std(0), model.coef_, rtol=1e-5, atol=1e-6
    )


def test_two_classes_are_a_logistic_probe_with_half_the_penalty():
    latents, labels = two_clouds(20, 40)
    probe = SoftmaxProbes(alpha=2.0).fit(latents, {"a": labels.astype(int)})["a"]
    binary = LogisticProbes(alpha=1.0).fit(latents, {"a": labels})["a"]
    scores = probe.scores(latents)
    np.testing.assert_allclose(
        scores[:, 1] - scores[:, 0], binary.scores(latents), rtol=1e-5, atol=1e-5
    )


def test_the_penalty_is_that_of_brute_force_cross_validation():
    latents, labels = three_clouds(width=40, gap=3.0)
    probes = SoftmaxProbes(n_alphas=5)
    probe = probes.fit(latents, {"digit": labels})["digit"]
    x, folds, losses = standardised(latents), stratified_folds(labels, 5, 0), []
    alphas = probes.grid(probes.coordinates(latents)).tolist()
    for alpha in alphas:
        total = 0.0
        for fold in range(5):
            fit = folds != fold
            model = LogisticRegression(C=1 / alpha, tol=1e-6, solver="newton-cholesky")
            logs = model.fit(x[fit], labels[fit]).predict_log_proba(x[~fit])
            total -= logs[np.arange(len(logs)), np.searchsorted([2, 5, 9], labels[~fit])].sum()
        losses.append(total / len(labels))
    assert probe.facts["alpha"] == alphas[int(np.argmin(losses))]
    assert probe.facts["cv_log_loss"] == pytest.approx(min(losses), rel=5e-3)


def test_predictions_are_labels_of_classes():
    latents, labels = three_clouds(gap=8.0, sizes=(40, 40, 40))
    probe = SoftmaxProbes(alpha=1.0).fit(latents[:90], {"digit": labels[:90]})["digit"]
    assert probe.classes == (2, 5, 9)
    assert (probe.predict(latents[90:]) == labels[90:]).mean() > 0.9


def test_biases_sum_to_zero():
    latents, labels = three_clouds()
    probes = SoftmaxProbes(alpha=1.0)
    bias = probes.fit(latents - latents.mean(0), {"digit": labels})["digit"].bias
    assert bias.sum() == pytest.approx(0, abs=1e-12)


def test_facts_count_classes_and_the_rarest():
    latents, labels = three_clouds()
    facts = SoftmaxProbes(alpha=1.0).fit(latents, {"digit": labels})["digit"].facts
    assert (facts["n"], facts["n_classes"], facts["n_smallest"]) == (60, 3, 10)
    assert facts["converged"] == 1


def test_controls_are_fitted_with_the_penalty_of_the_classes():
    latents, labels = three_clouds()
    probes = SoftmaxProbes(alpha=1.0)
    fitted = probes.fit(latents, {"digit": labels})
    control = probes.fit_controls(latents, {"digit": labels}, fitted, seed=0)["digit"]
    assert control.facts["alpha"] == fitted["digit"].facts["alpha"]
    assert control.facts["n_smallest"] == 10
    assert not np.allclose(control.weight, fitted["digit"].weight)


# --- Classes that cannot be probed


def test_a_class_with_too_few_items_is_missing_with_the_count():
    _, labels = three_clouds(sizes=(3, 20, 30))
    usable, missing = SoftmaxProbes(min_per_class=5).usable({"digit": labels})
    assert usable == {}
    assert missing["digit"] == (
        "training split has 3 of class 2, at least 5 items of each class are needed"
    )


def test_one_class_alone_is_missing():
    _, missing = SoftmaxProbes().usable({"digit": np.full(20, 7)})
    assert "training split has 1 classes, at least 2" in missing["digit"]


def test_classes_must_be_whole_numbers():
    with pytest.raises(TypeError, match="classes of digit must be whole numbers, got float64"):
        SoftmaxProbes().usable({"digit": np.zeros(5)})


def test_a_class_needs_two_items_at_least():
    with pytest.raises(ValueError, match=r"probe\.min_per_class must be >= 2, got 1"):
        SoftmaxProbes(min_per_class=1)
