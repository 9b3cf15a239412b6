"""What holds for every kind of probes."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stitching.compute.attributes import PAPER
from stitching.compute.rows import Rows
from stitching.probes import (
    Coordinates,
    FactorProbes,
    LassoProbes,
    LogisticProbes,
    RidgeProbes,
    SoftmaxProbes,
    control_labels,
)
from tests.probes.clouds import two_clouds

KINDS = [LogisticProbes, RidgeProbes, LassoProbes]
FIXED = {LogisticProbes: 1.0, RidgeProbes: 10.0, LassoProbes: 0.02}
WIDTHS = [5, 60]

pytestmark = pytest.mark.filterwarnings("ignore:probe penalty at an edge")


def fixed(kind, **options):
    return kind(alpha=FIXED[kind], **options)


def same(first, second):
    return np.array_equal(first.weight, second.weight) and first.facts == second.facts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", WIDTHS)
def test_a_probe_is_the_same_to_the_bit_whatever_is_fitted_beside_it(kind, width):
    latents, first = two_clouds(20, 20, width)
    second = np.asarray(latents[:, 1] > 0.3) ^ (np.arange(40) % 5 == 0)
    alone = kind().fit(latents, {"b": second})["b"]
    together = kind().fit(latents, {"a": first, "b": second})["b"]
    reversed_order = kind().fit(latents, {"b": second, "a": first})["b"]
    assert same(alone, together)
    assert same(alone, reversed_order)


def test_a_probe_does_not_depend_on_the_number_of_threads(two_threads):
    latents, labels = two_clouds(20, 20)
    tables = {name: np.roll(labels, k) for k, name in enumerate("abc")}
    both = LogisticProbes().fit(latents, tables)
    torch.set_num_threads(1)
    alone = LogisticProbes().fit(latents, tables)
    assert all(same(both[name], alone[name]) for name in tables)


def test_fits_leave_torchs_threads_as_they_were(two_threads):
    latents, labels = two_clouds(20, 20)
    LogisticProbes(alpha=1.0).fit(latents, {"a": labels})
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("kind", KINDS)
def test_shared_coordinates_give_the_same_probes(kind):
    latents, labels = two_clouds(20, 20, 60)
    probes = fixed(kind)
    shared = probes.fit(probes.coordinates(latents), {"a": labels})["a"]
    assert same(shared, probes.fit(latents, {"a": labels})["a"])


@pytest.mark.parametrize("kind", KINDS)
def test_coordinates_with_other_settings_are_an_error(kind):
    latents, labels = two_clouds(20, 20)
    with pytest.raises(ValueError, match="made with standardise=False and max_items=10000, but"):
        kind().fit(Coordinates(latents, standardise=False), {"a": labels})


@pytest.mark.parametrize("kind", KINDS)
def test_streamed_latents_give_the_same_probes(tmp_path, kind):
    latents, labels = two_clouds(20, 20, 60)
    files = [tmp_path / f"{i}.safetensors" for i in range(4)]
    for file, part in zip(files, latents.split(10), strict=True):
        save_file({"latents": part.contiguous()}, file)
    streamed = fixed(kind).fit(Rows(files), {"a": labels})["a"]
    assert same(streamed, fixed(kind).fit(latents, {"a": labels})["a"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_items_are_fitted_on_and_counted(kind):
    latents, labels = two_clouds(40, 40)
    probe = fixed(kind, max_items=50).fit(latents, {"a": labels})["a"]
    assert same(probe, fixed(kind, max_items=50).fit(latents[:50], {"a": labels[:50]})["a"])
    assert probe.facts["n"] == 50
    assert probe.facts["n_yes"] == labels[:50].sum()


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_dimension_is_measured_in_does_not_count(kind):
    latents, labels = two_clouds(30, 30, 60)
    units = torch.logspace(-3, 3, 60)
    first = fixed(kind).fit(latents, {"a": labels})["a"].scores(latents)
    second = fixed(kind).fit(latents * units, {"a": labels})["a"].scores(latents * units)
    np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-4)


def rotated(latents):
    square = np.random.default_rng(5).standard_normal((latents.shape[1],) * 2)
    return latents.double() @ torch.from_numpy(np.linalg.qr(square)[0])


@pytest.mark.parametrize("kind", [LogisticProbes, RidgeProbes])
@pytest.mark.parametrize("width", WIDTHS)
def test_axes_count_for_standardised_latents_alone(kind, width):
    latents, labels = two_clouds(30, 30, width)
    latents[:, 0] *= 10
    for standardise in (True, False):
        probes = fixed(kind, standardise=standardise)
        first, second = (
            probes.fit(z, {"a": labels})["a"].scores(z) for z in (latents, rotated(latents))
        )
        assert np.allclose(first, second, rtol=1e-4, atol=1e-5) is not standardise


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_not_taken_from_test_items(kind):  # case C23
    latents, labels = two_clouds(40, 40, 60)
    probe = fixed(kind).fit(latents[:50], {"a": labels[:50]})["a"]
    before = probe.scores(latents[50:])
    changed = latents[50:].clone()
    changed[0] *= 1e6
    assert np.array_equal(probe.scores(changed)[1:], before[1:])


# --- Control probes


@pytest.mark.parametrize("kind", KINDS)
def test_controls_have_the_penalty_and_the_counts_of_the_attribute(kind):
    latents, labels = two_clouds(15, 45)
    fitted = kind().fit(latents, {"a": labels})
    control = kind().fit_controls(latents, {"a": labels}, fitted, seed=0)["a"]
    for fact in ("alpha", "n", "n_yes", "n_no"):
        assert control.facts[fact] == fitted["a"].facts[fact]


@pytest.mark.parametrize("kind", KINDS)
def test_controls_are_fitted_to_labels_without_meaning(kind):
    latents, labels = two_clouds(15, 45)
    probes = fixed(kind)
    fitted = probes.fit(latents, {"a": labels})
    control = probes.fit_controls(latents, {"a": labels}, fitted, seed=3)["a"]
    expected = probes.fit(latents, {"a": control_labels(labels, "a", 3)})["a"]
    # Logistic controls stop at a relative error of a thousandth.
    off = np.linalg.norm(control.weight - expected.weight)
    assert off <= 1e-3 * np.linalg.norm(expected.weight)


@pytest.mark.parametrize("kind", [LogisticProbes, RidgeProbes])
def test_controls_are_at_chance_on_other_items(kind):
    latents, labels = two_clouds(1100, 1100, 20, gap=4.0)
    probes = fixed(kind)
    fitted = probes.fit(latents[:200], {"a": labels[:200]})
    control = probes.fit_controls(latents[:200], {"a": labels[:200]}, fitted, seed=0)["a"]
    meaningless = control_labels(labels[200:], "a/test", 0)
    assert (control.predict(latents[200:]) == meaningless).mean() == pytest.approx(0.5, abs=0.04)


# --- Attributes that cannot be probed (case C27)


@pytest.mark.parametrize("n_yes", [0, 4, 36, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_a_class_with_too_few_items_is_missing_with_the_counts(kind, n_yes):
    latents, labels = two_clouds(n_yes, 40 - n_yes)
    usable, missing = kind(min_per_class=5).usable({"Bald": labels})
    assert usable == {}
    assert f"{n_yes} items with and {40 - n_yes} without" in missing["Bald"]
    with pytest.raises(ValueError, match="Bald cannot be probed: training split has"):
        kind(min_per_class=5).fit(latents, {"Bald": labels})


def test_as_many_items_as_required_are_enough():
    _, labels = two_clouds(5, 35)
    usable, missing = LogisticProbes(min_per_class=5).usable({"Bald": labels})
    assert np.array_equal(usable["Bald"], labels)
    assert missing == {}


def test_items_are_counted_among_those_fitted_on():
    labels = np.arange(40) >= 35
    assert "Bald" in LogisticProbes().usable({"Bald": labels})[0]
    assert "Bald" in LogisticProbes(max_items=38).usable({"Bald": labels})[1]
    _, missing = LogisticProbes().usable({"Bald": labels}, rows=np.arange(37))
    assert "2 items with and 35 without" in missing["Bald"]


def test_labels_are_returned_for_the_given_rows():
    _, labels = two_clouds(20, 20)
    rows = np.arange(0, 40, 2)
    usable, _ = LogisticProbes().usable({"a": labels}, rows)
    assert np.array_equal(usable["a"], labels[rows])


def test_an_attribute_that_the_data_set_lacks_is_refused_with_the_nearest():
    _, labels = two_clouds(20, 20)
    probes = LogisticProbes(["Smilng", "Male"])
    wanted = r"no binary attribute Smilng, did you mean Smiling\?; there are Male, Smiling"
    with pytest.raises(ValueError, match=wanted):
        probes.usable({"Male": labels, "Smiling": labels})
    with pytest.raises(ValueError, match="no binary attribute Smilng; they have none"):
        probes.usable({})


@pytest.mark.parametrize(
    ("names", "taken", "selection"),
    [
        ([*reversed(PAPER), "Bangs"], list(PAPER), "the paper's ten, of 11 of the data"),
        (["shoe", "bright"], ["shoe", "bright"], "all 2 of the data"),
        (list(PAPER[1:]), list(PAPER[1:]), "all 9 of the data"),
        ([f"a{k}" for k in range(50)], [f"a{k}" for k in range(40)], "the first 40 of 50"),
        ([], [], "none: the data have no binary attributes"),
    ],
)
def test_auto_takes_the_papers_ten_or_else_what_the_data_have(names, taken, selection):
    probes = LogisticProbes("auto")
    assert list(probes.selected(names)) == taken
    assert probes.selection(names).startswith(selection)


def test_a_name_that_is_no_list_is_refused():
    with pytest.raises(ValueError, match=r"probe.attributes=Male: use a list such as \[Male\]"):
        LogisticProbes("Male")


def test_without_names_all_attributes_are_probed():
    _, labels = two_clouds(20, 20)
    assert list(LogisticProbes().usable({"Male": labels, "Bangs": labels})[0]) == ["Male", "Bangs"]


# --- Cache keys


def every(**options):
    kinds = [LogisticProbes, RidgeProbes, LassoProbes, SoftmaxProbes, FactorProbes]
    return [kind(**options) for kind in kinds]


def test_every_kind_has_a_key_of_its_own():
    assert len({probes.identity for probes in every()}) == 5


@pytest.mark.parametrize("option", [{"alpha": 2.0}, {"standardise": False}, {"max_items": 100}])
def test_what_changes_a_fit_changes_the_key(option):
    for probes, changed in zip(every(), every(**option), strict=True):
        assert probes.identity != changed.identity


@pytest.mark.parametrize("option", ["n_alphas", "n_folds", "seed", "max_iter"])
def test_how_the_penalty_is_chosen_is_part_of_the_key(option):
    for kind in (LogisticProbes, LassoProbes, SoftmaxProbes):
        assert kind().identity != kind(**{option: 7}).identity


def test_the_choice_of_attributes_is_no_part_of_the_key():
    assert LogisticProbes(["a"], min_per_class=9).identity == LogisticProbes().identity


def test_a_key_is_plain_text_of_the_settings():
    assert json.loads(LogisticProbes().identity)["kind"] == "logistic"


# --- Bad input


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_another_length_are_an_error(kind):
    latents, labels = two_clouds(20, 20)
    with pytest.raises(ValueError, match=r"labels of Male have shape \(39,\) but .* 40 latents"):
        kind().fit(latents, {"Male": labels[1:]})


@pytest.mark.parametrize("kind", KINDS)
def test_labels_must_be_bool(kind):
    latents, labels = two_clouds(20, 20)
    with pytest.raises(TypeError, match="labels of Male must be bool, got int64"):
        kind().fit(latents, {"Male": np.where(labels, 1, -1)})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attributes": []}, "at least one name, each once"),
        ({"attributes": ["Male", "Male"]}, "at least one name, each once"),
        ({"min_per_class": 1}, "probe.min_per_class must be >= 2, got 1"),
        ({"max_items": 1}, "probe.max_items must be >= 2, got 1"),
    ],
)
def test_settings_out_of_range_are_an_error(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)
