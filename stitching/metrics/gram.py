"""Centred columns and Gram matrices of latents, for spaces of any width.

Widths differ from model to model (512 or 12,288) but the items are the same few thousand, so
comparisons of two spaces, and resamples of one, use n x n matrices.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

#: Elements converted to float64 at once (4 MiB: temporaries stay in the processor's cache).
_ELEMENTS = 2**19


def column_blocks(z: Tensor) -> Iterator[Tensor]:
    """Yield latents (n, D) on the CPU in float64 by blocks of columns."""
    for block in torch.split(z.detach().cpu(), max(1, _ELEMENTS // max(1, len(z))), dim=1):
        yield block.double()


def centred(block: Tensor, about: Tensor) -> Tensor:
    """Subtract from each column of `block` the mean of that column of `about`.

    Both relative to the first item of `about`: a constant column becomes exactly 0, not rounding
    noise, and a large common offset costs no digits.
    """
    first = about[:1]
    return (block - first) - (about - first).mean(dim=0)


def gram_matrix(z: Tensor) -> Tensor:
    """Return the inner products of centred latents (n, D), shape (n, n), float64.

    Exactly 0 where all items are equal.
    """
    total = torch.zeros(len(z), len(z), dtype=torch.float64)
    for block in column_blocks(z):
        part = centred(block, block)
        total.addmm_(part, part.T)
    return total
