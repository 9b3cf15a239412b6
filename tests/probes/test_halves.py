"""Two probes of one model on disjoint halves of the fit items."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from stitching.probes import LassoProbes, LogisticProbes, RidgeProbes, SoftmaxProbes
from stitching.probes.labels import halves
from tests.probes.clouds import standardised, two_clouds

pytestmark = pytest.mark.filterwarnings("ignore::stitching.maps.PenaltyEdgeWarning")


def names(n):
    return [f"{k:05}.png" for k in range(n)]


def fit(probes, latents, labels, seed=0):
    fitted = probes.fit(latents, labels)

    def coordinates(places):
        return probes.coordinates(latents[places])

    return probes.fit_halves(coordinates, labels, fitted, names(len(latents)), seed)


# --- The split


@pytest.mark.parametrize("n", [2, 7, 100])
@pytest.mark.parametrize("by_label", [False, True])
def test_halves_are_disjoint_and_equal_in_size(n, by_label):
    labels = np.arange(n) < n // 3 if by_label else None
    first, second = halves(names(n), labels)
    assert sorted([*first, *second]) == list(range(n))
    assert len(first) - len(second) in (0, 1)
    assert (np.diff(first) > 0).all()


@pytest.mark.parametrize("n_yes", [1, 2, 5, 50])
def test_classes_are_spread_evenly(n_yes):
    labels = np.arange(101) < n_yes
    first, second = (labels[places].sum() for places in halves(names(101), labels))
    assert abs(first - second) <= 1


def test_an_item_keeps_its_half_wherever_it_stands():
    ids, order = names(60), np.random.default_rng(0).permutation(60)
    one = {ids[k] for k in halves(ids)[0]}
    assert {ids[order[k]] for k in halves([ids[k] for k in order])[0]} == one
    assert {ids[k] for k in halves(ids, seed=1)[0]} != one


# --- The fits


def test_each_half_is_scikit_learns_fit_of_its_items():
    latents, labels = two_clouds(60, 80, 6, seed=1)
    pair = fit(LogisticProbes(alpha=1.0), latents, {"Male": labels})["Male"]
    for probe, places in zip(pair, halves(names(140)), strict=True):
        x = standardised(latents[places])
        model = LogisticRegression(C=1.0, tol=1e-10).fit(x, labels[places])
        expected = model.decision_function(x)
        np.testing.assert_allclose(probe.scores(latents[places]), expected, rtol=2e-2, atol=2e-2)
        assert probe.facts["n"] == len(places)


@pytest.mark.parametrize(
    "probes",
    [LogisticProbes(), RidgeProbes(), LassoProbes(), SoftmaxProbes()],
    ids=lambda probes: probes.kind,
)
def test_halves_of_separable_classes_agree_on_new_items(probes):
    latents, labels = two_clouds(150, 150, 4, gap=12.0)
    labels = labels.astype(np.int64) if isinstance(probes, SoftmaxProbes) else labels
    new, truth = two_clouds(40, 60, 4, gap=12.0, seed=9)
    first, second = fit(probes, latents, {"a": labels})["a"]
    assert (first.predict(new) == second.predict(new)).all()
    assert (first.predict(new) == truth).all()
    assert not np.array_equal(first.weight, second.weight)


def test_a_half_depends_on_its_own_label_alone():
    latents, labels = two_clouds(40, 60, 5)
    other, rare = np.arange(100) % 2 == 0, np.arange(100) < 5
    probes = LogisticProbes(min_per_class=4)
    alone = fit(probes, latents, {"a": labels})["a"]
    beside = fit(probes, latents, {"rare": rare, "other": other, "a": labels})
    assert list(beside) == ["rare", "other", "a"]
    for one, two in zip(alone, beside["a"], strict=True):
        assert np.array_equal(one.weight, two.weight)


def test_a_rare_class_is_in_both_halves():
    latents, labels = two_clouds(5, 95, 4, gap=3.0)
    probes = LogisticProbes(min_per_class=4)
    for seed in range(4):
        pair = fit(probes, latents, {"Bald": labels}, seed)["Bald"]
        assert sorted(probe.facts["n_yes"] for probe in pair) == [2, 3]


def test_too_few_items_for_two_halves_are_named():
    latents, labels = two_clouds(3, 97, 4)
    probes = LogisticProbes(min_per_class=2)
    assert fit(probes, latents, {"Bald": labels}) == {}
    assert "3 of one class: two halves need 6 and 4" in probes.lacks_halves(labels)
    assert probes.lacks_halves(np.arange(100) % 2 == 0) is None


def test_a_penalty_is_chosen_near_that_of_all_items_in_each_half():
    latents, labels = two_clouds(80, 80, 30, gap=1.0)
    probes = LogisticProbes()
    whole = probes.fit(latents, {"a": labels})["a"].facts["alpha"]
    for probe in fit(probes, latents, {"a": labels})["a"]:
        steps = np.log10(probe.facts["alpha"] / (whole / 2))
        assert steps == pytest.approx(round(steps), abs=1e-6)
        assert abs(steps) < 1.5
