"""Items with values that are not finite: finding them, leaving them out, and the message."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from stitching.maps.matrix import Rows

#: Rows read at a time where they are not in memory.
_BLOCK = 100

#: Ids that a message names.
_SHOWN = 10


def finite_rows(values: Rows) -> Tensor:
    """Return which rows of (N, ...) have finite values only, (N,) bool."""
    n = values.shape[0]
    whole = isinstance(values, Tensor)
    found, step = torch.ones(n, dtype=torch.bool), n if whole else _BLOCK
    for start in range(0, n, step):
        part = values[start : start + step]
        if not bool(part.sum().isfinite()):  # one fast pass clears the usual case
            found[start : start + len(part)] = part.flatten(1).isfinite().all(1)
    return found


def where_finite(function: Callable[[Tensor], Tensor], rows: Tensor, what: str) -> Tensor:
    """Apply a function to the finite rows; rows of the result that belong to others are NaN.

    Args:
        function: Takes and returns tensors with one row per item.
        rows: Shape (N, ...).
        what: Name of the rows, for the message.

    Raises:
        ValueError: No row is finite.
    """
    good = finite_rows(rows)
    if bool(good.all()):
        return function(rows)
    if not bool(good.any()):
        raise ValueError(
            f"{what} have values that are not finite for all {len(rows)} images: "
            "protocol.invalid=exclude leaves nothing to measure"
        )
    found = function(rows[good])
    out = found.new_full((len(rows), *found.shape[1:]), float("nan"))
    out[good] = found
    return out


def model_remedy(dtype: str) -> str:
    """Return the remedy for a model that returns such values in this dtype."""
    weights = "look at the model's weights and the value_range it expects"
    precise = dtype == "float32"
    return weights if precise else f"try dtype=float32 in place of {dtype}, or {weights}"


def require_finite(values: Rows, ids: Sequence[str], what: str, remedy: str) -> None:
    """Check that every item is finite.

    Args:
        values: Shape (N, ...).
        ids: Of the items.
        what: Subject of the message.
        remedy: Next step, for the message.

    Raises:
        ValueError: Some are not; the message counts them, and names up to ten.
    """
    bad = (~finite_rows(values)).nonzero().flatten().tolist()
    if bad:
        shown = ", ".join(ids[i] for i in bad[:_SHOWN])
        more = "" if len(bad) <= _SHOWN else f" and {len(bad) - _SHOWN} more"
        raise ValueError(
            f"{what} with values that are not finite for {len(bad)} of {len(ids)} images (ids "
            f"{shown}{more}): {remedy}, or leave such images out with protocol.invalid=exclude"
        )
