"""What labels say of latents: probes, fitted once per model, asked of own and mapped latents."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stitching import maps, probes
from stitching.compute import progress
from stitching.data.base import ImageSet, ids_hash
from stitching.metrics.consistency import (
    AttributePredictions,
    ClassPredictions,
    FactorPredictions,
    class_scores,
    factor_scores,
    probe_scores,
)
from stitching.metrics.resampling import Resamples, Scores
from stitching.pipeline.cache import Cache
from stitching.pipeline.encoding import source_version
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

#: Fitted to true labels, and to labels without meaning.
Pair = tuple[FittedProbe, FittedProbe | None]


@dataclass(frozen=True, eq=False)
class ProbeInputs:
    """The latents that probe_suite are asked about, and those they are fitted on.

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

    def kept(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Return the labels of the kept test items."""
        kept: NDArray[Any] = labels[self.test.kept.numpy()]
        return kept

    def coordinates_for(self, kind: Probes) -> Coordinates:
        """Return the decoder's latents of the fit images as probes see them.

        Kinds of probes that see them alike share the work.
        """
        key = kind.standardise, kind.max_items
        if key not in self._seen:
            self._seen[key] = kind.coordinates(self.target.train)
        return self._seen[key]

    @cached_property
    def _seen(self) -> dict[tuple[bool, int], Coordinates]:
        return {}


@dataclass(frozen=True, eq=False)
class ProbeSuite:
    """The probes of a cell.

    Attributes:
        attributes: Of binary attributes.
        classes: Of class labels.
        factors: Of continuous factors.
        protocol: Says which images fit probes of attributes, and which ones these are asked about.
        cache: Where fitted probes are kept.
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
        """Score own and mapped latents by every label that the data set has.

        Returns:
            Keys `probe/...` where it has binary attributes, `class/...` where it has classes,
            `factor/...` where it has continuous factors.
        """
        train = inputs.train
        scores: dict[str, Any] = {"probe/selection": self.attributes.selection(train.attributes)}
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
        """Probes fitted on the fit images, asked about test images."""
        usable, missing = self.attributes.usable(inputs.train.attributes)
        fitted = self._fitted(self.attributes, inputs, usable)
        own, mapped = inputs.target.test, inputs.mapped
        found = inputs.test.images.attributes
        predictions = [
            self._predictions(
                name,
                inputs.kept(found[name]),
                fitted[name],
                own,
                mapped,
                inputs.test.resamples,
            )
            for name in _counted(usable, "asks probes of attributes")
        ]
        return {**probe_scores(predictions, missing), **_facts("probe", fitted)}

    def _overlapping_scores(self, inputs: ProbeInputs) -> Scores:
        """Probes fitted and asked as the paper did: on fit and test images together."""
        labels = {
            name: np.concatenate([values, inputs.kept(inputs.test.images.attributes[name])[:-1]])
            for name, values in inputs.train.attributes.items()
        }
        own = torch.cat([inputs.target.train[:], inputs.target.test[:-1]])
        mapped = torch.cat([inputs.map_fit_images(), inputs.mapped[:-1]])
        usable, missing = self.attributes.usable(labels)
        predictions: list[AttributePredictions] = []
        fitted: dict[str, Pair] = {}
        test_ids = ids_hash(inputs.kept(np.array(inputs.test.images.ids)).tolist())
        for name in _counted(usable, "fits and asks probes of attributes"):
            values = usable[name]
            fit, test = balanced_split(values, self.seed, name)
            part = {name: values[fit]}
            reason = self.attributes.lack(values[fit])
            if reason is not None:
                missing[name] = reason
                continue
            rows = {"balanced": self.seed, "test": test_ids}
            fitted |= self._fitted(self.attributes, inputs, part, own[fit], rows)
            # Items of their own, so resamples of their own, the same ones in every cell.
            resamples = Resamples(len(test), self.protocol.n_bootstrap, self.protocol.n_halves)
            predictions.append(
                self._predictions(
                    name,
                    values[test],
                    fitted[name],
                    own[test],
                    mapped[test],
                    resamples,
                )
            )
        return {**probe_scores(predictions, missing), **_facts("probe", fitted)}

    def _predictions(
        self,
        name: str,
        truth: NDArray[np.bool_],
        fitted: Pair,
        own: Tensor,
        mapped: Tensor,
        resamples: Resamples,
    ) -> AttributePredictions:
        probe, control = fitted
        return AttributePredictions(
            name,
            truth,
            probe.scores(own),
            probe.scores(mapped),
            int(probe.facts["n_yes"]),
            int(probe.facts["n_no"]),
            *self._control_predictions(name, truth, control, own, mapped),
            resamples=resamples,
        )

    def _control_predictions(
        self,
        name: str,
        truth: NDArray[Any],
        control: FittedProbe | None,
        own: Tensor,
        mapped: Tensor,
    ) -> tuple[Any, Any, Any]:
        if control is None:
            return None, None, None
        meaningless = control_labels(truth, f"{name}/test", self.seed)
        return meaningless, control.scores(own), control.scores(mapped)

    def _class_scores(self, inputs: ProbeInputs) -> Scores:
        found, tested = inputs.train.classes, inputs.test.images.classes
        usable, missing = self.classes.usable({name: c.values for name, c in found.items()})
        fitted = self._fitted(self.classes, inputs, usable)
        own, mapped = inputs.target.test, inputs.mapped
        predictions = []
        for name in _counted(usable, "asks probes of classes"):
            values = usable[name]
            names, truth = found[name].names, inputs.kept(tested[name].values)
            probe, control = fitted[name]
            n = len(names)
            meaningless, *controls = self._control_predictions(name, truth, control, own, mapped)
            control_own, control_mapped = (
                None if control is None else _columns(control, scores, n) for scores in controls
            )
            predictions.append(
                ClassPredictions(
                    name,
                    names,
                    truth,
                    _columns(probe, probe.scores(own), n),
                    _columns(probe, probe.scores(mapped), n),
                    np.bincount(values, minlength=n).tolist(),
                    meaningless,
                    control_own,
                    control_mapped,
                    inputs.test.resamples,
                )
            )
        return {**class_scores(predictions, missing), **_facts("class", fitted)}

    def _factor_scores(self, inputs: ProbeInputs) -> Scores:
        usable, missing = self.factors.usable(inputs.train.factors)
        fitted = self._fitted(self.factors, inputs, usable)
        tested = inputs.test.images.factors
        predictions = [
            FactorPredictions(
                name,
                inputs.kept(tested[name]),
                fitted[name][0].scores(inputs.target.test),
                fitted[name][0].scores(inputs.mapped),
                inputs.test.resamples,
            )
            for name in _counted(usable, "asks probes of factors")
        ]
        return {**factor_scores(predictions, missing), **_facts("factor", fitted)}

    def _fitted(
        self,
        kind: Probes,
        inputs: ProbeInputs,
        labels: Mapping[str, NDArray[Any]],
        latents: Tensor | None = None,
        rows: Mapping[str, Any] | None = None,
    ) -> dict[str, Pair]:
        """Return the probe of each label, fitted once per model and label.

        Args:
            kind: What to fit.
            inputs: Names the model, and the fit images.
            labels: By name.
            latents: What to fit on, if not the latents of the fit images.
            rows: What tells these latents apart.
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

        def compute(claimed: Iterator[int]) -> Iterator[Tensors]:
            # All of them at once: they share the points that they are fitted on.
            mine = {names[i]: labels[names[i]] for i in claimed}
            if not mine:
                return
            # Nothing is learned from a probe of shuffled factors that R2 does not say.
            plain = kind is self.factors
            text = f"{kind.kind} probes of {inputs.target.frozen.model.name}"
            with progress.bar(
                len(mine) * (1 if plain else 2), f"fits {text}", "probe", even=False
            ) as bar:
                seen = (
                    inputs.coordinates_for(kind) if latents is None else kind.coordinates(latents)
                )
                fitted = kind.fit(seen, mine)
                bar.update(len(mine))
                controls: dict[str, FittedProbe] = {}
                if not plain:
                    bar.say(f"fits control {text}")
                    controls = kind.fit_controls(seen, mine, fitted, self.seed)
                    bar.update(len(mine))
            for name in mine:
                pair = {"true": fitted[name], "control": controls.get(name)}
                yield {
                    f"{which}.{key}": tensor
                    for which, probe in pair.items()
                    if probe is not None
                    for key, tensor in probe.to_tensors().items()
                }

        stored = self.cache.filled(entries, compute)
        return {name: _pair(tensors) for name, tensors in zip(names, stored, strict=True)}


def _counted(labels: Mapping[str, Any], text: str) -> Iterator[str]:
    """Yield the names of labels, and show how many have been dealt with."""
    with progress.bar(len(labels), text, "label") as bar:
        for name in labels:
            yield name
            bar.update()


def _pair(tensors: Tensors) -> Pair:
    parts = {
        which: {
            key.partition(".")[2]: value
            for key, value in tensors.items()
            if key.startswith(f"{which}.")
        }
        for which in ("true", "control")
    }
    control = FittedProbe.from_tensors(parts["control"]) if parts["control"] else None
    return FittedProbe.from_tensors(parts["true"]), control


def _columns(probe: FittedProbe, scores: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Scores with a column for each of n classes, those that no fit image has lowest."""
    if len(probe.classes) == n:
        return scores
    columns = np.repeat(scores.min(1, keepdims=True) - 1, n, axis=1)
    columns[:, list(probe.classes)] = scores
    return columns


def _facts(kind: str, fitted: Mapping[str, Pair]) -> Scores:
    """What is known of the fits, as `KIND/FACT/NAME`."""
    return {
        f"{kind}/{fact}/{name}": value
        for name, (probe, _) in fitted.items()
        for fact, value in probe.facts.items()
        if fact in ("alpha", "converged", "n_iter", "n", "edge")
    }
