"""Scores of linear probes on own and mapped latents; probes are fitted once per model."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stitching import maps, probes
from stitching.compute import progress
from stitching.compute.source import source_version
from stitching.data.base import ImageSet, ids_hash
from stitching.metrics.attributes import AttributePredictions, probe_scores
from stitching.metrics.classes import ClassPredictions, class_scores
from stitching.metrics.factors import FactorPredictions, factor_scores
from stitching.metrics.resampling import Resamples, Scores
from stitching.pipeline.cache import Cache
from stitching.pipeline.fitting import Space
from stitching.pipeline.protocol import Protocol
from stitching.pipeline.scoring import TestItems
from stitching.probes import (
    AttributeProbes,
    Coordinates,
    FactorProbes,
    FittedProbe,
    Probes,
    SoftmaxProbes,
    balanced_split,
    control_labels,
)
from stitching.records.tensorfiles import Tensors


class Fitted(NamedTuple):
    """The probes of one label.

    Attributes:
        true: Of the true labels.
        control: Of labels without meaning; None for factors.
        halves: Of the true labels on disjoint halves of the fit images; None for factors, and
            where there are too few images.
        lack: Why there are too few, else None.
    """

    true: FittedProbe
    control: FittedProbe | None
    halves: tuple[FittedProbe, FittedProbe] | None
    lack: str | None = None


#: Parts of a cache entry, in the order of `Fitted`.
_PARTS = ("true", "control", "first", "second")


@dataclass(frozen=True, eq=False)
class ProbeInputs:
    """Latents that probes are fitted to, and those they predict from.

    Attributes:
        train: The fit images.
        target: The decoder's space; its test latents are those of the kept items.
        mapped: Mapped latents of the kept test items.
        map_fit_images: Returns the mapped latents of the fit images.
        test: The test items.
    """

    train: ImageSet
    target: Space
    mapped: Tensor
    map_fit_images: Callable[[], Tensor]
    test: TestItems
    _coordinates: dict[tuple[bool, int, bytes], Coordinates] = field(default_factory=dict)

    def kept(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Return the labels of the kept test items."""
        kept: NDArray[Any] = labels[self.test.kept.numpy()]
        return kept

    def coordinates_for(
        self, kind: Probes, places: NDArray[np.int64] | None = None
    ) -> Coordinates:
        """Return the coordinates of the fit images' latents; kinds with equal settings share.

        Args:
            kind: Kind of probe.
            places: Of the images to take, None for all.
        """
        key = kind.standardise, kind.max_items, b"" if places is None else places.tobytes()
        if key not in self._coordinates:
            rows = self.target.train
            self._coordinates[key] = kind.coordinates(
                rows if places is None else rows[: kind.max_items][torch.from_numpy(places)]
            )
        return self._coordinates[key]


