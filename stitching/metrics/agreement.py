"""Shares, areas and correlations on all items and on every resample at once.

Throughout, S = 1 + R samples of the n items are scored together: sample 0 holds every item once,
the others are bootstrap resamples. A sample is a column of weights, how often it holds each item.
Predictions are whole numbers and so are weights: their sums are exact. What is undefined is NaN.
Measures take these sums, to which `pseudo` adds.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def weighted_sums(columns: Sequence[NDArray[np.generic]], weights: Tensor) -> list[Tensor]:
    """Sum each column (n,) over every sample; shapes (S,)."""
    table = torch.from_numpy(np.stack(columns).astype(np.float64))
    return list((table @ weights).unbind())


def kappa(equal: Tensor, chance: Tensor, total: Tensor) -> Tensor:
    """Return agreement beyond chance, 1 for perfect, 0 for chance, down to -1.

    NaN where both sides give one and the same prediction throughout: chance agrees there too.

    Args:
        equal: Number of equal predictions.
        chance: Sum over predictions of how often one side gives it times how often the other does.
        total: Number of items.

    Source: Cohen (1960), doi:10.1177/001316446002000104
    """
    # In whole numbers, so that chance agreement of 1 is met exactly.
    return (equal * total - chance) / (total * total - chance)


def binary_table(
    truth: NDArray[np.bool_], own: NDArray[np.bool_], mapped: NDArray[np.bool_], weights: Tensor
) -> Tensor:
    """Count the items of every sample by truth and two predictions, all of shape (n,).

    Returns:
        Shape (2, 2, 2, S): by truth, own and mapped prediction.
    """
    places = 4 * truth.astype(np.int64) + 2 * own + mapped
    counts = torch.stack(weighted_sums([places == place for place in range(8)], weights))
    return counts.view(2, 2, 2, -1)


def binary_measures(table: Tensor, usual: bool) -> dict[str, Tensor]:
    """Return the measures of yes-no predictions on own and mapped latents; shapes (S,).

    Balanced accuracy is NaN where a class is absent.

    Args:
        table: Of `binary_table`, shape (2, 2, 2, S).
        usual: Prediction of the majority baseline.
    """
    total, n_true = table.sum((0, 1, 2)), table.sum((1, 2))
    measures: dict[str, Tensor] = {}
    for side, predicted in (("own", table.sum(2)), ("mapped", table.sum(1))):
        right = torch.stack([predicted[0, 0], predicted[1, 1]])
        measures[f"accuracy_{side}"] = right.sum(0) / total
        measures[f"balanced_accuracy_{side}"] = (right / n_true).mean(0)
    consistency, beyond_chance = agreement(table)
    return measures | {
        "majority": n_true[int(usual)] / total,
        "consistency": consistency,
        "kappa": beyond_chance,
    }


def agreement(table: Tensor) -> tuple[Tensor, Tensor]:
    """Return the share of equal predictions and kappa of a table of `binary_table`, (S,) each."""
    pairs = table.sum(0)
    total, equal = pairs.sum((0, 1)), pairs[0, 0] + pairs[1, 1]
    chance = (pairs.sum(1) * pairs.sum(0)).sum(0)
    return equal / total, kappa(equal, chance, total)


def roc_auc(scores: NDArray[np.floating], truth: NDArray[np.bool_], weights: Tensor) -> Tensor:
    """Return the area under the ROC curve of scores (n,), in [0, 1]; shape (S,).

    The share of pairs of a yes and a no in which the yes scores higher, ties half: 0.5 for any
    constant score. NaN where a class is absent.

    Source: Hanley and McNeil (1982), doi:10.1148/radiology.143.1.7063747
    """
    sides = torch.stack(weighted_sums([~truth, truth], weights))
    nothing = torch.zeros(2, 2, weights.shape[1], dtype=torch.float64)
    return area(pairs_in_order(scores, truth, weights), sides, nothing)


def pairs_in_order(
    scores: NDArray[np.floating], truth: NDArray[np.bool_], weights: Tensor
) -> Tensor:
    """Count the pairs of a yes and a no in which the yes scores higher, ties half; shape (S,)."""
    values, yes = (torch.from_numpy(np.ascontiguousarray(x)) for x in (scores, truth))
    below = _weight_below(values[yes], values[~yes], weights[~yes])
    ordered: Tensor = (weights[yes] * below).sum(dim=0)
    return ordered


def area(ordered: Tensor, sides: Tensor, extra: Tensor) -> Tensor:
    """Return the share of pairs in order, counting items beyond all scores too; shape (S,).

    Args:
        ordered: Of `pairs_in_order`, shape (S,).
        sides: Weight of the no and of the yes, shape (2, S).
        extra: Weight of further items by truth and prediction, shape (2, 2, S): predicted yes
            scores above all others, predicted no below; among themselves they tie.
    """
    (no, yes), ((no_low, no_high), (yes_low, yes_high)) = sides, extra
    ordered = ordered + yes_high * (no + no_low) + yes * no_low
    ordered = ordered + (yes_high * no_high + yes_low * no_low) / 2
    found: Tensor = ordered / ((yes + yes_low + yes_high) * (no + no_low + no_high))
    return found


def centred_ranks(values: NDArray[np.floating], weights: Tensor) -> Tensor:
    """Return twice each item's rank in every sample, ties at their mean, less the mean; (n, S)."""
    numbers = torch.from_numpy(np.ascontiguousarray(values))
    # Twice the weight below, ties half, has the sample's size as its mean: all of it is exact.
    return _weight_below(numbers, numbers, weights).mul_(2).sub_(weights.sum(dim=0))


def correlation(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Return the correlation of values x and y (n, S), of mean 0 in every sample; shape (S,).

    NaN where either is constant.
    """
    weighted = weights * x
    both, first = (weighted * y).sum(dim=0), (weighted * x).sum(dim=0)
    second = (weights * y).mul_(y).sum(dim=0)
    return both / (first * second).sqrt()


def _weight_below(scores: Tensor, among: Tensor, weights: Tensor) -> Tensor:
    """Return the weight of the items of `among` that score below each score, ties half.

    Args:
        scores: Shape (m,).
        among: Scores of the items, shape (k,).
        weights: Theirs in every sample, shape (k, S).

    Returns:
        Shape (m, S).
    """
    ordered, order = among.sort(stable=True)
    up_to = torch.zeros(len(among) + 1, weights.shape[1], dtype=torch.float64)
    torch.cumsum(weights[order], dim=0, out=up_to[1:])
    low = torch.searchsorted(ordered, scores)
    high = torch.searchsorted(ordered, scores, right=True)
    return up_to[low].add_(up_to[high]).div_(2)
