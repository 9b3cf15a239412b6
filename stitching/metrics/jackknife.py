"""Uncertainty by the images that a map was fitted to: refits without groups of them.

A measure is computed once for each group of fit images, with the map refitted without the group.
The delete-a-group jackknife makes a variance of these values. `vary` adds it to the draws of an
estimate, so that all that reads draws (differences of cells, means, intervals) contains it:

    draw k + sum over groups of multiplier (k, g) * deviation g

What a refit changes on these test items is partly chance of the test items, which their resamples
contain already. `noise` is that part, and is taken off, or it would count twice.

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
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stitching.metrics.resampling import Estimate

Numbers = NDArray[np.float64]

_V = TypeVar("_V", float, Numbers)


def groups_of(ids: Sequence[str], n_groups: int) -> NDArray[np.int64]:
    """Return the group of each item, shape (N,), from 0 to n_groups - 1.

    It depends on the item's id alone: an item keeps its group in every cell, and where fewer or
    more items are fitted to. Groups are therefore of unequal sizes, and some may be empty.
    """
    return np.array([_place(item) % n_groups for item in ids], dtype=np.int64)


def deviations(value: _V, without: Mapping[int, _V], sizes: Mapping[int, int]) -> dict[int, _V]:
    """Return the part of each group; the sum of their squares is the variance of the value.

    With groups of equal sizes this is the usual (G - 1) / G times the sum of squares about the
    mean of the refits.

    Args:
        value: Of the full fit; or one value for each of several items or resamples.
        without: Of the refit without each group, by group.
        sizes: Number of fit images of each of these groups.
    """
    total, n_groups = sum(sizes.values()), len(sizes)
    shares = {g: total / size for g, size in sizes.items()}
    pseudo = {g: shares[g] * value - (shares[g] - 1) * without[g] for g in sizes}
    centre = sum(pseudo[g] / shares[g] for g in sizes)
    return {g: (pseudo[g] - centre) / math.sqrt(n_groups * (shares[g] - 1)) for g in sizes}


def noise(value: Numbers, without: Mapping[int, Numbers], sizes: Mapping[int, int]) -> float:
    """Return the share of squared deviations of a mean that is chance of the test items.

    Args:
        value: Of each test item by the full fit, shape (n,).
        without: The same by the refit without each group, by group.
        sizes: Number of fit images of each of these groups.
    """
    parts = deviations(value, without, sizes).values()
    total = sum(float(part.mean()) ** 2 for part in parts)
    chance = sum(float(part.var(ddof=1)) / len(part) for part in parts) if len(value) > 1 else 0.0
    return min(1.0, chance / total) if total > 0 else 0.0


def noise_of_draws(
    estimate: Estimate, without: Mapping[int, Estimate], sizes: Mapping[int, int]
) -> float:
    """Return `noise` from the same resamples of the test items; 0 without draws."""
    values = {group: one.value for group, one in without.items()}
    draws = {group: one.draws for group, one in without.items()}
    if estimate.value is None or estimate.draws is None:
        return 0.0
    known = {g: x for g, x in draws.items() if x is not None}
    plain = {g: x for g, x in values.items() if x is not None}
    if len(known) < len(without) or len(plain) < len(without):
        return 0.0
    total = sum(part**2 for part in deviations(estimate.value, plain, sizes).values())
    parts = deviations(estimate.draws, known, sizes).values()
    known_parts = (part[np.isfinite(part)] for part in parts)
    chance = sum(float(part.var()) for part in known_parts if len(part))
    return min(1.0, chance / total) if total > 0 else 0.0


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
    estimate: Estimate,
    without: Mapping[int, float],
    sizes: Mapping[int, int],
    n_groups: int,
    chance: float = 0.0,
) -> tuple[Estimate, float | None]:
    """Return an estimate whose draws vary with the fit images too, and the share of these.

    Args:
        estimate: Its draws vary with the test images.
        without: Value of the refit without each group, by group, at least two.
        sizes: Number of fit images of each of these groups.
        n_groups: Number of groups, empty ones included.
        chance: Share of the squared deviations that is chance of the test items, see `noise`.

    Returns:
        The estimate, and the share of the variance of its draws that comes from the fit images;
        the estimate unchanged and None where it has no value or no draws.
    """
    if estimate.value is None or estimate.draws is None:
        return estimate, None
    parts = np.zeros(n_groups)
    for group, part in deviations(estimate.value, without, sizes).items():
        parts[group] = part * math.sqrt(1 - chance)
    known = estimate.draws[np.isfinite(estimate.draws)]
    by_fit, by_test = float(parts @ parts), float(known.var()) if len(known) else 0.0
    draws = estimate.draws + multipliers(len(estimate.draws), n_groups) @ parts
    total = by_fit + by_test
    return replace(estimate, draws=draws), by_fit / total if total > 0 else None


def _place(item: str) -> int:
    text = f"fit group {item}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(text).digest()[:8])
