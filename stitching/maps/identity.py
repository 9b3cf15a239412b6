"""The map that changes nothing."""

import torch
from torch import Tensor

from stitching.maps.base import AffineMap, dtype_carrier
from stitching.maps.factorisation import Factorisation
from stitching.maps.facts import measured_facts
from stitching.maps.matrix import BLOCK, Rows


class Identity(AffineMap):
    """No change at all: the latents themselves, for two spaces of one width.

    `fit` measures the training error; its latents may be read by rows. The reference for models
    that share a space by construction, such as two checkpoints of one.
    """

    name = "identity"
    equal_widths = True
    _chunk = BLOCK

    def _fit(self, source: Rows, target: Rows, factorisation: Factorisation | None) -> None:
        self._tensors = {"like": dtype_carrier(target)}
        self._facts = measured_facts(self.name, lambda x: x, source, target)

    @property
    def weight(self) -> Tensor:
        """The identity matrix, shape (D, D), formed on demand."""
        self._require_fit()
        return torch.eye(self._width("d_source")).to(self._tensors["like"])

    def _predict_rows(self, source: Tensor) -> Tensor:
        return source.to(self._tensors["like"])
