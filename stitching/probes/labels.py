"""Labels of probes: checks, folds, control labels, and the paper's balanced split.

Random choices depend on labels in their order, a name and a seed; not on other attributes or on
earlier choices.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

#: Labels by name, shape (N,) each: bool for attributes, whole numbers for classes, floats for
#: factors.
Labels = Mapping[str, NDArray[Any]]

_Values = TypeVar("_Values", bound=np.generic)


def checked_labels(name: str, values: NDArray[Any], length: int) -> NDArray[np.bool_]:
    """Check that the labels of an attribute are bool and of this length, and return them.

    Raises:
        TypeError: Not bool.
        ValueError: Not of shape (length,).
    """
    values = np.asarray(values)
    if values.dtype != np.bool_:
        raise TypeError(
            f"labels of {name} must be bool, got {values.dtype}: compare them with the value that "
            "means yes, such as `labels == 1`"
        )
    return of_length(name, values, length)


def of_length(name: str, values: NDArray[_Values], length: int) -> NDArray[_Values]:
    """Check that labels have one value for each of so many items, and return them.

    Raises:
        ValueError: Not of shape (length,).
    """
    if values.shape != (length,):
        raise ValueError(
            f"labels of {name} have shape {values.shape} but there are {length} latents: take "
            "both from the same split"
        )
    return values


def control_labels(labels: NDArray[_Values], name: str, seed: int) -> NDArray[_Values]:
    """Return the labels in a random order: a baseline for the accuracy of probes.

    The share of each value stays, the relation to latents does not.

    Args:
        labels: Shape (N,), of any type.
        name: Of the attribute: each has a permutation of its own.
        seed: Of the permutation, at least 0.

    Source: control tasks, Hewitt and Liang (2019), doi:10.18653/v1/D19-1275, here with one label
    per item in place of one per word type.
    """
    return labels[_generator("control", name, seed).permutation(len(labels))]


def balanced_split(
    labels: NDArray[np.bool_], seed: int, name: str, test_share: float = 0.2
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split items to fit and to test on, with as many with an attribute as without it.

    Items of the larger class are left out at random until there are m of each; of either class
    round(m * test_share) are test items, at least one where m > 1, and one is a fit item.

    Args:
        labels: Shape (N,), bool.
        seed: Of the choice, at least 0.
        name: Of the attribute: each has a choice of its own.
        test_share: Share of the items to test on, between 0 and 1.

    Returns:
        Places to fit on and places to test on, ascending, disjoint; empty without items of a
        class.

    Raises:
        TypeError: Labels are not bool.
        ValueError: `test_share` is not between 0 and 1.
    """
    if not 0 < test_share < 1:
        raise ValueError(f"test_share must be between 0 and 1, got {test_share}")
    labels = checked_labels(name, labels, len(labels))
    generator = _generator("balanced", name, seed)
    classes = [generator.permutation(np.flatnonzero(labels == value)) for value in (False, True)]
    size = min(map(len, classes))
    n_test = min(max(round(size * test_share), 1), max(size - 1, 0))
    test = np.concatenate([places[:n_test] for places in classes])
    fit = np.concatenate([places[n_test:size] for places in classes])
    return np.sort(fit), np.sort(test)


def halves(
    ids: Sequence[str], labels: NDArray[Any] | None = None, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places of two halves of items, ascending, disjoint, of equal size up to one.

    Items are dealt out in turn, in the order of hashes of their ids: the split does not depend on
    the order of the items, and without labels it is one for all labels.

    Args:
        ids: Of the items, N different ones.
        labels: Shape (N,), with few values: each is spread evenly. None for no such care.
        seed: Of the order.
    """
    digests = [hashlib.sha256(f"half/{seed}/{name}".encode()).digest() for name in ids]
    order = np.array(sorted(range(len(digests)), key=digests.__getitem__), np.int64)
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    return np.sort(order[::2]), np.sort(order[1::2])


def stratified_folds(labels: NDArray[Any], n_folds: int, seed: int) -> NDArray[np.int64]:
    """Return folds with each class spread evenly: its numbers differ by at most one.

    Args:
        labels: Shape (N,), of any type with few values.
        n_folds: Number of folds, at most N.
        seed: Of the random order, at least 0.

    Returns:
        The fold of each item, 0 to n_folds - 1, shape (N,).

    Raises:
        ValueError: More folds than items.
    """
    if n_folds > len(labels):
        raise ValueError(
            f"probe.n_folds={n_folds} is more than the {len(labels)} items to fit on: lower it"
        )
    generator = np.random.Generator(np.random.PCG64(seed))
    order = [generator.permutation(np.flatnonzero(labels == v)) for v in np.unique(labels)]
    folds = np.empty(len(labels), np.int64)
    folds[np.concatenate(order)] = np.arange(len(labels)) % n_folds
    return folds


def _generator(purpose: str, name: str, seed: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{purpose}/{name}".encode()).digest()
    # PCG64 of a seed sequence: the same numbers on every platform.
    return np.random.Generator(np.random.PCG64([seed, int.from_bytes(digest[:8])]))