@dataclass(frozen=True, eq=False)
class ProbeSuite:
    """The probes of a cell.

    Attributes:
        attributes: Of binary attributes.
        classes: Of class labels.
        factors: Of continuous factors.
        protocol: Sets the images that probes of attributes are fitted to and predict from.
        cache: Keeps fitted probes.
        seed: Of control labels and of balanced splits.
    """

    attributes: AttributeProbes
    classes: SoftmaxProbes
    factors: FactorProbes
    protocol: Protocol
    cache: Cache
    seed: int

    @property
    def kind(self) -> str:
        """Kind of the probes of binary attributes, such as `logistic`."""
        return self.attributes.kind

    def scores(self, inputs: ProbeInputs) -> Scores:
        """Score own and mapped latents by every label of the data set.

        Returns:
            Keys `probe/...` where it has binary attributes, `class/...` where it has classes,
            `factor/...` where it has continuous factors.
        """
        train = inputs.train
        scores: Scores = {"probe/selection": self.attributes.selection(train.attributes)}
        if self.protocol.probe_ids == "held_out":
            scores |= self._attribute_scores(inputs)
        else:
            scores |= self._overlapping_scores(inputs)
        if train.classes:
            scores |= self._class_scores(inputs)
        if train.factors:
            scores |= self._factor_scores(inputs)
        return scores

    def _attribute_scores(self, inputs: ProbeInputs) -> Scores:
        """Fit probes to the fit images, predict from test images."""
        usable, missing = self.attributes.usable(inputs.train.attributes)
        fitted = self._fitted(self.attributes, inputs, usable)
        own, mapped, resamples = inputs.target.test, inputs.mapped, inputs.test.resamples
        predictions = []
        for name in _counted(usable, "predicts attributes"):
            truth = inputs.kept(inputs.test.images.attributes[name])
            predictions.append(self._attribute(name, truth, fitted[name], own, mapped, resamples))
        return probe_scores(predictions, missing) | _facts("probe", fitted)

    def _overlapping_scores(self, inputs: ProbeInputs) -> Scores:
        """Fit probes to and predict from fit and test images together, as in the paper."""
        labels = {
            name: np.concatenate([values, inputs.kept(inputs.test.images.attributes[name])[:-1]])
            for name, values in inputs.train.attributes.items()
        }
        ids = [*inputs.train.ids, *inputs.kept(np.array(inputs.test.images.ids))[:-1].tolist()]
        own = torch.cat([inputs.target.train[:], inputs.target.test[:-1]])
        mapped = torch.cat([inputs.map_fit_images(), inputs.mapped[:-1]])
        usable, missing = self.attributes.usable(labels)
        predictions: list[AttributePredictions] = []
        fitted: dict[str, Fitted] = {}
        test_ids = ids_hash(inputs.kept(np.array(inputs.test.images.ids)).tolist())
        for name in _counted(usable, "fits and predicts attributes"):
            values = usable[name]
            fit, test = balanced_split(values, self.seed, name)
            part = {name: values[fit]}
            reason = self.attributes.lack(values[fit])
            if reason is not None:
                missing[name] = reason
                continue
            rows = {"balanced": self.seed, "test": test_ids}
            fitted |= self._fitted(
                self.attributes, inputs, part, own[fit], rows, [ids[place] for place in fit]
            )
            # Items of their own, so resamples of their own, the same ones in every cell.
            resamples = Resamples(len(test), self.protocol.n_bootstrap, self.protocol.n_halves)
            predictions.append(
                self._attribute(
                    name, values[test], fitted[name], own[test], mapped[test], resamples
                )
            )
        return probe_scores(predictions, missing) | _facts("probe", fitted)

    def _attribute(
        self,
        name: str,
        truth: NDArray[np.bool_],
        fitted: Fitted,
        own: Tensor,
        mapped: Tensor,
        resamples: Resamples,
    ) -> AttributePredictions:
        facts = fitted.true.facts
        return AttributePredictions(
            **self._predicted(name, truth, fitted, own, mapped),
            n_yes_train=int(facts["n_yes"]),
            n_no_train=int(facts["n_no"]),
            resamples=resamples,
        )

    def _class_scores(self, inputs: ProbeInputs) -> Scores:
        found, tested = inputs.train.classes, inputs.test.images.classes
        usable, missing = self.classes.usable({name: c.values for name, c in found.items()})
        fitted = self._fitted(self.classes, inputs, usable)
        own, mapped = inputs.target.test, inputs.mapped
        predictions = []
        for name in _counted(usable, "predicts classes"):
            names, truth = found[name].names, inputs.kept(tested[name].values)
            n = len(names)
            predictions.append(
                ClassPredictions(
                    **self._predicted(name, truth, fitted[name], own, mapped, n),
                    names=names,
                    n_train=np.bincount(usable[name], minlength=n).tolist(),
                    resamples=inputs.test.resamples,
                )
            )
        return class_scores(predictions, missing) | _facts("class", fitted)

    def _factor_scores(self, inputs: ProbeInputs) -> Scores:
        usable, missing = self.factors.usable(inputs.train.factors)
        fitted = self._fitted(self.factors, inputs, usable)
        own, mapped, resamples = inputs.target.test, inputs.mapped, inputs.test.resamples
        predictions = []
        for name in _counted(usable, "predicts factors"):
            truth = inputs.kept(inputs.test.images.factors[name])
            arguments = self._predicted(name, truth, fitted[name], own, mapped)
            predictions.append(FactorPredictions(**arguments, resamples=resamples))
        return factor_scores(predictions, missing) | _facts("factor", fitted)

    def _predicted(
        self,
        name: str,
        truth: NDArray[Any],
        fitted: Fitted,
        own: Tensor,
        mapped: Tensor,
        n_classes: int = 0,
    ) -> dict[str, Any]:
        """Return the arguments that predictions of all kinds of label share."""

        def scores(probe: FittedProbe) -> list[NDArray[np.float64]]:
            found = [probe.scores(latents) for latents in (own, mapped)]
            return [_columns(probe, x, n_classes) for x in found] if n_classes else found

        own_scores, mapped_scores = scores(fitted.true)
        found = {"name": name, "truth": truth, "own": own_scores, "mapped": mapped_scores}
        if fitted.control is not None:
            labels = control_labels(truth, f"{name}/test", self.seed)
            found["control"] = (labels, *scores(fitted.control))
        if fitted.halves is not None:
            first, second = map(scores, fitted.halves)
            found["halves"] = tuple(zip(first, second, strict=True))
        return found

    def _fitted(
        self,
        kind: Probes,
        inputs: ProbeInputs,
        labels: Mapping[str, NDArray[Any]],
        latents: Tensor | None = None,
        rows: Mapping[str, Any] | None = None,
        ids: Sequence[str] | None = None,
    ) -> dict[str, Fitted]:
        """Return the probe of each label, fitted once per model and label.

        Args:
            kind: Kind of probe.
            inputs: Model and fit images.
            labels: By name.
            latents: Latents to fit to; None for those of the fit images.
            rows: What identifies these latents.
            ids: Of their images.
        """
        names = list(labels)
        model, code = inputs.target.frozen.identity(), source_version(probes, maps)
        entries = [
            self.cache.entry(
                "probes",
                {
                    "model": model,
                    "images": inputs.target.fingerprint,
                    "rows": rows,
                    "name": name,
                    "labels": hashlib.sha256(labels[name].tobytes()).hexdigest(),
                    "probe": kind.identity,
                    "seed": self.seed,
                    "code": code,
                },
            )
            for name in names
        ]

        def compute(reserved: Iterator[int]) -> Iterator[Tensors]:
            # All of them at once: they share the points that they are fitted to.
            mine = {names[i]: labels[names[i]] for i in reserved}
            if not mine:
                return
            # A probe of shuffled factors adds nothing to R2, whose ceiling is that of own latents.
            plain = kind is self.factors
            text = f"{kind.kind} probes of {inputs.target.frozen.model.name}"
            total = len(mine) * (1 if plain else 3)
            with progress.bar(total, f"fits {text}", "probe", even=False) as bar:

                def seen(places: NDArray[np.int64] | None = None) -> Coordinates:
                    if latents is None:
                        return inputs.coordinates_for(kind, places)
                    return kind.coordinates(
                        latents if places is None else latents[torch.from_numpy(places)]
                    )

                points = seen()
                fitted = kind.fit(points, mine)
                bar.update(len(mine))
                controls: dict[str, FittedProbe] = {}
                halves: dict[str, tuple[FittedProbe, FittedProbe]] = {}
                if not plain:
                    bar.describe(f"fits control {text}")
                    controls = kind.fit_controls(points, mine, fitted, self.seed)
                    bar.update(len(mine))
                    bar.describe(f"fits {text} on halves")
                    names_of = inputs.train.ids if ids is None else ids
                    halves = kind.fit_halves(seen, mine, fitted, names_of, self.seed)
                    bar.update(len(mine))
            for name in mine:
                first, second = halves.get(name, (None, None))
                parts = (fitted[name], controls.get(name), first, second)
                yield {
                    f"{which}.{key}": tensor
                    for which, probe in zip(_PARTS, parts, strict=True)
                    if probe is not None
                    for key, tensor in probe.to_tensors().items()
                }

        stored = self.cache.filled(entries, compute)
        restored = {name: _restored(x) for name, x in zip(names, stored, strict=True)}
        return {
            name: fitted
            if kind is self.factors
            else fitted._replace(lack=kind.lacks_halves(labels[name]))
            for name, fitted in restored.items()
        }


