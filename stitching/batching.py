"""Batches of one fixed size, so that rounding does not depend on how a caller batches.

Libraries choose other kernels for other batch sizes, and these round differently in the last
bits. Over the steps of a flow or of a DDIM inversion that grows beyond 1e-5.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def in_fixed_batches(function: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
    """Apply a function to batches of exactly `size` rows.

    Args:
        function: Takes and returns tensors with one row per item, rows independent.
        x: Shape (N, ...).
        size: Rows per call; the last batch is filled up with its own last row.

    Returns:
        The N results, in order.
    """
    parts = []
    for part in x.split(size):
        missing = size - len(part)
        if missing:
            part = torch.cat([part, part[-1:].expand(missing, *part.shape[1:])])
        parts.append(function(part))
    return torch.cat(parts)[: len(x)]
