"""Matrices of latents, in memory or read by rows: checks, means, Gram matrices in float64."""

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor

#: Rows or columns of a matrix product in float64 at a time: 200 MB for 12,288 columns.
BLOCK = 2048

#: Columns of a matrix product in float32 at a time: a multiple of the width of its kernels.
PANEL = 1024

#: Values that other passes convert to float64 at a time: 4 MB, which fits a cache.
_VALUES = 2**19


@runtime_checkable
class Rows(Protocol):
    """A matrix in memory (a tensor), or one that reads slices of rows from files."""

    @property
    def shape(self) -> torch.Size:
        """Rows and columns."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of the values."""

    @property
    def device(self) -> torch.device:
        """Device of the slices."""

    def __getitem__(self, rows: slice, /) -> Tensor:
        """Return a slice of rows."""


Matrix = TypeVar("Matrix", bound=Rows)


def blocks(size: int, step: int = BLOCK) -> Iterator[slice]:
    """Yield range(size) as slices of at most `step`."""
    return (slice(start, min(start + step, size)) for start in range(0, size, step))


def lines(length: int, chunk: int | None = None) -> int:
    """Return the number of rows (or columns) of `length` values to process at a time."""
    return chunk or max(1, _VALUES // max(1, length))


def checked_matrix(name: str, x: Matrix, chunk: int | None = None) -> Matrix:
    """Check that x is a finite floating-point matrix with columns, and return it detached.

    Raises:
        TypeError: Not floating point.
        ValueError: Not a matrix, no columns, or values that are not finite.
    """
    if not x.dtype.is_floating_point:
        raise TypeError(f"{name} must be floating point, got {x.dtype}: convert it with .float()")
    if len(x.shape) != 2 or x.shape[1] == 0:
        raise ValueError(
            f"{name} must have shape (rows, columns) with at least one column, got "
            f"{tuple(x.shape)}: flatten latents to one row per image"
        )
    bad: list[int] = []
    for rows in blocks(x.shape[0], lines(x.shape[1], chunk)):
        part = x[rows]
        # A finite sum, the usual case, clears a block in one fast pass.
        if not bool(torch.isfinite(part.sum())):
            finite = torch.isfinite(part).all(1)
            bad += [rows.start + int(i) for i in (~finite).nonzero().flatten()]
    if bad:
        shown = ", ".join(map(str, bad[:10])) + (", ..." if len(bad) > 10 else "")
        raise ValueError(
            f"{name} has values that are not finite in {len(bad)} of {x.shape[0]} rows "
            f"(rows {shown}): look at these images and at the model that encoded them"
        )
    if isinstance(x, Tensor) and x.requires_grad:
        return cast(Matrix, x.detach())
    return x


def column_mean(x: Rows, chunk: int | None = None) -> Tensor:
    """Return the float64 column means of `column_moments`."""
    return column_moments(x, chunk)[0]


def column_moments(x: Rows, chunk: int | None = None) -> tuple[Tensor, Tensor]:
    """Return float64 column means, and sums of squares about them, in one pass.

    Computed about the first row, so that a constant column centres to exactly 0 and a large mean
    costs no digits. The squares lose at most a factor N of precision: the first row is at most
    sqrt(N) standard deviations from the mean.
    """
    first = x[:1][0].to(torch.float64)
    total, squares = torch.zeros_like(first), torch.zeros_like(first)
    for rows in blocks(x.shape[0], lines(x.shape[1], chunk)):
        part = centred(x[rows], first)
        total += part.sum(0)
        squares += part.square_().sum(0)
    shift = total / x.shape[0]
    return first + shift, (squares - total * shift).clamp_(min=0)


def centred(x: Tensor, mean: Tensor) -> Tensor:
    """Return x - mean in float64, stored by rows, with one array of that size."""
    return torch.empty(x.shape, dtype=torch.float64, device=x.device).copy_(x).sub_(mean)


class Memo:
    """The last result of a function of a tensor, kept with a copy of that tensor."""

    def __init__(self) -> None:
        self._of: Tensor | None = None
        self._value: Tensor | None = None

    def get(self, x: Tensor, compute: Callable[[], Tensor]) -> Tensor:
        """Return the value for x, computed only where x differs from the last one."""
        if self._value is None or not same_values(self._of, x):
            self._value, self._of = compute(), x.clone()
        return self._value


def same_values(kept: Tensor | None, x: Tensor) -> bool:
    """Return whether x equals a kept tensor to the bit, in dtype and in device."""
    return (
        kept is not None
        and kept.dtype == x.dtype
        and kept.device == x.device
        and torch.equal(kept, x)
    )


def working_dtype(x: Rows) -> torch.dtype:
    """Return the dtype of products and predictions with x: its own, float32 at least."""
    return torch.promote_types(x.dtype, torch.float32)
