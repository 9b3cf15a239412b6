"""Decomposition of sources whose scales differ so much that a Gram matrix loses directions.

A Gram matrix squares the values: a direction 1e-7 times as wide as the widest one is 1e-14 of it
there, which is rounding. Decomposed themselves, latents keep directions down to about 1e-13. One
dimension that is 1e7 times as wide as the others suffices, or one item as far away.
"""

import math
import warnings

import torch
from torch import Tensor

from stitching.compute.linalg import singular
from stitching.maps.matrix import BLOCK, PANEL, Rows, blocks, centred

EPS = torch.finfo(torch.float64).eps


class LostDirectionsWarning(UserWarning):
    """The source varies along directions too narrow for float64 beside the widest one."""


def eigenvalue_tolerance(n_train: int, width: int, largest: float) -> float:
    """Return max(N, D_s, 64) * eps * largest: eigenvalues up to this are rounding.

    In terms of singular values a cut at 1e-7 (N = D_s = 64) to 2e-6 (12,288) of the largest.
    Null eigenvalues of deficient matrices were seen up to 3 * eps, and up to 20 * eps at
    N = 20,000; the 64 keeps tiny problems clear of them.
    """
    return max(n_train, width, 64) * EPS * largest


def unresolved(
    source: Rows, mean: Tensor, values: Tensor, vectors: Tensor, chunk: int | None
) -> bool:
    """Return whether latents vary outside the directions found, by more than rounding.

    The rest of a dimension, or of most items, must exceed the rounding error of the latents' own
    dtype. So dimensions that depend on others do not count, nor do constant ones.

    Args:
        source: Latents, shape (N, D_s).
        mean: Their column means, float64.
        values: Squared singular values, 0 where they count as rounding; shape (K,).
        vectors: Shape (K, K): right singular vectors, or left ones where K is not D_s (dual).
        chunk: Rows to read at a time, or None.
    """
    n, width = source.shape
    found = vectors[:, values > 0]
    if found.shape[1] >= min(n - 1, width):
        return False
    dual = len(values) != width
    # Sums of squares outside the directions, about the mean, and of the values.
    of_items, of_columns = mean.new_zeros(3, n), mean.new_zeros(3, width)
    for part in blocks(width, PANEL) if dual else blocks(n, chunk or BLOCK):
        rows, cols = (slice(None), part) if dual else (part, slice(None))
        x = source[rows][:, cols].double()
        about = x - mean[cols]
        reached = found @ (found.T @ about) if dual else (about @ found) @ found.T
        for k, each in enumerate((about - reached, about, x)):
            of_items[k, rows] += each.square().sum(1)
            of_columns[k, cols] += each.square().sum(0)
    own = (4 * torch.finfo(source.dtype).eps) ** 2
    least = _smallest_square(n, width, values)
    items, columns = (
        (rest > own * all_ + least) | ((rest > varies / 2) & (varies > own * all_))
        for rest, varies, all_ in (of_items, of_columns)
    )
    return bool(columns.any()) or int(items.sum()) > n // 2


def unsquared(source: Rows, mean: Tensor, chunk: int | None) -> tuple[Tensor, Tensor]:
    """Decompose centred latents without a Gram matrix: twice the digits, several times the time.

    Always in the primal form: in the dual one, coordinates of other latents are products of
    squares again, which lose narrow dimensions.

    Args:
        source: Latents, shape (N, D_s).
        mean: Their column means, float64.
        chunk: Rows to read at a time, or None.

    Returns:
        Squared singular values (D_s,), ascending, 0 where they are rounding; right singular
        vectors (D_s, D_s).

    Warns:
        LostDirectionsWarning: The latents vary in directions that are lost even so.
    """
    n, width = source.shape
    values, vectors = singular(centred(source[rows], mean) for rows in blocks(n, chunk or BLOCK))
    values[: max(0, width - (n - 1))] = 0
    values = torch.where(values > _smallest_square(n, width, values), values, 0.0)
    if unresolved(source, mean, values, vectors, chunk):
        warnings.warn(
            f"the source varies along more directions than the {int((values > 0).sum())} that "
            "float64 resolves beside the widest, and maps ignore the others: standardise the "
            "latents, or look at the model that encoded them",
            LostDirectionsWarning,
            stacklevel=3,
        )
    return values, vectors


def _smallest_square(n: int, width: int, values: Tensor) -> float:
    """Return the square up to which singular values, not squared before, are rounding."""
    return eigenvalue_tolerance(n, width, math.sqrt(float(values[-1]))) ** 2
