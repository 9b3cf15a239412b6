import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stitching.probes import balanced_split, checked_labels, control_labels
from stitching.probes.labels import stratified_folds

COUNTS = st.tuples(st.integers(0, 30), st.integers(0, 30))


def labels_of(n_yes, n_no, seed=0):
    return np.random.default_rng(seed).permutation(np.arange(n_yes + n_no) < n_yes)


# --- Labels without meaning


@given(COUNTS, st.integers(0, 5))
def test_control_labels_keep_the_share_of_yes(counts, seed):
    labels = labels_of(*counts)
    assert control_labels(labels, "Male", seed).sum() == labels.sum()


def test_control_labels_depend_on_name_and_seed_alone():
    labels = labels_of(50, 50)
    found = control_labels(labels, "Male", 0)
    assert np.array_equal(found, control_labels(labels, "Male", 0))
    assert not np.array_equal(found, control_labels(labels, "Young", 0))
    assert not np.array_equal(found, control_labels(labels, "Male", 1))


def test_control_labels_are_independent_of_the_labels():
    labels = labels_of(5000, 5000)
    assert (control_labels(labels, "Male", 0) == labels).mean() == pytest.approx(0.5, abs=0.02)


def test_control_labels_leave_the_labels_as_they_were():
    labels = labels_of(20, 20)
    before = labels.copy()
    control_labels(labels, "Male", 0)
    assert np.array_equal(labels, before)


# --- The paper's split


@given(COUNTS, st.integers(0, 5))
def test_a_balanced_split_has_as_many_with_as_without(counts, seed):
    labels = labels_of(*counts)
    for places in balanced_split(labels, seed, "Male"):
        assert labels[places].sum() * 2 == len(places)


@given(COUNTS)
def test_a_balanced_split_uses_all_of_the_rarer_class_once(counts):
    fit, test = balanced_split(labels_of(*counts), 0, "Male")
    assert len(np.union1d(fit, test)) == len(fit) + len(test) == 2 * min(counts)


def test_a_fifth_is_tested_on():
    fit, test = balanced_split(labels_of(100, 400), 0, "Male")
    assert (len(fit), len(test)) == (160, 40)


@pytest.mark.parametrize(("n_yes", "sizes"), [(0, (0, 0)), (1, (2, 0)), (2, (2, 2))])
def test_of_few_items_one_is_fitted_on_before_one_is_tested_on(n_yes, sizes):
    fit, test = balanced_split(labels_of(n_yes, 10), 0, "Bald")
    assert (len(fit), len(test)) == sizes


def test_attributes_and_seeds_have_splits_of_their_own():
    labels = labels_of(50, 50)
    test = balanced_split(labels, 0, "Male")[1]
    assert np.array_equal(test, balanced_split(labels, 0, "Male")[1])
    assert not np.array_equal(test, balanced_split(labels, 0, "Young")[1])
    assert not np.array_equal(test, balanced_split(labels, 1, "Male")[1])


def test_places_ascend():
    for places in balanced_split(labels_of(30, 60), 0, "Male"):
        assert (np.diff(places) > 0).all()


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2])
def test_a_share_must_leave_both_parts_something(share):
    with pytest.raises(ValueError, match="test_share must be between 0 and 1"):
        balanced_split(labels_of(5, 5), 0, "Male", share)


# --- Folds


@given(st.lists(st.integers(0, 3), min_size=5, max_size=60), st.integers(2, 5))
def test_folds_are_of_one_size_over_all_and_in_each_class(labels, n_folds):
    labels = np.array(labels)
    folds = stratified_folds(labels, n_folds, seed=0)
    for value in (None, *np.unique(labels)):
        part = folds if value is None else folds[labels == value]
        assert np.ptp(np.bincount(part, minlength=n_folds)) <= 1


def test_folds_depend_on_the_seed():
    labels = labels_of(20, 20)
    first = stratified_folds(labels, 5, seed=0)
    assert np.array_equal(first, stratified_folds(labels, 5, seed=0))
    assert not np.array_equal(first, stratified_folds(labels, 5, seed=1))


def test_more_folds_than_items_are_an_error():
    with pytest.raises(ValueError, match=r"probe\.n_folds=5 is more than the 4 items"):
        stratified_folds(labels_of(2, 2), 5, seed=0)


# --- Bad input


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_labels_must_be_bool(dtype):
    with pytest.raises(TypeError, match=r"labels of Male must be bool, got (int|float)64"):
        checked_labels("Male", np.where(labels_of(5, 5), 1, -1).astype(dtype), 10)


def test_labels_of_another_length_are_an_error():
    with pytest.raises(ValueError, match=r"labels of Male have shape \(9,\) but .* 10 latents"):
        checked_labels("Male", labels_of(5, 4), 10)
