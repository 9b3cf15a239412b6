"""The map that changes nothing."""

from collections.abc import Sequence
from math import prod
from typing import Self

import torch
from torch import Tensor

from stitching.maps.base import Map, checked_pair, dtype_carrier, require_equal_widths
from stitching.maps.factorisation import Factorisation
from stitching.maps.matrix import Rows, blocks, centred, column_mean, lines


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
        (n, width), d_target = source.shape, target.shape[1]
        require_equal_widths(self.name, width, d_target)
        mean = column_mean(target)
        rss = sum_of_squares = 0.0
        for rows in blocks(n, step):
            truth = target[rows]
            rss += float((source[rows].double() - truth.double()).square().sum())
            sum_of_squares += float(centred(truth, mean).square().sum())
        self._facts = {
            "map": self.name,
            "alpha": None,
            "selection": None,
            "dof": None,
            "rank": None,
            "condition": None,
            "n_train": n,
            "d_source": width,
            "d_target": width,
            "train_r2": 1 - rss / sum_of_squares if sum_of_squares > 0 else None,
            "train_mse": rss / (n * width),
            "cv_mse": None,
            "interpolates": 0,
            "at_edge": None,
        }
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
