"""Uncertainty by the images that a map was fitted to: refits without groups of them.

A measure is computed once for each group of fit images, with the map refitted without the group.
The delete-a-group jackknife makes a variance of these values. `vary` adds it to the draws of an
estimate, so that all that reads draws (differences of cells, means, intervals) contains it:

    draw k + sum over groups of multiplier (k, g) * deviation g

The multipliers are seeded and the same in every cell, and so are the groups of one data set:
differences are paired in fit images as they are in test images.

Source: unequal groups: Busing, Meijer and van der Leeden (1999), doi:10.1023/A:1008800423698;
multipliers: Mammen (1993), doi:10.1214/aos/1176349025
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stitching.metrics.resampling import Estimate


def groups_of(ids: Sequence[str], n_groups: int) -> NDArray[np.int64]:
    """Return the group of each item, shape (N,), from 0 to n_groups - 1.

    It depends on the item's id alone: an item keeps its group in every cell, and where fewer or
    more items are fitted to. Groups are therefore of unequal sizes, and some may be empty.
    """
    return np.array([_place(item) % n_groups for item in ids], dtype=np.int64)


def deviations(
    value: float, without: Mapping[int, float], sizes: Mapping[int, int]
) -> dict[int, float]:
    """Return the part of each group; the sum of their squares is the variance of the value.

    With groups of equal sizes this is the usual (G - 1) / G times the sum of squares about the
    mean of the refits.

    Args:
        value: Of the full fit.
        without: Of the refit without each group, by group.
        sizes: Number of fit images of each of these groups.
    """
    total, n_groups = sum(sizes.values()), len(sizes)
    shares = {g: total / size for g, size in sizes.items()}
    pseudo = {g: shares[g] * value - (shares[g] - 1) * without[g] for g in sizes}
    centre = sum(pseudo[g] / shares[g] for g in sizes)
    return {g: (pseudo[g] - centre) / math.sqrt(n_groups * (shares[g] - 1)) for g in sizes}


def multipliers(n_draws: int, n_groups: int, seed: int = 0) -> NDArray[np.float64]:
    """Return the multipliers of the deviations, shape (n_draws, n_groups).

    Normal, divided in each draw by the root of a chi-squared over its n_groups - 1 degrees of
    freedom: a variance estimated from so few groups makes a t interval. Draw k and group g have
    the same multiplier whatever the number of draws.
    """
    generator = np.random.Generator(np.random.PCG64([seed, n_groups, 2]))
    drawn = generator.standard_normal((n_draws, 2 * n_groups - 1))
    spread = np.square(drawn[:, n_groups:]).mean(axis=1, keepdims=True)
    return np.asarray(drawn[:, :n_groups] / np.sqrt(spread))


def vary(
    estimate: Estimate, without: Mapping[int, float], sizes: Mapping[int, int], n_groups: int
) -> tuple[Estimate, float | None]:
    """Return an estimate whose draws vary with the fit images too, and the share of these.

    Args:
        estimate: Its draws vary with the test images.
        without: Value of the refit without each group, by group, at least two.
        sizes: Number of fit images of each of these groups.
        n_groups: Number of groups, empty ones included.

    Returns:
        The estimate, and the share of the variance of its draws that comes from the fit images;
        the estimate unchanged and None where it has no value or no draws.
    """
    if estimate.value is None or estimate.draws is None:
        return estimate, None
    parts = np.zeros(n_groups)
    for group, part in deviations(estimate.value, without, sizes).items():
        parts[group] = part
    by_fit, by_test = float(parts @ parts), float(np.nanvar(estimate.draws))
    draws = estimate.draws + multipliers(len(estimate.draws), n_groups) @ parts
    total = by_fit + by_test
    return replace(estimate, draws=draws), by_fit / total if total > 0 else None


def _place(item: str) -> int:
    text = f"fit group {item}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(text).digest()[:8])
