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
    own, mapped, *four = truth - 0.5 + noise * rng.standard_normal((6, n))
    pairs = tuple(four[:2]), tuple(four[2:])
    return AttributePredictions(
        name, truth, own, mapped, 40, 60, halves=pairs if halves else None,
        resamples=resamples or Resamples(n, 200),
    )  # fmt: skip


def values(*predictions):
    return flatten(probe_scores(predictions, {}))[0]


def test_ceilings_equal_scikit_learns():
    prediction = noisy("a")
    first, second = (scores > 0 for scores in prediction.halves[0])
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
    own, mapped, *four = np.eye(3)[truth] + 0.6 * rng.standard_normal((6, 90, 3))
    halves = tuple(four[:2]), tuple(four[2:])
    prediction = ClassPredictions(
        "digit", truth, own, mapped, tuple("abc"), (9, 9, 9), halves=halves,
        resamples=Resamples(90, 100),
    )  # fmt: skip
    found = flatten(class_scores([prediction], {}))[0]
    (first, second), (third, fourth) = [[x.argmax(1) for x in pair] for pair in halves]
    ceiling = cohen_kappa_score(first, second)
    kappa = (cohen_kappa_score(first, fourth) + cohen_kappa_score(third, second)) / 2
    assert found["class/kappa_ceiling"] == pytest.approx(ceiling)
    assert found["class/kappa_halves"] == pytest.approx(kappa)
    assert found["class/kappa_relative/digit"] == pytest.approx(kappa / ceiling)
    assert found["class/kappa_relative.low"] < found["class/kappa_relative"]


def test_numerator_is_one_probe_on_own_and_the_other_on_mapped_latents():
    prediction = noisy("a")
    (first, second), (third, fourth) = [[x > 0 for x in pair] for pair in prediction.halves]
    expected = (cohen_kappa_score(first, fourth) + cohen_kappa_score(third, second)) / 2
    assert values(prediction)["probe/kappa_halves/a"] == pytest.approx(expected)


def test_a_map_that_changes_nothing_is_at_one_however_poor_the_probes():
    a = noisy("a", n=1000, noise=0.8)
    same = AttributePredictions(
        "a", a.truth, a.own, a.own, 1, 1, halves=(a.halves[0], a.halves[0]), resamples=a.resamples
    )
    found = values(same)
    assert found["probe/kappa/a"] == 1
    assert found["probe/kappa_ceiling/a"] < 0.6
    assert found["probe/kappa_relative/a"] == 1


def test_numerator_is_divided_by_its_ceiling_draw_by_draw():
    scores = probe_scores([noisy("a")], {})
    kappa, ceiling = scores["probe/kappa_halves/a"], scores["probe/kappa_ceiling/a"]
    relative = scores["probe/kappa_relative/a"]
    assert relative.value == pytest.approx(kappa.value / ceiling.value)
    assert relative.draws == pytest.approx(kappa.draws / ceiling.draws)


def test_overall_it_is_the_ratio_of_the_means_over_labels_with_both():
    a, b = noisy("a", seed=1), noisy("b", seed=2, noise=0.7)
    without = noisy("c", seed=3, halves=False)
    constant = AttributePredictions(
        "d", a.truth, -np.ones(120), -np.ones(120), 1, 1,
        halves=((-np.ones(120), -np.ones(120)),) * 2, resamples=a.resamples,
    )  # fmt: skip
    found = values(a, b, without, constant)
    kappas = [found[f"probe/kappa_halves/{name}"] for name in "ab"]
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
                "a",
                a.truth,
                right,
                right,
                1,
                1,
                halves=((right, right), (right, right)),
                resamples=a.resamples,
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
        halves=(tuple(rng.standard_normal((2, 120))), a.halves[1]),
    )  # fmt: skip
    found = values(chance)
    for name in ("", "/a"):
        assert found[f"probe/kappa_relative{name}"] is None
        assert "by chance: kappa" in found[f"probe/kappa_relative_missing{name}"]
    opposite = (a.halves[0][0], -a.halves[0][0]), a.halves[1]
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
    halves = a.halves[0], (a.own, np.zeros(9))
    with pytest.raises(ValueError, match=r"mapped scores of a by the second half have shape \(9"):
        AttributePredictions("a", a.truth, a.own, a.mapped, 1, 1, halves=halves)
