"""Predictions of probes on own and mapped latents, measured on all items and every resample."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stitching.compute.threads import one_thread_each
from stitching.metrics.base import require_finite
from stitching.metrics.pseudo import pseudo_weights, with_pseudo
from stitching.metrics.resampling import Estimate, Facts, Resamples, Scores

#: Measures (S,) of one label by name; see `stitching.metrics.agreement`.
Measures = dict[str, Tensor]
_Pair = tuple[NDArray[np.floating], NDArray[np.floating]]
#: Scores by two probes of own latents, then of mapped latents.
Halves = tuple[_Pair, _Pair]


@dataclass(frozen=True, eq=False)
class Predictions(ABC):
    """Scores of the target's probe of one label for the test items, and the true labels.

    Attributes:
        name: Of the label.
        truth: Label of each item, shape (n,).
        own: The probe's scores of the target's own latents, item by item.
        mapped: Its scores of the mapped latents.
        control: Labels without meaning, and the scores by a probe of such labels of own and of
            mapped latents; None without a control probe.
        halves: Scores of own latents, then of mapped latents, each by two probes fitted to
            disjoint halves of the fit items; None without such probes.
        resamples: Of these items; None for estimates without draws.

    Raises:
        TypeError: Labels are of another type, or scores not floats.
        ValueError: Shapes differ, or scores are not finite (the rows are named).
    """

    name: str
    truth: NDArray[Any]
    own: NDArray[np.floating]
    mapped: NDArray[np.floating]
    _: KW_ONLY
    control: tuple[NDArray[Any], NDArray[np.floating], NDArray[np.floating]] | None = None
    halves: Halves | None = None
    resamples: Resamples | None = None

    def __post_init__(self) -> None:
        """Check labels and scores."""
        if self.control is not None and len(self.control) != 3:
            raise ValueError(
                f"the control of {self.name} needs labels, own and mapped scores: give all or none"
            )
        for kind, values in (
            ("", (self.truth, self.own, self.mapped)),
            ("control ", self.control),
        ):
            if values is not None:
                labels, own, mapped = values
                self._check_labels(f"{kind}labels of {self.name}", labels)
                self._check_scores(f"own {kind}scores of {self.name}", own)
                self._check_scores(f"mapped {kind}scores of {self.name}", mapped)
        for side, pair in zip(("own", "mapped"), self.halves or (), strict=False):
            for which, scores in zip(("first", "second"), pair, strict=True):
                self._check_scores(f"{side} scores of {self.name} by the {which} half", scores)

    def predicted(self, scores: NDArray[np.floating]) -> NDArray[Any]:
        """Return the predictions that scores stand for, shape (n,)."""
        return scores

    @abstractmethod
    def lack(self) -> str | None:
        """Return why no measure is defined on the test items, None if one is."""

    @property
    def pseudo_shapes(self) -> tuple[float, ...]:
        """Shapes of the weights of pseudo-items, P numbers; see `pseudo`."""
        return ()

    @abstractmethod
    def counted(self, weights: Tensor) -> Callable[[Tensor], Measures]:
        """Count the items of samples with weights (n, S).

        Returns:
            Takes weights of pseudo-items (P, S), returns the measures, each (S,).
        """

    def measures(self, weights: Tensor) -> Measures:
        """Return the measures on samples with weights (n, S), each (S,), without pseudo-items."""
        return self.counted(weights)(self._pseudo(weights, 0))

    def drawn(self, weights: Tensor, *n_labels: int) -> list[Measures]:
        """Return the measures on all items and on resamples with pseudo-items.

        Args:
            weights: Shape (n, S): ones, and a column for each resample.
            n_labels: How many labels are averaged; measures are returned for each number.
        """
        measures = self.counted(weights)
        return [with_pseudo(measures, self._pseudo(weights, n)) for n in n_labels]

    def _pseudo(self, weights: Tensor, n_labels: int) -> Tensor:
        shapes, n_samples = self.pseudo_shapes, weights.shape[1]
        if not n_labels:
            return torch.zeros(len(shapes), n_samples, dtype=torch.float64)
        seed = 0 if self.resamples is None else self.resamples.seed
        return pseudo_weights(shapes, self.name, n_samples - 1, seed, n_labels)

    def _check_labels(self, what: str, labels: NDArray[Any]) -> None:
        if labels.shape != (len(self.truth),):
            raise ValueError(
                f"{what} have shape {labels.shape}, need {(len(self.truth),)}: one per item"
            )

    def _check_scores(self, what: str, scores: NDArray[Any], *columns: int) -> None:
        shape = (len(self.truth), *columns)
        if not np.issubdtype(scores.dtype, np.floating):
            raise TypeError(f"{what} must be floats, got {scores.dtype}")
        if scores.shape != shape:
            raise ValueError(
                f"{what} have shape {scores.shape} but the labels need {shape}: take both from "
                f"the same test items"
            )
        require_finite(torch.from_numpy(np.ascontiguousarray(scores))[:, None], what)

    def constant_sides(self) -> str | None:
        """Return the sides with one prediction for all items, such as "own and mapped"."""
        sides = []
        for side, scores in (("own", self.own), ("mapped", self.mapped)):
            predictions = self.predicted(scores)
            if len(predictions) and bool((predictions == predictions[0]).all()):
                sides.append(side)
        return " and ".join(sides) or None


def paired_halves(halves: Halves) -> tuple[_Pair, _Pair, _Pair]:
    """Return the two probes' scores as pairs: both on own latents, then one on own, one mapped."""
    own, mapped = halves
    return own, (own[0], mapped[1]), (mapped[0], own[1])


