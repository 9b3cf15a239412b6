"""The facts of a summary that any map can measure on its own training items."""

from collections.abc import Callable

from torch import Tensor

from stitching.maps.base import Summary
from stitching.maps.matrix import Rows, blocks, column_moments


def measured_facts(
    name: str, predict: Callable[[Tensor], Tensor], source: Rows, target: Rows
) -> Summary:
    """Predict the training items and return all keys of `Map.summary`.

    Those that only some maps have are None, `interpolates` is 0: the map fills in its own.

    Args:
        name: Of the map.
        predict: From sources of shape (n, D_s) to targets of shape (n, D_t).
        source: Training latents, shape (N, D_s), checked.
        target: Shape (N, D_t), checked.
    """
    n, width = target.shape
    total = column_moments(target)[1]
    rss, sum_of_squares = 0.0, float(total.sum())
    for rows in blocks(n):
        rss += float((predict(source[rows]).double() - target[rows]).square().sum())
    return {
        "map": name,
        "alpha": None,
        "selection": None,
        "dof": None,
        "rank": None,
        "condition": None,
        "n_train": n,
        "d_source": source.shape[1],
        "d_target": width,
        "train_r2": 1 - rss / sum_of_squares if sum_of_squares > 0 else None,
        "train_mse": rss / (n * width),
        "cv_mse": None,
        "interpolates": 0,
        "at_edge": None,
    }
