import json
from typing import Self

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, balanced_accuracy_score, cohen_kappa_score
from torch import Tensor

from stitching.maps import Factorisation
from stitching.metrics.consistency import (
    agreement,
    balanced_accuracy,
    cohen_kappa,
    probe_scores,
)
from stitching.probes import Labels, LinearProbes, Probes


class SignProbes(Probes):
    """Says yes where the latent's own coordinate is positive: answers are known in advance."""

    def __init__(self, *attributes: str, counts: tuple[int, int] = (10, 30)) -> None:
        self.missing = {}
        self.counts = dict.fromkeys(attributes, counts)

    def fit(
        self, latents: Tensor, labels: Labels, factorisation: Factorisation | None = None
    ) -> Self:
        return self

    def scores(self, latents: Tensor) -> dict[str, NDArray[np.float64]]:
        return {name: latents[:, k].double().numpy() for k, name in enumerate(self.attributes)}


def latents(*answers: NDArray[np.bool_]) -> Tensor:
    return torch.from_numpy(np.where(np.stack(answers, 1), 1.0, -1.0))


def random_answers(n: int, share: float, seed: int) -> NDArray[np.bool_]:
    return np.random.default_rng(seed).random(n) < share


# --- Shares


@pytest.mark.parametrize("n", [1, 40, 250])
def test_full_agreement_is_one_whatever_the_number_of_items(n: int) -> None:  # case C28
    answers = random_answers(n, 0.5, seed=0)
    assert agreement(answers, answers.copy()) == 1.0


def test_nothing_is_measured_on_no_items() -> None:  # case C28
    none = np.zeros(0, dtype=bool)
    assert agreement(none, none) is None
    assert balanced_accuracy(none, none) is None
    assert cohen_kappa(none, none) is None


def test_shares_are_not_truncated() -> None:  # case C29
    first = np.arange(100) < 29
    assert agreement(first, np.ones(100, dtype=bool)) == 0.29


def test_always_saying_no_has_high_accuracy_and_chance_balanced_accuracy() -> None:  # case C27
    labels = np.arange(100) < 5
    answers = np.zeros(100, dtype=bool)
    assert agreement(answers, labels) == 0.95
    assert balanced_accuracy(answers, labels) == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_measures_equal_scikit_learn(seed: int) -> None:
    first, second = random_answers(57, 0.2, seed), random_answers(57, 0.4, seed + 100)
    assert agreement(first, second) == pytest.approx(accuracy_score(second, first))
    assert balanced_accuracy(first, second) == pytest.approx(
        balanced_accuracy_score(second, first)
    )
    assert cohen_kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))


def test_kappa_is_one_for_perfect_and_minus_one_for_opposite_answers() -> None:
    answers = np.arange(40) % 2 == 0
    assert cohen_kappa(answers, answers) == 1.0
    assert cohen_kappa(answers, ~answers) == -1.0


@pytest.mark.parametrize("answer", [True, False])
def test_kappa_of_two_equal_constants_is_undefined(answer: bool) -> None:  # case C27
    constant = np.full(40, answer)
    assert cohen_kappa(constant, constant) is None


def test_kappa_with_one_constant_side_is_zero() -> None:
    assert cohen_kappa(np.zeros(40, dtype=bool), np.arange(40) < 9) == 0.0


@pytest.mark.parametrize("measure", [agreement, balanced_accuracy, cohen_kappa])
def test_measures_refuse_other_than_paired_bools(measure: object) -> None:
    yes = np.ones(4, dtype=bool)
    with pytest.raises(ValueError, match=r"one length, got shapes \(4,\) and \(3,\)"):
        measure(yes, yes[:3])
    with pytest.raises(TypeError, match="must be bool, got bool and int64"):
        measure(yes, np.ones(4, dtype=np.int64))


# --- Scores of a cell


def test_scores_of_known_answers() -> None:
    truth = np.arange(8) < 4
    own = np.arange(8) < 5  # 7 of 8 right
    mapped = np.arange(8) < 2  # 6 of 8 right, 5 of 8 as own
    found = probe_scores(SignProbes("Male"), {"Male": truth}, latents(own), latents(mapped))
    expected = {
        "accuracy_own": 7 / 8,
        "accuracy_mapped": 6 / 8,
        "balanced_accuracy_own": 7 / 8,
        "balanced_accuracy_mapped": 6 / 8,
        "majority": 4 / 8,
        "consistency": 5 / 8,
        "kappa": cohen_kappa_score(own, mapped),
    }
    for measure, value in expected.items():
        assert found[f"probe/{measure}"] == pytest.approx(value)
        assert found[f"probe/{measure}/Male"] == pytest.approx(value)
    assert found["probe/n_attributes"] == found["probe/n_kappa"] == 1
    assert found["probe/n_test"] == 8
    assert found["probe/n_constant"] == 0
    assert found["probe/n_positive/Male"] == 4
    assert found["probe/n_positive_train/Male"] == 10


def test_overall_scores_are_means_over_attributes() -> None:
    truth = np.arange(10) < 5
    own = latents(truth, truth)
    mapped = latents(np.arange(10) < 4, np.arange(10) < 2)
    found = probe_scores(SignProbes("a", "b"), {"a": truth, "b": truth}, own, mapped)
    assert found["probe/consistency"] == pytest.approx((0.9 + 0.7) / 2)
    assert found["probe/n_attributes"] == 2


