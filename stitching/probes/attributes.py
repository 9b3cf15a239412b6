"""Probes of binary attributes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stitching.probes.base import Probes, checked_at_least
from stitching.probes.coordinates import Coordinates
from stitching.probes.labels import checked_labels


class AttributeProbes(Probes):
    """Probes of binary attributes, whose scores are > 0 for yes.

    Facts of every probe are `kind`, `alpha` (the penalty), `n`, `n_yes` and `n_no` (items fitted
    on), `n_constant` (dimensions that do not vary), `converged` (1 or 0), and where the penalty
    was chosen `edge` (-1 or 1 at the lower or upper end of its grid, else 0).

    Args:
        attributes: Names of the attributes to probe, None for all that the data set has.
        min_per_class: Fewest fit items with, and without, an attribute, at least 2: each class
            needs items when a part is held out.
        standardise: See `Probes`.
        max_items: See `Probes`.

    Raises:
        ValueError: No or repeated attributes, or a number outside its range.
    """

    def __init__(
        self,
        attributes: Sequence[str] | None = None,
        min_per_class: int = 5,
        standardise: bool = True,
        max_items: int = 10_000,
    ) -> None:
        super().__init__(standardise, max_items)
        if attributes is not None and not 0 < len(set(attributes)) == len(attributes):
            raise ValueError(
                "probe.attributes must be at least one name, each once, or null for all, got "
                f"{list(attributes)}: use probe=none to leave probes out"
            )
        checked_at_least(2, min_per_class=min_per_class)
        self.attributes = None if attributes is None else tuple(attributes)
        self.min_per_class = min_per_class

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

    def _counts(self, seen: Coordinates, values: NDArray[np.bool_]) -> dict[str, int]:
        n_yes = int(values.sum())
        return {
            "n": len(values),
            "n_yes": n_yes,
            "n_no": len(values) - n_yes,
            "n_constant": seen.n_constant,
        }