def _counted(labels: Mapping[str, Any], text: str) -> Iterator[str]:
    """Yield the names of labels, and show how many are done."""
    with progress.bar(len(labels), text, "label") as bar:
        for name in labels:
            yield name
            bar.update()


def _restored(tensors: Tensors) -> Fitted:
    parts: dict[str, Tensors] = {which: {} for which in _PARTS}
    for name, tensor in tensors.items():
        which, _, key = name.partition(".")
        parts[which][key] = tensor
    true, control, first, second = (
        FittedProbe.from_tensors(part) if part else None for part in parts.values()
    )
    assert true is not None
    halves = None if first is None or second is None else (first, second)
    return Fitted(true, control, halves)


def _columns(probe: FittedProbe, scores: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Return scores with a column per class; classes without fit images get the lowest."""
    if len(probe.classes) == n:
        return scores
    columns = np.repeat(scores.min(1, keepdims=True) - 1, n, axis=1)
    columns[:, list(probe.classes)] = scores
    return columns


def _facts(kind: str, fitted: Mapping[str, Fitted]) -> Scores:
    """Return facts of the fits, `KIND/FACT/NAME`, and reasons, `KIND/ceiling_missing/NAME`."""
    reasons: Scores = {
        f"{kind}/ceiling_missing/{name}": probes_of.lack
        for name, probes_of in fitted.items()
        if probes_of.lack is not None
    }
    facts: Scores = {
        f"{kind}/{fact}/{name}": value
        for name, probes_of in fitted.items()
        for fact, value in probes_of.true.facts.items()
        if fact in ("alpha", "converged", "n_iter", "n", "edge")
    }
    return facts | reasons