_P = TypeVar("_P", bound=Predictions)


class Measured(NamedTuple, Generic[_P]):
    """Predictions of the labels of one kind, and their measures.

    Attributes:
        usable: By name, predictions with the weights (n, S) of their items, float64. Sample 0
            holds every item once, the others are bootstrap resamples: S = 1 without resamples.
        rows: Measures by name.
        parts: The same for averages: each label has its part of one set of pseudo-items.
        missing: Reason why a label has no measures, by name.
    """

    usable: dict[str, tuple[_P, Tensor]]
    rows: dict[str, Measures]
    parts: dict[str, Measures]
    missing: dict[str, str]


def measured(kind: str, predictions: Sequence[_P], missing: Mapping[str, str]) -> Measured[_P]:
    """Measure the predictions of every label that has what its measures need.

    Args:
        kind: What a label is, for messages.
        predictions: By label.
        missing: Reason why a label has no probe, by label.

    Raises:
        ValueError: A label appears twice, or resamples do not fit the items or differ in number,
            so that no average over labels has draws.
    """
    require_unique(kind, [*(prediction.name for prediction in predictions), *missing])
    usable: dict[str, tuple[_P, Tensor]] = {}
    missing = dict(missing)
    known: dict[tuple[Resamples | None, int], Tensor] = {}
    for prediction in predictions:
        if (reason := prediction.lack()) is not None:
            missing[prediction.name] = reason
            continue
        what, key = f"{kind} {prediction.name}", (prediction.resamples, len(prediction.truth))
        weights = known[key] = known[key] if key in known else _weights(what, *key)
        others = next(iter(known.values())).shape[1]
        if weights.shape[1] != others:
            raise ValueError(
                f"{what} has {weights.shape[1] - 1} resamples, others {others - 1}: use "
                f"one number, for averages are taken resample by resample"
            )
        usable[prediction.name] = prediction, weights
    levels = sorted({1, len(usable)})
    with one_thread_each() as pool:
        found = list(pool.map(lambda pair: pair[0].drawn(pair[1], *levels), usable.values()))
    rows = {name: each[0] for name, each in zip(usable, found, strict=True)}
    parts = {name: each[-1] for name, each in zip(usable, found, strict=True)}
    return Measured(usable, rows, parts, missing)


def scores_of(prefix: str, measures: Iterable[str], found: Measured[_P]) -> Scores:
    """Return each measure averaged over what has it, `PREFIX/MEASURE`, then one by one.

    A sample's average is over what is defined in that sample, as the value is over what is defined
    on all items. None where nothing is.

    Args:
        prefix: First part of the keys.
        measures: Names of the measures.
        found: Measures by what they are of: `PREFIX/MEASURE/NAME`.
    """
    scores: Scores = {}
    for measure in measures:
        parts = [row[measure] for row in found.parts.values() if measure in row]
        scores[f"{prefix}/{measure}"] = (
            estimate(torch.stack(parts).nanmean(dim=0)) if parts else None
        )
        scores |= {
            f"{prefix}/{measure}/{name}": estimate(row[measure])
            for name, row in found.rows.items()
            if measure in row
        }
    return scores


def estimate(samples: Tensor) -> Estimate:
    """Return a measure of S samples as an estimate; its value is that of sample 0."""
    value = float(samples[0])
    return Estimate(
        value if np.isfinite(value) else None, samples[1:].numpy() if len(samples) > 1 else None
    )


def n_defined(measure: str, rows: Mapping[str, Measures]) -> int:
    """Return for how many labels a measure is defined on all items."""
    return sum(not row[measure][0].isnan() for row in rows.values())


def item_counts(prefix: str, usable: Mapping[str, tuple[Predictions, Tensor]]) -> Facts:
    """Return `PREFIX/n_test`; where numbers of items differ None, and one for each name."""
    counts: Facts = {name: len(prediction.truth) for name, (prediction, _) in usable.items()}
    if len(set(counts.values())) == 1:
        return {f"{prefix}/n_test": next(iter(counts.values()))}
    return {f"{prefix}/n_test": None, **{f"{prefix}/n_test/{k}": n for k, n in counts.items()}}


def require_unique(kind: str, names: Sequence[str]) -> None:
    """Raise unless every name appears once.

    Raises:
        ValueError: Names those that do not.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"each {kind} must be given once, got more of {', '.join(twice)}")


def _weights(what: str, resamples: Resamples | None, n: int) -> Tensor:
    counts = torch.ones(n, 1, dtype=torch.float64)
    if resamples is None:
        return counts
    if resamples.n_items != n:
        raise ValueError(
            f"{what} has {n} items but resamples of {resamples.n_items}: take both from the "
            f"same test items"
        )
    return torch.cat([counts, resamples.counts.T], dim=1)
