"""Batches of one fixed size, so that rounding does not depend on a caller's batches.

Libraries choose other kernels for other batch sizes, and these round differently in the last
bits. Over the steps of a flow or of a DDIM inversion that grows beyond 1e-5.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from stitching.compute.threads import one_thread_each


def in_fixed_batches(
    function: Callable[[Tensor], Tensor], x: Tensor, size: int, parallel: bool = False
) -> Tensor:
    """Apply a function to batches of exactly `size` rows.

    Args:
        function: Takes and returns tensors with one row per item, rows independent.
        x: Shape (N, ...).
        size: Rows per call; the last batch is filled up with its own last row.
        parallel: Call it from as many threads as torch may use, each computing with one, which
            is faster for small networks. The result does not depend on the number of threads.
            The function must be thread-safe and enter inference mode and autocast itself, as
            these hold for one thread only.

    Returns:
        The N results, in order.
    """
    parts = list(x.split(size))
    missing = size - len(parts[-1])
    if missing:
        last = parts[-1]
        parts[-1] = torch.cat([last, last[-1:].expand(missing, *last.shape[1:])])
    if not parallel:
        return torch.cat([function(part) for part in parts])[: len(x)]
    with one_thread_each() as pool:
        return torch.cat(list(pool.map(function, parts)))[: len(x)]


def images_per_call(batch_size: int, device: torch.device) -> int:
    """Return the number of images per call: `batch_size`, on the CPU enough for every thread."""
    if device.type != "cpu":
        return batch_size
    return max(batch_size, 64 * torch.get_num_threads())
