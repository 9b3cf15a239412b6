"""Shares, areas and correlations on all items and on every resample at once.

Throughout, S = 1 + R samples of the n items are scored together: sample 0 holds every item once,
the others are bootstrap resamples. A sample is a column of weights, how often it holds each item.
Predictions are whole numbers and so are weights: their sums are exact. What is undefined is NaN.
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


def binary_measures(
    truth: NDArray[np.bool_],
    own: NDArray[np.bool_],
    mapped: NDArray[np.bool_],
    usual: bool,
    weights: Tensor,
) -> dict[str, Tensor]:
    """Return the measures of yes-no predictions (n,) on own and mapped latents; shapes (S,).

    `usual` is the prediction of the majority baseline. Balanced accuracy is NaN where a class is
    absent.
    """
    columns = [np.ones_like(truth), truth, own, mapped, own == mapped, truth == usual]
    total, n_true, n_own, n_mapped, equal, majority = weighted_sums(columns, weights)
    measures: dict[str, Tensor] = {}
    for side, predictions in (("own", own), ("mapped", mapped)):
        right = predictions == truth
        n_right, n_right_yes = weighted_sums([right, right & truth], weights)
        measures[f"accuracy_{side}"] = n_right / total
        measures[f"balanced_accuracy_{side}"] = (
            n_right_yes / n_true + (n_right - n_right_yes) / (total - n_true)
        ) / 2
    chance = n_own * n_mapped + (total - n_own) * (total - n_mapped)
    return measures | {
        "majority": majority / total,
        "consistency": equal / total,
        "kappa": kappa(equal, chance, total),
    }


def roc_auc(scores: NDArray[np.floating], truth: NDArray[np.bool_], weights: Tensor) -> Tensor:
    """Return the area under the ROC curve of scores (n,), in [0, 1]; shape (S,).

    The share of pairs of a yes and a no in which the yes scores higher, ties half: 0.5 for any
    constant score. NaN where a class is absent.

    Source: Hanley and McNeil (1982), doi:10.1148/radiology.143.1.7063747
    """
    values, yes = (torch.from_numpy(np.ascontiguousarray(x)) for x in (scores, truth))
    w_yes, w_no = weights[yes], weights[~yes]
    below = _weight_below(values[yes], values[~yes], w_no)
    return (w_yes * below).sum(dim=0) / (w_yes.sum(dim=0) * w_no.sum(dim=0))


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
