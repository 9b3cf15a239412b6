"""Probes of binary attributes."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stitching.compute.attributes import PAPER
from stitching.maps.base import require_at_least
from stitching.probes.base import CrossValidatedProbes, Probes
from stitching.probes.fitted import Facts
from stitching.probes.labels import checked_labels
from stitching.records.words import nearest

#: `auto` takes at most so many: as many as CelebA has.
AUTO_AT_MOST = 40


class AttributeProbes(Probes):
    """Probes of binary attributes, whose scores are > 0 for yes.

    Further facts, see `Probes`: `n_yes` and `n_no`, items fitted on with and without it.

    Args:
        attributes: Names of the attributes to probe, None for all that the data set has. "auto":
            the paper's ten where the data set has all of them, else the first 40 that it has.
        min_per_class: Fewest fit items with, and without, an attribute, at least 2: each class
            needs items when a part is held out.

    The other arguments are those of `Probes`.

    Raises:
        ValueError: No or repeated attributes, or a number outside its range.
    """

    attributes: tuple[str, ...] | str | None

    def __init__(
        self,
        attributes: Sequence[str] | str | None = None,
        min_per_class: int = 5,
        alpha: float | None = None,
        standardise: bool = True,
        max_items: int = 10_000,
    ) -> None:
        super().__init__(alpha, standardise, max_items)
        if isinstance(attributes, str) and attributes != "auto":
            raise ValueError(
                f"probe.attributes={attributes}: use a list such as [{attributes}], auto, or null "
                "for all"
            )
        if attributes is not None and not 0 < len(set(attributes)) == len(attributes):
            raise ValueError(
                "probe.attributes must be at least one name, each once, auto, or null for all, "
                f"got {list(attributes)}: use probe=none to leave probes out"
            )
        require_at_least("probe", 2, min_per_class=min_per_class)
        if attributes is not None and not isinstance(attributes, str):
            attributes = tuple(attributes)
        self.attributes = attributes
        self.min_per_class = min_per_class

    def selected(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return which attributes of a data set are probed, in their order.

        Raises:
            ValueError: A requested attribute is not in the data.
        """
        there = tuple(names)
        if self.attributes is None:
            return there
        if isinstance(self.attributes, str):
            return PAPER if set(PAPER) <= set(there) else there[:AUTO_AT_MOST]
        for name in self.attributes:
            if name not in there:
                known = f"there are {', '.join(there)}" if there else "they have none"
                raise ValueError(
                    f"probe.attributes: the data have no binary attribute {name}"
                    f"{nearest(name, there)}; {known}. Use probe.attributes=auto for those of the "
                    "data"
                )
        return self.attributes

    def selection(self, names: Iterable[str]) -> str:
        """Return how the probed attributes were selected, and their number, for results."""
        there = tuple(names)
        n = len(self.selected(there))
        if isinstance(self.attributes, tuple):
            return f"{n} asked for"
        if n == len(there) or not n:
            return f"all {n} of the data" if n else "none: the data have no binary attributes"
        if set(PAPER) <= set(there):
            return f"the paper's ten, of {len(there)} of the data"
        return f"the first {n} of {len(there)} of the data"

    def _checked(self, name: str, values: NDArray[Any], length: int) -> NDArray[np.bool_]:
        return checked_labels(name, values, length)

    def _lack(self, values: NDArray[Any]) -> str | None:
        n_yes = int(values.sum())
        if min(n_yes, len(values) - n_yes) >= self.min_per_class:
            return None
        return (
            f"training split has {n_yes} items with and {len(values) - n_yes} without it, at "
            f"least {self.min_per_class} of each are needed"
        )

    def _counts(self, values: NDArray[np.bool_]) -> Facts:
        n_yes = int(values.sum())
        return {"n_yes": n_yes, "n_no": len(values) - n_yes}


class CrossValidatedAttributeProbes(AttributeProbes, CrossValidatedProbes):
    """Probes of binary attributes whose penalty is chosen on held-out folds."""

    def __init__(
        self,
        attributes: Sequence[str] | str | None = None,
        min_per_class: int = 5,
        alpha: float | None = None,
        n_alphas: int = 8,
        n_folds: int = 5,
        seed: int = 0,
        max_iter: int = 1000,
        standardise: bool = True,
        max_items: int = 10_000,
    ) -> None:
        super().__init__(attributes, min_per_class, alpha, standardise, max_items)
        self._set_search(n_alphas, n_folds, seed, max_iter)
