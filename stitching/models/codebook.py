"""Nearest codebook vectors, for models with a codebook.

A base class, because keys of cached latents contain the source files of a model's classes.
"""

from abc import abstractmethod

import torch
from torch import Tensor

from stitching.models.base import GenerativeModel

#: Vectors compared with the codebook at a time: work arrays of 8 MiB for 4096 codes.
_VECTORS_PER_PASS = 256


class Codebook(GenerativeModel):
    """A model that projects latents to the nearest rows of a table."""

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

    def diagnostics(self, true: Tensor, mapped: Tensor) -> dict[str, float | int]:
        """Return the share of codes changed by a map and the number of distinct codes."""
        grids = [z.to(self.device).unflatten(1, self.latent_shape) for z in (true, mapped)]
        codes = [self.quantize(self._from_unit_scale(grid))[1] for grid in grids]
        return {
            "latent/codes_changed": float((codes[0] != codes[1]).double().mean()),
            "latent/codes_used_true": int(codes[0].unique().numel()),
            "latent/codes_used_mapped": int(codes[1].unique().numel()),
        }

    def _from_unit_scale(self, z: Tensor) -> Tensor:
        """Latents to the scale of the table."""
        return z


def _nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    """(P, C) to the (P,) numbers of the nearest rows of (K, C), exactly and ties to the first."""
    # Two work arrays for all passes: allocating them costs more than the arithmetic.
    distance = vectors.new_empty(min(_VECTORS_PER_PASS, len(vectors)), len(codebook))
    term = torch.empty_like(distance)
    index = []
    for part in vectors.split(_VECTORS_PER_PASS):
        sums, terms = distance[: len(part)].zero_(), term[: len(part)]
        # Channel by channel: without the cancellation of the expanded square, and independent of
        # the batch.
        for value, code in zip(part.unbind(-1), codebook.unbind(-1), strict=True):
            sums += torch.sub(value[:, None], code, out=terms).square_()
        index.append(sums.argmin(1))
    return torch.cat(index)