@pytest.mark.parametrize(("counts", "majority"), [((30, 10), 0.25), ((10, 30), 0.75)])
def test_the_majority_is_that_of_the_training_split(
    counts: tuple[int, int], majority: float
) -> None:
    truth = np.arange(8) < 2
    z = latents(truth)
    found = probe_scores(SignProbes("a", counts=counts), {"a": truth}, z, z)
    assert found["probe/majority"] == majority


@pytest.mark.parametrize("n", [40, 250])
def test_items_that_all_match_give_a_consistency_of_one(n: int) -> None:  # case C28
    truth = np.arange(n) % 3 == 0
    z = latents(truth)
    assert probe_scores(SignProbes("a"), {"a": truth}, z, z)["probe/consistency"] == 1.0


def test_no_test_items_give_no_numbers() -> None:  # case C28
    none = np.zeros(0, dtype=bool)
    found = probe_scores(SignProbes("a"), {"a": none}, torch.zeros(0, 1), torch.zeros(0, 1))
    assert found["probe/consistency"] is None
    assert found["probe/n_attributes"] == found["probe/n_test"] == 0
    assert "0 items with and 0 without" in found["probe/missing/a"]


def test_constant_answers_are_flagged_as_uninformative() -> None:  # case C27
    truth = np.arange(20) < 1
    no = np.zeros(20, dtype=bool)
    z = latents(no, truth)
    found = probe_scores(SignProbes("Bald", "Male"), {"Bald": truth, "Male": truth}, z, z)
    assert found["probe/consistency/Bald"] == 1.0
    assert found["probe/constant/Bald"] == "own and mapped"
    assert found["probe/kappa/Bald"] is None
    assert found["probe/n_constant"] == 1
    assert "probe/constant/Male" not in found
    assert found["probe/kappa"] == 1.0
    assert (found["probe/n_attributes"], found["probe/n_kappa"]) == (2, 1)


@pytest.mark.parametrize("answer", [True, False])
def test_an_attribute_with_one_class_in_the_test_split_is_missing(answer: bool) -> None:
    truth, one_class = np.arange(10) < 5, np.full(10, answer)  # case C27
    z = latents(truth, truth)
    labels = {"Pale_Skin": one_class, "Male": truth}
    found = probe_scores(SignProbes("Pale_Skin", "Male"), labels, z, z)
    assert "at least 1 of each is needed" in found["probe/missing/Pale_Skin"]
    assert "probe/consistency/Pale_Skin" not in found
    assert found["probe/n_attributes"] == 1


def test_attributes_without_probe_or_labels_are_missing_with_the_reason() -> None:
    truth = np.arange(10) < 5
    probes = SignProbes("Male")
    probes.missing = {"Bald": "data set has no such attribute"}
    found = probe_scores(probes, {}, latents(truth), latents(truth))
    assert found["probe/missing/Bald"] == "data set has no such attribute"
    assert found["probe/missing/Male"] == "test split has no such attribute"
    assert found["probe/accuracy_own"] is None


def test_real_probes_lose_accuracy_and_consistency_on_latents_of_noise() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(400) < 0.3
    z = torch.from_numpy(rng.standard_normal((400, 6)) + 4 * truth[:, None])
    probes = LinearProbes(["a"], min_per_class=5).fit(z[:200], {"a": truth[:200]})
    noise = z[200:].flip(0)
    labels = {"a": truth[200:]}
    good, bad = (probe_scores(probes, labels, z[200:], mapped) for mapped in (z[200:], noise))
    assert good["probe/consistency"] == good["probe/kappa"] == 1.0
    assert good["probe/accuracy_own"] > 0.95
    assert abs(bad["probe/kappa"]) < 0.2
    assert bad["probe/accuracy_own"] == good["probe/accuracy_own"]


def test_row_order_of_the_test_items_does_not_matter() -> None:
    truth, own, mapped = (random_answers(50, 0.4, seed) for seed in range(3))
    order = np.random.default_rng(3).permutation(50)
    probes = SignProbes("a")
    straight = probe_scores(probes, {"a": truth}, latents(own), latents(mapped))
    shuffled = probe_scores(
        probes, {"a": truth[order]}, latents(own[order]), latents(mapped[order])
    )
    assert shuffled == straight


def test_scores_are_plain_values_and_valid_json() -> None:
    truth = np.arange(20) < 1
    z = latents(np.zeros(20, dtype=bool))
    found = probe_scores(SignProbes("a"), {"a": truth}, z, z)
    assert {type(value) for value in found.values()} <= {int, float, str, type(None)}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


# --- Bad input


def test_own_and_mapped_latents_must_have_one_shape() -> None:
    with pytest.raises(ValueError, match="same test items"):
        probe_scores(SignProbes("a"), {}, torch.zeros(4, 1), torch.zeros(3, 1))


def test_mapped_latents_that_are_not_finite_are_an_error() -> None:
    bad = torch.zeros(4, 1)
    bad[2] = torch.nan
    with pytest.raises(ValueError, match=r"mapped latents must be finite.* rows 2"):
        probe_scores(SignProbes("a"), {}, torch.zeros(4, 1), bad)


def test_labels_of_the_training_split_are_an_error() -> None:
    z = torch.zeros(4, 1)
    with pytest.raises(ValueError, match=r"shape \(9,\) but there are 4 latents"):
        probe_scores(SignProbes("a"), {"a": np.zeros(9, dtype=bool)}, z, z)
