"""The contract of all kinds of probes: usable labels, fits, controls and cache keys."""

import copy
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from stitching.compute import progress
from stitching.compute.threads import one_thread_each
from stitching.maps.base import require_at_least
from stitching.maps.matrix import Rows
from stitching.probes.convergence import warn_edges, warn_unconverged
from stitching.probes.coordinates import Coordinates
from stitching.probes.fitted import Facts, FittedProbe
from stitching.probes.labels import Labels, control_labels, halves

#: Settings that choose what is fitted, and do not change how.
_CHOICES = ("attributes", "min_per_class")

#: Weight (D,) or (C, D) and bias () or (C,) on raw latents, and facts of a fit.
Fit = tuple[NDArray[np.float64], NDArray[np.float64], Facts]

#: Places of the items of two halves.
_Halves = tuple[NDArray[np.int64], NDArray[np.int64]]


#: Folds of probes of halves: as many as `n_folds` would double what the probes of a model take.
HALF_FOLDS = 3

#: Fewest items of a class in each half: when a part is held out, the others have one.
_HALF = 2


class Probes(ABC):
    """A way to fit linear probes, one for each set of labels, on the latents of one model.

    Each probe depends on the latents and its own labels alone: to the bit the same whatever else
    is fitted beside it, in whatever order, on the same machine with as many threads.

    Facts of every probe are `kind`, `n` (items fitted on), `n_constant` (dimensions that do not
    vary), `alpha` (the penalty), `converged` (1 or 0), and where the penalty was chosen `edge`
    (-1 or 1 at the lower or upper end of its grid, else 0).

    Args:
        alpha: Fixed penalty > 0, or None to choose one.
        standardise: Whether to fit on standardised latents, see `Coordinates`: every dimension
            counts alike, whatever its unit. The fit then depends on the axes of the latent space.
        max_items: Fit on the first so many items at most, at least 2.

    Raises:
        ValueError: A value outside its range.

    Attributes:
        kind: Name of the way.
    """

    kind: ClassVar[str]
    #: Whether fits are many small steps, best done one fit per thread.
    side_by_side: ClassVar[bool] = False

    def __init__(
        self, alpha: float | None = None, standardise: bool = True, max_items: int = 10_000
    ) -> None:
        if alpha is not None and not 0 < alpha < float("inf"):
            raise ValueError(
                f"probe.alpha must be > 0 and finite, or null to choose it, got {alpha}"
            )
        require_at_least("probe", 2, max_items=max_items)
        self.alpha = alpha
        self.standardise = standardise
        self.max_items = max_items

    @property
    def identity(self) -> str:
        """All settings that a fit depends on, as text for a cache key.

        The choice of attributes and the fewest items of a class are not among them.
        """
        settings = {k: v for k, v in vars(self).items() if k not in _CHOICES}
        return json.dumps({"kind": self.kind, **settings}, sort_keys=True)

    def coordinates(self, latents: Rows) -> Coordinates:
        """Return latents prepared for these probes, to be shared by more than one fit."""
        return Coordinates(latents, self.standardise, self.max_items)

    def usable(
        self, labels: Labels, rows: NDArray[np.int64] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
        """Return the labels that can be probed, and why the other ones cannot.

        Args:
            labels: All that the data set has, shape (N,) by name.
            rows: Places of the items to fit on; None for all.

        Returns:
            Labels of those items by name, in the order of `selected`, and reasons by name.

        Raises:
            TypeError: Labels of another type than these probes read.
            ValueError: Labels have not one dimension, or a selected one is missing.
        """
        found: dict[str, NDArray[Any]] = {}
        missing: dict[str, str] = {}
        for name in self.selected(labels):
            values = self._checked(name, labels[name], len(labels[name]))
            values = values if rows is None else values[rows]
            if (reason := self.lack(values)) is None:
                found[name] = values
            else:
                missing[name] = reason
        return found, missing

    def selected(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return which of a data set's labels are probed, in their order: all by default."""
        return tuple(names)

    def lack(self, values: NDArray[Any]) -> str | None:
        """Return why labels (n,) of fit items cannot be probed, None if they can."""
        return self._lack(values[: self.max_items])

    def fit(self, latents: Rows | Coordinates, labels: Labels) -> dict[str, FittedProbe]:
        """Fit a probe for each set of labels.

        Args:
            latents: Shape (N, D), any float dtype, in memory or read by rows, of the fit items
                only; or their `coordinates`.
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
        coordinates = self._checked_coordinates(latents)
        used = {name: self._fit_labels(name, x, coordinates) for name, x in labels.items()}
        fitted = self._fit_all(coordinates, used)
        warn_edges(fitted)
        warn_unconverged("probes", fitted)
        return fitted

    def fit_controls(
        self,
        latents: Rows | Coordinates,
        labels: Labels,
        fitted: Mapping[str, FittedProbe],
        seed: int,
    ) -> dict[str, FittedProbe]:
        """Fit probes to labels in random order, with the penalties of the true labels.

        Args:
            latents: As for `fit`.
            labels: As for `fit`; see `control_labels`.
            fitted: Result of `fit` for the labels.
            seed: Of the order, at least 0.

        Raises and warns as `fit`.
        """
        coordinates = self._checked_coordinates(latents)
        shuffled = {
            name: control_labels(self._fit_labels(name, x, coordinates), name, seed)
            for name, x in labels.items()
        }
        alphas = {name: float(fitted[name].facts["alpha"]) for name in labels}
        controls = self._fit_all(coordinates, shuffled, alphas, quick=True)
        warn_unconverged("control probes", controls)
        return controls

    def fit_halves(
        self,
        coordinates: Callable[[NDArray[np.int64]], Coordinates],
        labels: Labels,
        fitted: Mapping[str, FittedProbe],
        ids: Sequence[str],
        seed: int,
    ) -> dict[str, tuple[FittedProbe, FittedProbe]]:
        """Fit two probes for each set of labels, to disjoint halves of the items.

        Each half is standardised by itself and has its own choice of the penalty, among that of
        all items and a step of the grid to either side, on 3 folds at most. All labels that have
        enough items of every class in both halves share one split by ids, and so one decomposition
        of each half; others are split evenly by class.

        Args:
            coordinates: Returns those of the items at some places, ascending.
            labels: As for `fit`.
            fitted: Result of `fit` for the labels.
            ids: Of the items, N different ones.
            seed: Of the split, at least 0.

        Returns:
            Pairs of probes by name, in the order of the labels, without the labels that have too
            few items of a class for two halves (`lacks_halves`).

        Raises and warns as `fit`, without warnings of edges.
        """
        n = min(len(ids), self.max_items)
        used = {
            name: self._checked(name, x, len(ids))[:n]
            for name, x in labels.items()
            if not self.lacks_halves(x[:n])
        }
        shared = halves(ids[:n], seed=seed)
        groups: list[tuple[_Halves, dict[str, NDArray[Any]]]] = [(shared, {})]
        for name, values in used.items():
            if self._has_enough(values, shared):
                groups[0][1][name] = values
            else:
                groups.append((halves(ids[:n], values, seed), {name: values}))
        found: dict[str, tuple[FittedProbe, FittedProbe]] = {}
        for split, group in groups:
            if not group:
                continue
            first, second = (
                self._for_halves()._fit_all(
                    coordinates(places),
                    {name: values[places] for name, values in group.items()},
                    quick=True,
                    near={name: fitted[name].facts for name in group},
                )
                for places in split
            )
            warn_unconverged("probes of halves", first | second)
            found |= {name: (first[name], second[name]) for name in group}
        return {name: found[name] for name in labels if name in found}

    def lacks_halves(self, values: NDArray[Any]) -> str | None:
        """Return why labels (n,) of fit items are too few for two halves, None if they are not."""
        values = values[: self.max_items]
        fewest = int(np.unique(values, return_counts=True)[1].min())
        if fewest >= 2 * _HALF and len(values) >= 2 * self._fewest_items:
            return None
        return (
            f"fit images have {len(values)} items, {fewest} of one class: two halves need "
            f"{2 * self._fewest_items} and {2 * _HALF}"
        )

    @property
    def _fewest_items(self) -> int:
        """Fewest items that a probe is fitted to."""
        return 2 * _HALF

    def _has_enough(self, values: NDArray[Any], split: _Halves) -> bool:
        """Whether both halves have every class, each at least half as often as an even split."""
        classes, counts = np.unique(values, return_counts=True)
        return all(
            (values[places] == value).sum() >= max(_HALF, count / 4)
            for places in split
            for value, count in zip(classes, counts, strict=True)
        )

    @abstractmethod
    def _checked(self, name: str, values: NDArray[Any], length: int) -> NDArray[Any]:
        """Return labels after a check of their type and length."""

    @abstractmethod
    def _lack(self, values: NDArray[Any]) -> str | None:
        """Return why labels of the fit items cannot be probed, None if they can."""

    @abstractmethod
    def _fit(
        self,
        coordinates: Coordinates,
        values: NDArray[Any],
        alpha: float | None,
        quick: bool,
        near: Facts | None,
    ) -> Fit:
        """Fit one probe to labels (n,), with a penalty or None to choose it.

        A quick one, a control or one of half of the items, may stop at a coarser tolerance. The
        penalty may be chosen near that of another fit, whose facts are `near`.
        """

    def _counts(self, values: NDArray[Any]) -> Facts:
        """Facts of the labels beside their number."""
        return {}

    def _classes(self, values: NDArray[Any]) -> tuple[int, ...]:
        """Classes that a probe of these labels has a score for."""
        return ()

    def _for_halves(self) -> "Probes":
        """Return the kind that fits halves."""
        return self

    def _fit_all(
        self,
        coordinates: Coordinates,
        labels: Labels,
        alphas: Mapping[str, float] | None = None,
        quick: bool = False,
        near: Mapping[str, Facts] | None = None,
    ) -> dict[str, FittedProbe]:
        """Fit probes, each by itself; with given penalties, or as `_fit` describes."""
        with progress.bar(len(labels), f"fits {self.kind} probes", "probe") as bar:

            def fit(name: str) -> FittedProbe:
                values = labels[name]
                alpha = self.alpha if alphas is None else alphas[name]
                close = None if near is None else near[name]
                weight, bias, facts = self._fit(coordinates, values, alpha, quick, close)
                described: Facts = {"kind": self.kind, "n": len(values), **self._counts(values)}
                described |= {"n_constant": coordinates.n_constant, **facts}
                bar.update()
                return FittedProbe(weight, bias, described, self._classes(values))

            if not self.side_by_side or coordinates.mean.device.type != "cpu":
                return {name: fit(name) for name in labels}
            coordinates.decompose()
            with one_thread_each() as pool:
                return dict(zip(labels, pool.map(fit, labels), strict=True))

    def _checked_coordinates(self, latents: Rows | Coordinates) -> Coordinates:
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

    def _fit_labels(
        self, name: str, values: NDArray[Any], coordinates: Coordinates
    ) -> NDArray[Any]:
        """Labels of the items that are fitted on."""
        values = self._checked(name, values, coordinates.n_given)[: coordinates.n_items]
        if (reason := self._lack(values)) is not None:
            raise ValueError(f"{name} cannot be probed: {reason}")
        return values


class CrossValidatedProbes(Probes):
    """Probes whose penalty is chosen on held-out folds where `alpha` is None.

    Attributes:
        n_alphas: Size of the grid, at least 3.
        n_folds: Folds, stratified, at least 2.
        seed: Of the folds, at least 0.
        max_iter: Most iterations of one fit, at least 1.
    """

    def _set_search(self, n_alphas: int, n_folds: int, seed: int, max_iter: int) -> None:
        require_at_least("probe", 3, n_alphas=n_alphas)
        require_at_least("probe", 2, n_folds=n_folds)
        require_at_least("probe", 1, max_iter=max_iter)
        require_at_least("probe", 0, seed=seed)
        self.n_alphas = n_alphas
        self.n_folds = n_folds
        self.seed = seed
        self.max_iter = max_iter

    @property
    def _fewest_items(self) -> int:
        return min(self.n_folds, HALF_FOLDS)

    def _for_halves(self) -> Probes:
        kind = copy.copy(self)
        kind.n_folds = min(self.n_folds, HALF_FOLDS)
        return kind
