from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge as SklearnRidge
from torch import Tensor

from stitching.maps import PenaltyEdgeWarning, factorise
from stitching.probes import LinearProbes

CONF = Path(__file__).parents[1] / "conf" / "probe"


def two_clouds(
    n_yes: int, n_no: int, width: int = 5, gap: float = 2.0, seed: int = 0
) -> tuple[Tensor, NDArray[np.bool_]]:
    """Two Gaussian clouds `gap` standard deviations apart along the first axis."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n_yes + n_no) < n_yes)
    latents = rng.standard_normal((n_yes + n_no, width))
    latents[:, 0] += gap * labels
    return torch.from_numpy(latents).float(), labels


def fitted(latents: Tensor, labels: dict[str, NDArray[np.bool_]], least: int = 2) -> LinearProbes:
    return LinearProbes(list(labels), min_per_class=least).fit(latents, labels)


@pytest.mark.parametrize("width", [5, 150])
def test_an_attribute_laid_out_along_a_line_is_read(width: int) -> None:
    latents, labels = two_clouds(300, 300, width, gap=5.0)
    probes = fitted(latents[:120], {"Smiling": labels[:120]})
    assert (probes.predict(latents[120:])["Smiling"] == labels[120:]).mean() > 0.95


def test_the_direction_is_that_of_fishers_discriminant() -> None:
    latents, labels = two_clouds(200, 400)
    probe_scores = fitted(latents, {"Male": labels}).scores(latents)["Male"]
    oracle = LinearDiscriminantAnalysis().fit(latents, labels).decision_function(latents)
    assert np.corrcoef(probe_scores, oracle)[0, 1] > 0.9999


def test_a_rare_attribute_is_not_answered_no_throughout() -> None:  # case C27
    latents, labels = two_clouds(60, 1940, gap=4.0)
    answers = fitted(latents[:1000], {"Bald": labels[:1000]}).predict(latents[1000:])["Bald"]
    truth = labels[1000:]
    assert answers[truth].mean() > 0.9
    assert (~answers[~truth]).mean() > 0.9


@pytest.mark.parametrize("width", [5, 60])
def test_the_threshold_is_midway_between_held_out_class_means(width: int) -> None:
    latents, labels = two_clouds(10, 30, width)
    probes = fitted(latents, {"Young": labels})
    x, y = latents.double().numpy(), np.where(labels, 1.0, -1.0)
    held_out = np.empty(40)
    for i in range(40):
        keep = np.arange(40) != i
        oracle = SklearnRidge(alpha=probes.alphas["Young"]).fit(x[keep], y[keep])
        held_out[i] = oracle.predict(x[[i]])[0]
    middle = (held_out[labels].mean() + held_out[~labels].mean()) / 2
    assert probes.thresholds["Young"] == pytest.approx(middle, abs=1e-8)


def test_swapping_yes_and_no_swaps_the_answers() -> None:
    latents, labels = two_clouds(20, 60)
    yes = fitted(latents, {"Male": labels}).predict(latents)["Male"]
    no = fitted(latents, {"Male": ~labels}).predict(latents)["Male"]
    assert np.array_equal(yes, ~no)


@pytest.mark.parametrize("width", [5, 60])
def test_probing_attributes_together_equals_probing_each_alone(width: int) -> None:
    latents, first = two_clouds(20, 20, width)
    second = np.asarray(latents[:, 1] > 0.3) ^ (np.arange(40) % 5 == 0)
    together = fitted(latents, {"a": first, "b": second})
    alone = fitted(latents, {"b": second})
    assert together.alphas["b"] == alone.alphas["b"]
    np.testing.assert_allclose(together.scores(latents)["b"], alone.scores(latents)["b"])


def test_answers_are_the_signs_of_the_scores() -> None:
    latents, labels = two_clouds(20, 20)
    probes = fitted(latents, {"a": labels})
    assert np.array_equal(probes.predict(latents)["a"], probes.scores(latents)["a"] > 0)


@pytest.mark.parametrize("width", [5, 60])
def test_a_shared_factorisation_gives_the_same_probes(width: int) -> None:
    latents, labels = two_clouds(20, 20, width)
    shared = LinearProbes(["a"], min_per_class=2).fit(latents, {"a": labels}, factorise(latents))
    alone = fitted(latents, {"a": labels})
    assert np.array_equal(shared.scores(latents)["a"], alone.scores(latents)["a"])


def test_a_test_item_changes_neither_the_probes_nor_other_answers() -> None:  # case C23
    latents, labels = two_clouds(40, 40, 60)
    probes = fitted(latents[:50], {"a": labels[:50]})
    before, thresholds = probes.scores(latents[50:])["a"], dict(probes.thresholds)
    changed = latents[50:].clone()
    changed[0] *= 1e6
    after = probes.scores(changed)["a"]
    np.testing.assert_allclose(after[1:], before[1:], rtol=1e-12, atol=1e-12)
    assert probes.thresholds == thresholds


def test_no_items_get_no_answers() -> None:
    latents, labels = two_clouds(20, 20)
    assert fitted(latents, {"a": labels}).predict(latents[:0])["a"].shape == (0,)


def test_latents_that_never_vary_give_one_answer() -> None:
    _, labels = two_clouds(10, 30)
    answers = fitted(torch.full((40, 3), 0.1), {"a": labels}).predict(torch.full((5, 3), 0.1))
    assert len(set(answers["a"].tolist())) == 1


def test_penalties_at_an_edge_are_warned_of_by_attribute() -> None:
    latents = torch.linspace(-1, 1, 40)[:, None]
    exact = np.asarray(latents[:, 0] > 0)
    unrelated = np.arange(40) % 2 == 0
    with pytest.warns(
        PenaltyEdgeWarning, match=r"edge of its grid: unrelated \(upper\)"
    ) as caught:
        fitted(latents, {"exact": exact, "unrelated": unrelated})
    assert len(caught) == 1


# --- Attributes that cannot be probed (case C27)


@pytest.mark.parametrize("n_yes", [0, 4, 36, 40])
def test_a_class_with_too_few_items_is_missing_with_the_counts(n_yes: int) -> None:
    latents, labels = two_clouds(n_yes, 40 - n_yes)
    probes = fitted(latents, {"Bald": labels}, least=5)
    assert probes.attributes == ()
    assert f"{n_yes} items with and {40 - n_yes} without" in probes.missing["Bald"]
    assert probes.predict(latents) == {}


def test_as_many_items_as_asked_for_are_enough() -> None:
    latents, labels = two_clouds(5, 35)
    probes = fitted(latents, {"Bald": labels}, least=5)
    assert probes.counts == {"Bald": (5, 35)}
    assert probes.missing == {}


def test_an_attribute_that_the_data_set_lacks_is_missing() -> None:
    latents, labels = two_clouds(20, 20)
    probes = LinearProbes(["Bald", "Male"], min_per_class=5)
    probes.fit(latents, {"Male": labels, "Bangs": labels})
    assert probes.attributes == ("Male",)
    assert probes.missing == {"Bald": "data set has no such attribute"}


def test_a_refit_forgets_what_was_missing() -> None:
    latents, labels = two_clouds(20, 20)
    probes = LinearProbes(["Male"], min_per_class=5).fit(latents, {})
    assert probes.fit(latents, {"Male": labels}).missing == {}


# --- Bad input


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_labels_must_be_bool(dtype: type) -> None:
    latents, labels = two_clouds(20, 20)
    with pytest.raises(TypeError, match=r"labels of Male must be bool, got (int|float)64"):
        fitted(latents, {"Male": np.where(labels, 1, -1).astype(dtype)})


def test_labels_of_another_length_are_an_error() -> None:
    latents, labels = two_clouds(20, 20)
    with pytest.raises(ValueError, match=r"labels of Male have shape \(39,\) but .* 40 latents"):
        fitted(latents, {"Male": labels[1:]})


def test_latents_that_are_not_finite_are_an_error() -> None:
    latents, labels = two_clouds(20, 20)
    probes = fitted(latents, {"Male": labels})
    latents[7, 0] = torch.nan
    with pytest.raises(ValueError, match=r"latents has values .*rows 7"):
        probes.predict(latents)
    with pytest.raises(ValueError, match=r"latents has values .*rows 7"):
        probes.fit(latents, {"Male": labels})


def test_unfitted_probes_say_so() -> None:
    with pytest.raises(ValueError, match="not fitted"):
        LinearProbes(["Male"], min_per_class=5).predict(torch.zeros(3, 2))


@pytest.mark.parametrize(
    ("attributes", "least", "message"),
    [
        ([], 5, "at least one name, each once"),
        (["Male", "Male"], 5, "at least one name, each once"),
        (["Male"], 1, "probe.min_per_class must be >= 2, got 1"),
    ],
)
def test_settings_out_of_range_are_an_error(
    attributes: list[str], least: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        LinearProbes(attributes, min_per_class=least)


def test_yaml_names_the_ten_attributes_of_the_paper() -> None:
    options = yaml.safe_load((CONF / "ridge.yaml").read_text())
    assert options.pop("_target_") == "stitching.probes.LinearProbes"
    assert len(LinearProbes(**options).wanted) == 10


def test_probes_can_be_switched_off() -> None:
    assert yaml.safe_load((CONF / "none.yaml").read_text()) == {"_target_": None}
