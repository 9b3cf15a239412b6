"""What all kinds of probes share: which labels can be probed, fits, controls, cache keys."""

import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from stitching.compute import progress
from stitching.compute.threads import one_thread_each
from stitching.maps import PenaltyEdgeWarning
from stitching.maps.matrix import Rows
from stitching.probes.coordinates import Coordinates
from stitching.probes.fitted import FittedProbe
from stitching.probes.labels import Labels, control_labels

#: Settings that choose what is fitted, and do not change how.
_CHOICES = ("attributes", "min_per_class")


class ProbeConvergenceWarning(UserWarning):
    """A fit was stopped before it met its tolerance."""


class Probes(ABC):
    """A way to fit linear probes, one for each set of labels, on the latents of one model.

    Each probe depends on the latents and its own labels alone: to the bit the same whatever else
    is fitted beside it, in whatever order, on the same machine with as many threads.

    Args:
        standardise: Whether to fit on standardised latents, see `Coordinates`: every dimension
            counts alike, whatever its unit. The fit then depends on the axes of the latent space.
        max_items: Fit on the first so many items at most, at least 2.

    Attributes:
        kind: Name of the way.
    """

    kind: ClassVar[str]
    #: Whether fits are many small steps, best done one fit per thread.
    side_by_side: ClassVar[bool] = False

    def __init__(self, standardise: bool = True, max_items: int = 10_000) -> None:
        checked_at_least(2, max_items=max_items)
        self.standardise = standardise
        self.max_items = max_items

    @property
    def identity(self) -> str:
        """All settings that a fit depends on, as text for a cache key.

        Which attributes are asked for, and how many items each class must have, are not among
        them.
        """
        settings = {k: v for k, v in vars(self).items() if k not in _CHOICES}
        return json.dumps({"kind": self.kind, **settings}, sort_keys=True)

    def coordinates(self, latents: Rows) -> Coordinates:
        """Return latents as these probes see them, to be handed to more than one fit."""
        return Coordinates(latents, self.standardise, self.max_items)

    def usable(
        self, labels: Labels, rows: NDArray[np.int64] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
        """Return the labels that can be probed, and why the other ones cannot.

        Args:
            labels: All that the data set has, shape (N,) by name.
            rows: Places of the items to fit on; None for all.

        Returns:
            Labels of those items by name, in the order asked for, and reasons by name.

        Raises:
            TypeError: Labels of another type than these probes read.
            ValueError: Labels have not one dimension, or one asked for is not there.
        """
        found: dict[str, NDArray[Any]] = {}
        missing: dict[str, str] = {}
        for name in self.selected(labels):
            values = self._checked(name, labels[name], len(labels[name]))
            values = values if rows is None else values[rows]
            reason = self.lack(values)
            if reason is None:
                found[name] = values
            else:
                missing[name] = reason
        return found, missing

    def selected(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return which of a data set's labels are probed, in their order: all of them here."""
        return tuple(names)

    def lack(self, values: NDArray[Any]) -> str | None:
        """Return why labels (n,) of fit items cannot be probed, None if they can."""
        return self._lack(values[: self.max_items])

    def fit(self, latents: Rows | Coordinates, labels: Labels) -> dict[str, FittedProbe]:
        """Fit a probe for each set of labels.

        Args:
            latents: Shape (N, D), any float dtype, in memory or read by rows; or what
                `coordinates` made of them. Of the fit items only.
            labels: Shape (N,) by name; as returned by `usable`.

        Returns:
            Probes by name, in the order of the labels.

        Raises:
            TypeError: Labels of another type than these probes read, or latents not floating
                point.
            ValueError: Lengths differ, labels cannot be probed, latents are not finite, or
                coordinates were made with other settings.

        Warns:
            PenaltyEdgeWarning: Names those whose best penalty is an end of the grid.
            ProbeConvergenceWarning: Names those that were stopped early.
        """
        seen = self._seen(latents)
        taken = {name: self._taken(name, values, seen) for name, values in labels.items()}
        fitted = self._fit_all(seen, taken, dict.fromkeys(taken))
        _warn_edges(fitted)
        _warn_unconverged("probes", fitted)
        return fitted

    def fit_controls(
        self,
        latents: Rows | Coordinates,
        labels: Labels,
        fitted: Mapping[str, FittedProbe],
        seed: int,
    ) -> dict[str, FittedProbe]:
        """Fit probes to labels without meaning, with the penalties of those with meaning.

        Args:
            latents: As for `fit`.
            labels: As for `fit`; each is put into a random order, see `control_labels`.
            fitted: What `fit` made of the labels.
            seed: Of the order, at least 0.

        Raises and warns as `fit`.
        """
        seen = self._seen(latents)
        meaningless = {
            name: control_labels(self._taken(name, values, seen), name, seed)
            for name, values in labels.items()
        }
        alphas = {name: float(fitted[name].facts["alpha"]) for name in labels}
        controls = self._fit_all(seen, meaningless, alphas)
        _warn_unconverged("control probes", controls)
        return controls

    @abstractmethod
    def _checked(self, name: str, values: NDArray[Any], length: int) -> NDArray[Any]:
        """Return labels once they are known to be of the right type and length."""

    @abstractmethod
    def _lack(self, values: NDArray[Any]) -> str | None:
        """Return why labels of the fit items cannot be probed, None if they can."""

    @abstractmethod
    def _fit(self, seen: Coordinates, values: NDArray[Any], alpha: float | None) -> FittedProbe:
        """Fit one probe to labels (n,), with a given penalty or one by the settings."""

    def _fit_all(
        self, seen: Coordinates, labels: Labels, alphas: Mapping[str, float | None]
    ) -> dict[str, FittedProbe]:
        """Fit every probe for itself, so that none depends on which others there are."""
        with progress.bar(len(labels), f"fits {self.kind} probes", "probe") as bar:

            def fit(name: str) -> FittedProbe:
                fitted = self._fit(seen, labels[name], alphas[name])
                bar.update()
                return fitted

            if not self.side_by_side or seen.mean.device.type != "cpu":
                return {name: fit(name) for name in labels}
            seen.decompose()
            with one_thread_each() as pool:
                return dict(zip(labels, pool.map(fit, labels), strict=True))

    def _seen(self, latents: Rows | Coordinates) -> Coordinates:
        if not isinstance(latents, Coordinates):
            return self.coordinates(latents)
        theirs, ours = ((x.standardise, x.max_items) for x in (latents, self))
        if theirs != ours:
            raise ValueError(
                f"coordinates were made with standardise={theirs[0]} and max_items={theirs[1]}, "
                f"but {self.kind} probes have {ours[0]} and {ours[1]}: make them with "
                "probes.coordinates(latents)"
            )
        return latents

    def _taken(self, name: str, values: NDArray[Any], seen: Coordinates) -> NDArray[Any]:
        """Labels of the items that are fitted on."""
        values = self._checked(name, values, seen.n_given)[: seen.n_items]
        reason = self._lack(values)
        if reason is not None:
            raise ValueError(f"{name} cannot be probed: {reason}")
        return values


def checked_alpha(alpha: float | None) -> float | None:
    """Return a fixed penalty, or None for one to be chosen.

    Raises:
        ValueError: Not a finite number > 0.
    """
    if alpha is not None and not 0 < alpha < float("inf"):
        raise ValueError(f"probe.alpha must be > 0 and finite, or null to choose it, got {alpha}")
    return alpha


def checked_at_least(least: int, **options: int) -> None:
    """Check whole-numbered options.

    Raises:
        ValueError: One is smaller than `least`.
    """
    for name, value in options.items():
        if value < least:
            raise ValueError(f"probe.{name} must be >= {least}, got {value}")


def _warn_edges(fitted: Mapping[str, FittedProbe]) -> None:
    """Name the probes whose penalty is the lower (-1) or upper (1) end of its grid."""
    ends = {-1: "lower", 1: "upper"}
    edges = {name: int(probe.facts.get("edge", 0)) for name, probe in fitted.items()}
    found = [f"{name} ({ends[edge]})" for name, edge in edges.items() if edge]
    if found:
        warnings.warn(
            f"probe penalty at an edge of its grid: {', '.join(found)}. At the lower edge no "
            "penalty is needed to tell the labels; at the upper edge the latents tell next to "
            "nothing of them",
            PenaltyEdgeWarning,
            stacklevel=3,
        )


def _warn_unconverged(what: str, fitted: Mapping[str, FittedProbe]) -> None:
    found = [name for name, probe in fitted.items() if not probe.facts["converged"]]
    if found:
        warnings.warn(
            f"{what} stopped before they converged: {', '.join(found)}. Raise probe.max_iter, or "
            "take a larger probe.alpha",
            ProbeConvergenceWarning,
            stacklevel=3,
        )
