"""Intervals of shares and kappa: never of width zero, and they cover."""

import numpy as np
import pytest
from scipy.stats import beta

from stitching.metrics.attributes import AttributePredictions, probe_scores
from stitching.metrics.classes import ClassPredictions, class_scores
from stitching.metrics.pseudo import BINARY, pseudo_weights
from stitching.metrics.resampling import Resamples
from tests.benchmarks.probe_intervals import Case, coverage


def predicted(n, n_different=0, name="a", n_draws=1000, n_yes=None):
    """Own predictions that are right, and mapped ones of which some differ."""
    truth = np.arange(n) % 2 == 0 if n_yes is None else np.arange(n) < n_yes
    mapped = truth ^ (np.arange(n) < n_different)
    own, mapped = np.where(truth, 1.0, -1.0), np.where(mapped, 1.0, -1.0)
    return AttributePredictions(name, truth, own, mapped, 50, 50, resamples=Resamples(n, n_draws))


@pytest.mark.parametrize("n", [30, 128, 1000])
def test_perfect_agreement_has_an_interval(n):
    scores = probe_scores([predicted(n)], {})
    for measure in ("accuracy_own", "balanced_accuracy_mapped", "auc_own", "consistency", "kappa"):
        low, high = scores[f"probe/{measure}"].interval
        assert 1 - 20 / n < low < 1 - 1.5 / n, measure
        assert high == scores[f"probe/{measure}"].value == 1.0
    # Clopper and Pearson's lower end, which is exact for a share of 1.
    low = scores["probe/consistency"].interval[0]
    assert low == pytest.approx(beta.ppf(0.025, n, 1), abs=0.5 / n)


@pytest.mark.parametrize("n_different", [0, 1, 2, 5, 60])
def test_draws_of_a_share_are_close_to_its_posterior(n_different):
    n = 128
    draws = probe_scores([predicted(n, n_different, n_draws=8000)], {})["probe/consistency"].draws
    levels = [2.5, 25, 50, 75, 97.5]
    # Four pseudo-items of shape 1/8 agree, four of shape 1/4 do not.
    expected = beta.ppf(np.array(levels) / 100, n - n_different + 0.5, n_different + 1.0)
    spread = np.ptp(expected)
    assert np.abs(np.percentile(draws, levels) - expected).max() < 0.12 * spread


def test_intervals_of_perfect_agreement_of_classes():
    truth = np.arange(128) % 4
    right = np.eye(4)[truth]
    prediction = ClassPredictions(
        "digit", truth, right, right, tuple("abcd"), (9, 9, 9, 9), resamples=Resamples(128)
    )
    scores = class_scores([prediction], {})
    for key in ("class/consistency", "class/kappa", "class/kappa/digit/b"):
        low, high = scores[key].interval
        assert 0.85 < low < 0.985
        assert high == 1.0


def test_two_classes_as_classes_have_the_pseudo_items_of_an_attribute():
    binary = predicted(200, 3, n_draws=4000)
    scores = (np.stack([-x, x], 1) for x in (binary.own, binary.mapped))
    classes = ClassPredictions(
        "a", binary.truth.astype(int), *scores, ("no", "yes"), (50, 50),
        resamples=binary.resamples,
    )  # fmt: skip
    one, two = probe_scores([binary], {}), class_scores([classes], {})
    for measure in ("consistency", "kappa", "accuracy_mapped", "balanced_accuracy_own"):
        ours, theirs = one[f"probe/{measure}"], two[f"class/{measure}"]
        assert theirs.value == pytest.approx(ours.value)
        assert theirs.interval == pytest.approx(ours.interval, abs=4e-3)


def test_cells_share_pseudo_items_so_that_differences_are_paired():
    first, second = (
        probe_scores([predicted(128, k)], {})["probe/consistency"].draws for k in (2, 2)
    )
    assert (first == second).all()
    other = probe_scores([predicted(128, 3)], {})["probe/consistency"].draws
    assert np.std(first - other) < 0.8 * np.std(other)


def test_draws_depend_on_the_label_alone_not_on_its_place():
    a, b = predicted(60, 1, "a"), predicted(60, 2, "b")
    one, two = probe_scores([a, b], {}), probe_scores([b, a], {})
    for key in ("probe/kappa/a", "probe/consistency/b"):
        assert (one[key].draws == two[key].draws).all()
    assert one["probe/kappa"].draws == pytest.approx(two["probe/kappa"].draws)
    alone = probe_scores([a], {})
    assert (alone["probe/kappa/a"].draws == one["probe/kappa/a"].draws).all()


def test_an_average_of_ten_labels_counts_one_set_of_pseudo_items():
    one = probe_scores([predicted(128)], {})["probe/consistency"].interval[0]
    labels = [predicted(128, name=f"label {k}") for k in range(10)]
    ten = probe_scores(labels, {})["probe/consistency"].interval[0]
    assert 1 - ten == pytest.approx((1 - one) / 10, rel=0.2)


def test_weights_have_the_moments_of_gamma_distributions_and_none_in_the_value():
    weights = pseudo_weights(BINARY, "a", 20_000, 0)
    assert (weights[:, 0] == 0).all()
    means = weights[:, 1:].mean(1).numpy()
    assert means == pytest.approx(np.array(BINARY), abs=0.015)
    assert weights[:, 1:].var(1).numpy() == pytest.approx(np.array(BINARY), abs=0.03)
    assert (pseudo_weights(BINARY, "a", 20_000, 0) == weights).all()
    assert (pseudo_weights(BINARY, "b", 20_000, 0) != weights)[:, 1:].all()


@pytest.mark.parametrize(
    ("case", "n"),
    [(Case(0.5, 0.05, 0.1), 128), (Case(0.5, 0.05, 0.005), 128), (Case(0.2, 0.05, 0.05), 30)],
)
def test_intervals_cover_the_truth(case, n):
    # 150 sets: two standard errors of a coverage of 95 % are 3.6 %.
    found = coverage(case, n, ("consistency", "kappa", "accuracy_mapped"), 150, n_draws=400)
    for measure, (inside, width, there) in found.items():
        assert inside > 0.9, measure
        assert width > 0
        assert there > 0.9
