"""Linear probes: can an attribute be read off a latent by a straight cut?

One probe per attribute, trained on a model's own latents. Where the probe of the target model says
the same of a true and of a mapped latent, the map has kept the attribute
(`stitching.metrics.consistency`).
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stitching.maps import Factorisation, PenaltyEdgeWarning, Ridge, factorise, leave_one_out
from stitching.maps.matrix import Rows, checked_matrix

Labels = Mapping[str, NDArray[np.bool_]]


class Probes(ABC):
    """Classifiers of binary attributes, one each, on the latents of one model.

    An attribute that cannot be probed is left out of every result and has its reason in
    `missing`; it never becomes a number.

    Attributes:
        missing: Reason why an attribute has no probe, by attribute.
        counts: Training items with and without the attribute, by attribute that has a probe.
    """

    missing: dict[str, str]
    counts: dict[str, tuple[int, int]]

    @property
    def attributes(self) -> tuple[str, ...]:
        """Attributes that have a probe."""
        return tuple(self.counts)

    @abstractmethod
    def fit(
        self, latents: Rows, labels: Labels, factorisation: Factorisation | None = None
    ) -> Self:
        """Train on the training split.

        Args:
            latents: Shape (N, D), any float dtype. Not modified. What is no tensor is streamed,
                with a factorisation that was.
            labels: Shape (N,) and bool, by attribute, as `ImageSet.attributes` holds them; all
                that the data set has. Attributes to probe that are not among them go to
                `missing`, others are ignored.
            factorisation: Of these latents, if at hand.

        Raises:
            TypeError: Labels are not bool (-1 and 0 both mean "no" somewhere), or latents not
                floating point.
            ValueError: Lengths differ, or latents are not finite.
        """

    @abstractmethod
    def scores(self, latents: Tensor) -> dict[str, NDArray[np.float64]]:
        """Return how clearly each item has each attribute, > 0 for yes; shapes (n,).

        Raises:
            ValueError: Not fitted, another width, or latents that are not finite.
        """

    def predict(self, latents: Tensor) -> dict[str, NDArray[np.bool_]]:
        """Return whether each item has each attribute, shapes (n,); raises as `scores`."""
        return {name: score > 0 for name, score in self.scores(latents).items()}


class LinearProbes(Probes):
    """Ridge-regularised Fisher discriminants, all from one factorisation of the latents.

    Each attribute is a ridge regression on labels -1 and +1 with a penalty of its own, chosen by
    generalised cross-validation. Its direction is that of Fisher's linear discriminant with alpha
    added to the total scatter, whatever the share of positives; least squares' own threshold is
    not, and would say "no" to everybody when positives are rare. The threshold is therefore put
    midway between the mean scores of the two classes, where each training item is scored by the
    regression fitted on all the others (in closed form): with D > N the regression's scores on its
    own training items are no guide at all.

    The paper used Lasso on labels 0 and 1, rounded, with a penalty picked by hand per model and
    classes balanced by dropping items.

    Attributes:
        alphas: Penalty chosen, by attribute.
        thresholds: Score, before the shift to 0, above which the answer is yes, by attribute.

    Source: Hastie, Buja and Tibshirani (1995), doi:10.1214/aos/1176324456
    """

    def __init__(self, attributes: Sequence[str], min_per_class: int) -> None:
        """Describe the probes.

        Args:
            attributes: Names of the attributes to probe.
            min_per_class: Fewest training items with, and without, an attribute, >= 2: each class
                needs a mean when one of its items is left out.

        Raises:
            ValueError: No or repeated attributes, or `min_per_class` too small.
        """
        attributes = tuple(attributes)
        if not attributes or len(set(attributes)) < len(attributes):
            raise ValueError(
                "probe.attributes must be at least one name, each once, got "
                f"{list(attributes)}: use probe=none to leave probes out"
            )
        if min_per_class < 2:
            raise ValueError(f"probe.min_per_class must be >= 2, got {min_per_class}")
        self.wanted = attributes
        self.min_per_class = min_per_class
        self.missing = {}
        self.counts = {}
        self.alphas: dict[str, float] = {}
        self.thresholds: dict[str, float] = {}
        self._ridge: Ridge | None = None

    def fit(
        self, latents: Rows, labels: Labels, factorisation: Factorisation | None = None
    ) -> Self:
        """Train on the training split, see `Probes.fit`.

        Warns:
            PenaltyEdgeWarning: Names the attributes whose best penalty is an end of the grid.
        """
        chunk = factorisation.chunk if factorisation is not None else None
        latents = checked_matrix("latents", latents, chunk)
        missing: dict[str, str] = {}
        counts: dict[str, tuple[int, int]] = {}
        columns: list[NDArray[np.bool_]] = []
        for name in self.wanted:
            if name not in labels:
                missing[name] = "data set has no such attribute"
                continue
            values = checked_labels(name, labels[name], latents.shape[0])
            n_yes = int(values.sum())
            n_no = len(values) - n_yes
            if min(n_yes, n_no) < self.min_per_class:
                missing[name] = (
                    f"training split has {n_yes} items with and {n_no} without it, at least "
                    f"{self.min_per_class} of each are needed"
                )
                continue
            counts[name] = (n_yes, n_no)
            columns.append(values)
        self.missing, self.counts = missing, counts
        self._ridge, self.alphas, self.thresholds = None, {}, {}
        if columns:
            self._train(latents, np.stack(columns, 1), factorisation or factorise(latents))
        return self

    def scores(self, latents: Tensor) -> dict[str, NDArray[np.float64]]:
        """Return the regression's output less the threshold, see `Probes.scores`."""
        latents = checked_matrix("latents", latents)
        if self._ridge is not None:
            outputs = self._ridge.predict(latents).cpu().numpy()
            columns = enumerate(self.attributes)
            return {name: outputs[:, k] - self.thresholds[name] for k, name in columns}
        if not self.missing:
            raise ValueError("the probes are not fitted: call fit first")
        return {}

    def _train(
        self, latents: Rows, labels: NDArray[np.bool_], factorisation: Factorisation
    ) -> None:
        signs = torch.from_numpy(np.where(labels, 1.0, -1.0)).to(latents.device)
        ridge = Ridge(alpha_per_target=True, chunk=factorisation.chunk)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PenaltyEdgeWarning)  # given below, by attribute
            ridge.fit(latents, signs, factorisation)
        held_out = leave_one_out(factorisation, latents, signs, ridge.alpha_).cpu().numpy()
        for k, name in enumerate(self.attributes):
            yes, score = labels[:, k], held_out[:, k]
            self.thresholds[name] = float((score[yes].mean() + score[~yes].mean()) / 2)
            self.alphas[name] = float(ridge.alpha_[k])
        self._ridge = ridge
        assert ridge.edges_ is not None  # the penalty was chosen, not fixed
        _warn_edges(dict(zip(self.attributes, ridge.edges_.tolist(), strict=True)))


def checked_labels(name: str, values: NDArray[np.bool_], length: int) -> NDArray[np.bool_]:
    """Return the labels of one attribute, once they are known to be bool and of this length.

    Raises:
        TypeError: Not bool.
        ValueError: Not of shape (length,).
    """
    values = np.asarray(values)
    if values.dtype != np.bool_:
        raise TypeError(
            f"labels of {name} must be bool, got {values.dtype}: compare them with the value that "
            "means yes, such as `labels == 1`"
        )
    if values.shape != (length,):
        raise ValueError(
            f"labels of {name} have shape {values.shape} but there are {length} latents: take "
            "both from the same split"
        )
    return values


def _warn_edges(edges: Mapping[str, int]) -> None:
    """Name the attributes whose penalty is the lower (-1) or upper (1) end of its grid."""
    names = {-1: "lower", 1: "upper"}
    found = [f"{attribute} ({names[edge]})" for attribute, edge in edges.items() if edge]
    if found:
        warnings.warn(
            f"probe penalty at an edge of its grid: {', '.join(found)}. At the lower edge the "
            "latents give the attribute away exactly; at the upper edge they tell next to "
            "nothing of it",
            PenaltyEdgeWarning,
            stacklevel=4,
        )
