"""Nearest codebook vectors, for every model that has a codebook.

A class to inherit from, not functions to import: the key of cached latents covers the source of a
model's classes, and so covers this file.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

#: Vectors compared with the codebook at a time: a 16 x 16 grid. The work arrays then take 8 MiB
#: for 4096 codes, however large the grid.
_VECTORS_PER_PASS = 256


class Codebook(ABC):
    """Projection of latents to the nearest rows of a table."""

    @property
    @abstractmethod
    def codebook(self) -> Tensor:
        """The vectors, shape (K, C)."""

    def quantize(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Project to the nearest codebook vectors.

        Args:
            z: Shape (N, C, h, w).

        Returns:
            The vectors, shape (N, C, h, w), and their numbers, shape (N, h, w).
        """
        # Outside autocast: the choice among near neighbours must not depend on precision.
        codebook = self.codebook.detach()
        flat = z.detach().to(codebook.dtype).movedim(1, -1)
        index = _nearest(flat.flatten(0, -2), codebook).view(flat.shape[:-1])
        return codebook[index].movedim(-1, 1), index

    def code_figures(self, true: Tensor, mapped: Tensor) -> dict[str, float | int]:
        """Return the share of codes changed by a map and the number of distinct codes.

        Args:
            true: The model's own latents, shape (N, C, h, w).
            mapped: What a map made of another model's latents, the same shape.
        """
        codes = [self.quantize(z)[1] for z in (true, mapped)]
        return {
            "latent/codes_changed": float((codes[0] != codes[1]).double().mean()),
            "latent/codes_used_true": int(codes[0].unique().numel()),
            "latent/codes_used_mapped": int(codes[1].unique().numel()),
        }


def _nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    """(P, C) to the (P,) numbers of the nearest rows of (K, C), exactly and ties to the first."""
    # Two work arrays for all passes: fresh ones of this size cost more than the arithmetic.
    distance = vectors.new_empty(min(_VECTORS_PER_PASS, len(vectors)), len(codebook))
    term = torch.empty_like(distance)
    index = []
    for part in vectors.split(_VECTORS_PER_PASS):
        sums, terms = distance[: len(part)].zero_(), term[: len(part)]
        # Channel by channel, without the cancellation of the expanded square; every pair on its
        # own, so that the choice does not depend on the batch.
        for value, code in zip(part.unbind(-1), codebook.unbind(-1), strict=True):
            sums += torch.sub(value[:, None], code, out=terms).square_()
        index.append(sums.argmin(1))
    return torch.cat(index)
