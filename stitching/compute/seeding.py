"""Noise that depends on a seed and an item, not on the order of calls; repeatable numerics."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor


def item_noise(seed: int, items: Iterable[int], shape: Sequence[int]) -> Tensor:
    """Return standard normal noise, one block per item.

    Args:
        seed: Seed, at least 0.
        items: Numbers of the items, at least 0 and below 2^64.
        shape: Shape of one block.

    Returns:
        Shape (N, *shape), float32; block i depends on (seed, items[i]) alone.
    """
    blocks = [
        np.random.Generator(np.random.Philox(key=[seed, item])).standard_normal(
            tuple(shape), dtype=np.float32
        )
        for item in items
    ]
    return torch.from_numpy(np.stack(blocks)) if blocks else torch.empty(0, *shape)


def derangement(n: int, seed: int) -> Tensor:
    """Return a random order of n items in which no item has its own place, shape (n,), int64.

    It is one cycle through all items, each such cycle equally likely; it depends on n and seed.

    Raises:
        ValueError: n < 2, which has no such order.

    Source: cyclic permutations, Sattolo (1986), doi:10.1016/0020-0190(86)90073-6
    """
    if n < 2:
        raise ValueError(f"an order without items in their own places needs 2 items, got {n}")
    cycle = np.random.Generator(np.random.PCG64(seed)).permutation(n)
    order = np.empty(n, np.int64)
    order[cycle] = np.roll(cycle, -1)
    return torch.from_numpy(order)


def set_numerics(seed: int) -> None:
    """Make torch repeatable and exact: seeded, deterministic algorithms, no TF32 on CUDA.

    The pipeline itself draws nothing from global generators; the seed covers third-party code.
    """
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Nothing here reads memory that it has not written, and some dtypes cannot be filled.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
