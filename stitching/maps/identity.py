"""The map that changes nothing."""

from collections.abc import Sequence
from math import prod
from typing import Self

import torch
from torch import Tensor

from stitching.maps.base import Map, checked_pair, dtype_carrier, require_equal_widths
from stitching.maps.factorisation import Factorisation
from stitching.maps.facts import measured_facts
from stitching.maps.matrix import Rows, lines


class Identity(Map):
    """No change at all: the latents themselves, for two spaces of one width.

    The yardstick for models that share a space by construction, such as two checkpoints of one.
    """

    name = "identity"

    def set_shapes(self, source: Sequence[int], target: Sequence[int]) -> None:
        """Check that the widths agree, see `Map.set_shapes`."""
        require_equal_widths(self.name, prod(source), prod(target))

    def fit(self, source: Rows, target: Rows, factorisation: Factorisation | None = None) -> Self:
        """Check that the widths agree and measure the training error, see `Map.fit`.

        Latents may be streamed: some rows are looked at at a time.
        """
        step = lines(source.shape[1]) if len(source.shape) == 2 else 1
        source, target = checked_pair(source, target, step)
        require_equal_widths(self.name, source.shape[1], target.shape[1])
        self._facts = measured_facts(self.name, lambda x: x, source, target)
        self._tensors = {"like": dtype_carrier(target)}
        return self

    def predict(self, source: Tensor) -> Tensor:
        """Return a copy of latents of shape (n, D), see `Map.predict`."""
        return self._checked_input(source).to(self._tensors["like"], copy=True)

    @property
    def weight(self) -> Tensor:
        """The identity matrix, shape (D, D), formed on demand."""
        self._require_fit()
        width = int(self._facts["d_source"] or 0)
        return torch.eye(width).to(self._tensors["like"])

    @property
    def bias(self) -> Tensor:
        """Zeros, shape (D,)."""
        self._require_fit()
        return self._tensors["like"].new_zeros(int(self._facts["d_source"] or 0))
