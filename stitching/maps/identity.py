"""The map that changes nothing."""

from typing import Self

import torch
from torch import Tensor

from stitching.maps.base import AffineMap, dtype_carrier
from stitching.maps.factorisation import Factorisation
from stitching.maps.facts import measured_facts
from stitching.maps.matrix import Rows, lines


class Identity(AffineMap):
    """No change at all: the latents themselves, for two spaces of one width.

    The reference for models that share a space by construction, such as two checkpoints of one.
    """

    name = "identity"
    equal_widths = True

    def fit(self, source: Rows, target: Rows, factorisation: Factorisation | None = None) -> Self:
        """Measure the training error, see `Map.fit`; latents may be streamed."""
        step = lines(source.shape[1]) if len(source.shape) == 2 else 1
        source, target = self._checked_pair(source, target, step)
        self._facts = measured_facts(self.name, lambda x: x, source, target)
        self._tensors = {"like": dtype_carrier(target)}
        return self

    @property
    def weight(self) -> Tensor:
        """The identity matrix, shape (D, D), formed on demand."""
        self._require_fit()
        return torch.eye(self._width("d_source")).to(self._tensors["like"])

    def _predict_rows(self, source: Tensor) -> Tensor:
        return source.to(self._tensors["like"])
