"""A fitted probe: a weight per latent dimension and a bias, with the facts of its fit."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stitching.maps.matrix import blocks, checked_matrix, lines

#: Facts of a fit by name.
Facts = dict[str, float | int | str]


@dataclass(frozen=True, eq=False)
class FittedProbe:
    """A linear function of raw latents.

    Attributes:
        weight: Shape (D,), or (C, D) with a row for each of C classes; float64, in score per
            unit of the raw latent.
        bias: Shape () or (C,), float64: the score of the zero latent.
        facts: Facts of the fit, as each kind of `Probes` lists them.
        classes: Labels of the rows of `weight`, ascending; empty for other probes.
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    facts: Facts
    classes: tuple[int, ...] = ()

    def scores(self, latents: Tensor) -> NDArray[np.float64]:
        """Return the score of each item: > 0 for yes, or the prediction of a factor.

        Summed in float64, each item by itself: to the bit the same in any batch.

        Args:
            latents: Shape (n, D), any float dtype, on any device.

        Returns:
            Shape (n,), or (n, C) with a column for each class.

        Raises:
            TypeError: Latents are not floating point.
            ValueError: Another width than the probe's, or latents that are not finite.
        """
        latents = checked_matrix("latents", latents)
        n, width = latents.shape
        if width != self.weight.shape[-1]:
            raise ValueError(
                f"latents have width {width} but the probe was fitted on width "
                f"{self.weight.shape[-1]}: take the probe of the model that the latents are of"
            )
        out = np.empty((n, *self.bias.shape))
        for rows in blocks(n, lines(width)):
            part = latents[rows].double().cpu().numpy()
            # Sums along rows: a matrix product may round differently with the number of rows.
            sums = [(part * weight).sum(1) for weight in np.atleast_2d(self.weight)]
            out[rows] = np.stack(sums, 1).reshape(out[rows].shape)
        return out + self.bias

    def predict(self, latents: Tensor) -> NDArray[Any]:
        """Return the prediction for each item, shape (n,): bool, or the label of a class.

        Arguments and errors as those of `scores`. Of classes with equal scores the first.
        """
        scores = self.scores(latents)
        return np.array(self.classes)[scores.argmax(1)] if self.classes else scores > 0

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the state as named tensors, for a cache on disk."""
        facts = json.dumps(dict(self.facts), allow_nan=False).encode("ascii")
        return {
            "weight": torch.from_numpy(self.weight),
            "bias": torch.as_tensor(self.bias),
            "classes": torch.tensor(self.classes, dtype=torch.int64),
            "facts": torch.tensor(list(facts), dtype=torch.uint8),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild from the tensors of `to_tensors`, equal to the bit; others are ignored.

        Raises:
            ValueError: A tensor is missing.
        """
        missing = {"weight", "bias", "classes", "facts"} - tensors.keys()
        if missing:
            raise ValueError(f"stored probe lacks {sorted(missing)}: delete and redo it")
        return cls(
            tensors["weight"].numpy(),
            tensors["bias"].numpy(),
            json.loads(bytes(tensors["facts"].tolist())),
            tuple(tensors["classes"].tolist()),
        )
