"""Agreement of two probes of one model, and kappa relative to it."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score

from stitching.metrics.attributes import AttributePredictions, probe_scores
from stitching.metrics.classes import ClassPredictions, class_scores
from stitching.metrics.resampling import Resamples, flatten


def noisy(name, n=120, seed=0, noise=0.5, halves=True, resamples=None):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.4
    own, mapped, *two = (truth - 0.5 + noise * rng.standard_normal((4, n))).tolist()
    own, mapped, first, second = map(np.array, (own, mapped, *two))
    return AttributePredictions(
        name, truth, own, mapped, 40, 60, halves=(first, second) if halves else None,
        resamples=resamples or Resamples(n, 200),
    )  # fmt: skip


def values(*predictions):
    return flatten(probe_scores(predictions, {}))[0]


def test_ceilings_equal_scikit_learns():
    prediction = noisy("a")
    first, second = (scores > 0 for scores in prediction.halves)
    found = values(prediction)
    for name in ("", "/a"):
        expected = cohen_kappa_score(first, second)
        assert found[f"probe/kappa_ceiling{name}"] == pytest.approx(expected)
        expected = accuracy_score(first, second)
        assert found[f"probe/consistency_ceiling{name}"] == pytest.approx(expected)
    assert found["probe/n_ceiling"] == 1


def test_ceilings_of_classes_equal_scikit_learns():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 90)
    own, mapped, *halves = np.eye(3)[truth] + 0.6 * rng.standard_normal((4, 90, 3))
    prediction = ClassPredictions(
        "digit", truth, own, mapped, tuple("abc"), (9, 9, 9), halves=tuple(halves),
        resamples=Resamples(90, 100),
    )  # fmt: skip
    found = flatten(class_scores([prediction], {}))[0]
    ceiling = cohen_kappa_score(*(scores.argmax(1) for scores in halves))
    kappa = cohen_kappa_score(own.argmax(1), mapped.argmax(1))
    assert found["class/kappa_ceiling"] == pytest.approx(ceiling)
    assert found["class/kappa_relative/digit"] == pytest.approx(kappa / ceiling)
    assert found["class/kappa_relative.low"] < found["class/kappa_relative"]


def test_kappa_is_divided_by_its_ceiling_draw_by_draw():
    scores = probe_scores([noisy("a")], {})
    kappa, ceiling = scores["probe/kappa/a"], scores["probe/kappa_ceiling/a"]
    relative = scores["probe/kappa_relative/a"]
    assert relative.value == pytest.approx(kappa.value / ceiling.value)
    assert relative.draws == pytest.approx(kappa.draws / ceiling.draws)


def test_overall_it_is_the_ratio_of_the_means_over_labels_with_both():
    a, b = noisy("a", seed=1), noisy("b", seed=2, noise=0.7)
    without = noisy("c", seed=3, halves=False)
    constant = AttributePredictions(
        "d", a.truth, -np.ones(120), -np.ones(120), 1, 1, halves=a.halves, resamples=a.resamples
    )
    found = values(a, b, without, constant)
    kappas = [found[f"probe/kappa/{name}"] for name in "ab"]
    ceilings = [found[f"probe/kappa_ceiling/{name}"] for name in "ab"]
    assert found["probe/kappa_relative"] == pytest.approx(np.mean(kappas) / np.mean(ceilings))
    assert "probe/kappa_relative/c" not in found
    assert found["probe/kappa_relative/d"] is None
    assert "kappa is undefined" in found["probe/kappa_relative_missing/d"]
    assert found["probe/n_ceiling"] == 3


def test_a_perfect_model_has_a_ceiling_of_one():
    a = noisy("a")
    right = np.where(a.truth, 1.0, -1.0)
    scores = probe_scores(
        [
            AttributePredictions(
                "a", a.truth, right, right, 1, 1, halves=(right, right), resamples=a.resamples
            )
        ],
        {},
    )
    assert scores["probe/kappa_ceiling"].value == scores["probe/kappa_relative"].value == 1.0
    assert scores["probe/kappa_ceiling"].interval[0] < 1
    low, high = scores["probe/kappa_relative"].interval
    assert low < 1 < high  # kappa and its ceiling have pseudo-items of their own


def test_probes_that_agree_no_more_than_by_chance_are_no_ceiling():
    rng = np.random.default_rng(0)
    a = noisy("a")
    chance = AttributePredictions(
        "a", a.truth, a.own, a.mapped, 1, 1, resamples=a.resamples,
        halves=tuple(rng.standard_normal((2, 120))),
    )  # fmt: skip
    found = values(chance)
    for name in ("", "/a"):
        assert found[f"probe/kappa_relative{name}"] is None
        assert "by chance: kappa" in found[f"probe/kappa_relative_missing{name}"]
    opposite = a.halves[0], -a.halves[0]
    against = AttributePredictions("a", a.truth, a.own, a.mapped, 1, 1, halves=opposite)
    assert "no more than by chance: kappa -" in values(against)["probe/kappa_relative_missing"]


def test_without_halves_there_is_a_reason():
    found = values(noisy("a", halves=False))
    assert found["probe/kappa_ceiling"] is None
    assert found["probe/kappa_relative"] is None
    assert "no label has probes of both halves" in found["probe/kappa_relative_missing"]
    assert found["probe/n_ceiling"] == 0


def test_scores_of_halves_are_checked():
    a = noisy("a")
    with pytest.raises(ValueError, match=r"second half's scores of a have shape \(9,\)"):
        AttributePredictions("a", a.truth, a.own, a.mapped, 1, 1, halves=(a.own, np.zeros(9)))
