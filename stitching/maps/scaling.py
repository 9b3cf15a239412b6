"""Sources with dimensions of very different widths, beside which a Gram matrix has no digits left.

A Gram matrix squares the values: a dimension 1e-7 times as wide as the widest one is 1e-14 of it
there, which is rounding. Decomposed themselves, latents keep dimensions down to about 1e-13.
"""

import math
import warnings

import torch
from torch import Tensor

from stitching.linalg import singular
from stitching.maps.matrix import BLOCK, Rows, blocks, centred

EPS = torch.finfo(torch.float64).eps


class LostDimensionsWarning(UserWarning):
    """Source dimensions vary, but by less than float64 resolves beside the widest one."""


def eigenvalue_tolerance(n_train: int, width: int, largest: float) -> float:
    """Return max(N, D_s, 64) * eps * largest: eigenvalues up to this are rounding.

    In terms of singular values a cut at 1e-7 (N = D_s = 64) to 2e-6 (12,288) of the largest.
    Null eigenvalues of deficient matrices were seen up to 3 * eps, and up to 20 * eps at
    N = 20,000; the 64 keeps tiny problems clear of them.
    """
    return max(n_train, width, 64) * EPS * largest


def unresolved(source: Rows, mean: Tensor, squares: Tensor, floor: float) -> Tensor:
    """Return which dimensions vary, but within what counts as rounding, (D_s,) bool.

    Args:
        source: Latents, shape (N, D_s).
        mean: Their column means, float64.
        squares: Sums of squares about these.
        floor: Squares up to which directions count as rounding.
    """
    # A dimension varies if it does so by more than its own values are rounded by.
    rounding = (4 * torch.finfo(source.dtype).eps * mean).square() * source.shape[0]
    return (squares > rounding) & (squares <= floor)


def unsquared(
    source: Rows, mean: Tensor, squares: Tensor, chunk: int | None
) -> tuple[Tensor, Tensor, float]:
    """Decompose centred latents without a Gram matrix: twice the digits, several times the time.

    Always in the primal form: in the dual one, coordinates of other latents are products of
    squares again, in which narrow dimensions drown.

    Args:
        source: As for `unresolved`, like `mean` and `squares`.
        mean: See there.
        squares: See there.
        chunk: Rows to read at a time, or None.

    Returns:
        Squared singular values (D_s,), ascending; right singular vectors (D_s, D_s); and the
        square up to which they are rounding.

    Warns:
        LostDimensionsWarning: Some dimensions are rounding even so.
    """
    n, width = source.shape
    values, vectors = singular(centred(source[rows], mean) for rows in blocks(n, chunk or BLOCK))
    values[: max(0, width - (n - 1))] = 0
    floor = eigenvalue_tolerance(n, width, math.sqrt(float(values[-1]))) ** 2
    lost = int(unresolved(source, mean, squares, floor).sum())
    if lost:
        warnings.warn(
            f"{lost} of {width} source dimensions vary so much less than the widest that no map "
            "can tell them from rounding: standardise the latents, or look at the model that "
            "encoded them",
            LostDimensionsWarning,
            stacklevel=3,
        )
    return values, vectors, floor
