"""The facts of a summary, from sums of squares or from predictions of the training items."""

from collections.abc import Callable

from torch import Tensor

from stitching.maps.matrix import Rows, blocks, column_moments

Fact = float | int | str | None
Summary = dict[str, Fact]


def training_facts(
    name: str, shape: tuple[int, int, int], rss: float, sum_of_squares: float, **own: Fact
) -> Summary:
    """Return all keys of `Map.summary`.

    Args:
        name: Of the map.
        shape: N, D_s and D_t of the training latents.
        rss: Residual sum of squares.
        sum_of_squares: Of the centred target.
        own: Facts that only some maps have; without them None, and 0 for `interpolates`.
    """
    n, d_source, d_target = shape
    return {
        "map": name,
        "alpha": None,
        "selection": None,
        "dof": None,
        "rank": None,
        "condition": None,
        "n_train": n,
        "d_source": d_source,
        "d_target": d_target,
        "train_r2": 1 - rss / sum_of_squares if sum_of_squares > 0 else None,
        "train_mse": rss / (n * d_target),
        "cv_mse": None,
        "interpolates": 0,
        "at_edge": None,
        "flat": None,
        "flat_alpha": None,
        "flat_gap": None,
        "flat_change": None,
    } | own


def measured_facts(
    name: str, predict: Callable[[Tensor], Tensor], source: Rows, target: Rows, **own: Fact
) -> Summary:
    """Predict the training items and return `training_facts`.

    Args:
        name: Of the map.
        predict: From sources of shape (n, D_s) to targets of shape (n, D_t).
        source: Training latents, shape (N, D_s), checked.
        target: Shape (N, D_t), checked.
        own: As for `training_facts`.
    """
    total = column_moments(target)[1]
    rss = 0.0
    for rows in blocks(target.shape[0]):
        rss += float((predict(source[rows]).double() - target[rows]).square().sum())
    shape = (source.shape[0], source.shape[1], target.shape[1])
    return training_facts(name, shape, rss, float(total.sum()), **own)
