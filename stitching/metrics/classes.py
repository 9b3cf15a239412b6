"""Do the target's softmax probes put mapped latents into the same classes as its own?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stitching.compute.threads import one_thread_each
from stitching.metrics.agreement import (
    Samples,
    binary_measures,
    checked_control,
    checked_names,
    checked_scores,
    constant_sides,
    estimate,
    item_counts,
    kappa,
    scores_of,
    weighted_sums,
)
from stitching.metrics.resampling import Estimate, Resamples, Scores

#: Measures given for each set of classes and, averaged, over all.
MEASURES = (
    "accuracy_own",
    "accuracy_mapped",
    "balanced_accuracy_own",
    "balanced_accuracy_mapped",
    "majority",
    "control_own",
    "control_mapped",
    "consistency",
    "kappa",
)


@dataclass(frozen=True, eq=False)
class ClassPredictions:
    """What the target's probe of one set of classes says of the test items.

    An item's prediction is the class with the highest score, the first of equal ones.

    Attributes:
        name: Of the set of classes, such as "digit".
        names: Of its C classes.
        truth: Class of each item, shape (n,), integers from 0 to C - 1.
        own: Probe's scores of the target's own latents, shape (n, C).
        mapped: Its scores of the mapped latents, item by item.
        n_train: Items of each class that the probe was fitted on, C numbers.
        control_truth: Classes without meaning, shape (n,); None without a control probe.
        control_own: Scores by a probe of such classes on the target's own latents, (n, C).
        control_mapped: Its scores of the mapped latents.
        resamples: Of these items; None for estimates without draws.
    """

    name: str
    names: Sequence[str]
    truth: NDArray[np.integer]
    own: NDArray[np.floating]
    mapped: NDArray[np.floating]
    n_train: Sequence[int]
    control_truth: NDArray[np.integer] | None = None
    control_own: NDArray[np.floating] | None = None
    control_mapped: NDArray[np.floating] | None = None
    resamples: Resamples | None = None

    def __post_init__(self) -> None:
        """Check labels and scores.

        Raises:
            TypeError: Labels are not integers, or scores not floats.
            ValueError: A class is named twice, labels are not places of names, shapes differ,
                scores are not finite (the rows are named), or a part of the control is missing.
        """
        n, n_classes = len(self.truth), len(self.names)
        checked_names(f"class of {self.name}", self.names, {})
        if n_classes < 2 or len(self.n_train) != n_classes:
            raise ValueError(
                f"{self.name} has {n_classes} classes and training counts of "
                f"{len(self.n_train)}: at least 2 classes, and a count of each"
            )
        checked_control(self.name, self.control_truth, self.control_own, self.control_mapped)
        for kind, labels in (("labels", self.truth), ("control labels", self.control_truth)):
            if labels is not None:
                _check_labels(f"{kind} of {self.name}", labels, n, n_classes)
        for kind, scores in (
            ("own scores", self.own),
            ("mapped scores", self.mapped),
            ("own control scores", self.control_own),
            ("mapped control scores", self.control_mapped),
        ):
            if scores is not None:
                checked_scores(f"{kind} of {self.name}", scores, (n, n_classes))


def class_scores(predictions: Sequence[ClassPredictions], missing: Mapping[str, str]) -> Scores:
    """Score mapped latents by the target's softmax probes: overall, by set and by class.

    For a data set with one set of classes, overall and by set are the same. None where no set can
    be scored:

    - `class/accuracy_own`, `class/accuracy_mapped`: share of items put into the right class on
      the target's own and on mapped latents; `class/balanced_accuracy_own`, `..._mapped`: mean
      of these shares over the classes that occur.
    - `class/majority`: accuracy of always giving the most frequent class of the probe's training
      items; `class/control_own`, `class/control_mapped`: accuracy of a probe of classes without
      meaning.
    - `class/consistency`: share of items put into the same class on own and mapped latent;
      `class/kappa`: the same beyond chance.
    - `class/n_sets`: sets of classes; `class/n_test`: items, None where sets differ.

    By set, each measure as `class/kappa/digit`, and `class/constant/digit` where all own or all
    mapped latents get one class. By class that occurs among the test items, the measures of "is it
    this class or another?", as `class/kappa/digit/seven`: accuracy, balanced accuracy, majority,
    consistency and kappa; then `class/n_positive/...` and `class/n_positive_train/...`. By set or
    class that cannot be scored, `class/missing/...`: the reason.

    Args:
        predictions: By set of classes.
        missing: Reason why a set has no probe, by set.

    Raises:
        ValueError: A set appears twice, or resamples do not fit the items or differ in number.
    """
    checked_names("set of classes", [prediction.name for prediction in predictions], missing)
    samples, missing = Samples(), dict(missing)
    usable: dict[str, tuple[ClassPredictions, Tensor]] = {}
    present: dict[str, tuple[ClassPredictions, int, Tensor]] = {}
    facts: dict[str, Estimate | float | int | str | None] = {}
    for prediction in predictions:
        n = len(prediction.truth)
        if n == 0:
            missing[prediction.name] = "test split has 0 items"
            continue
        weights = samples.weights(f"class {prediction.name}", n, prediction.resamples)
        usable[prediction.name] = prediction, weights
        constant = constant_sides(prediction.own.argmax(1), prediction.mapped.argmax(1))
        if constant:
            facts[f"class/constant/{prediction.name}"] = constant
        for place, name in enumerate(prediction.names):
            name = f"{prediction.name}/{name}"
            n_true = int((prediction.truth == place).sum())
            if n_true == 0:
                missing[name] = "test split has 0 items of this class"
                continue
            present[name] = prediction, place, weights
            facts[f"class/n_positive/{name}"] = n_true
            facts[f"class/n_positive_train/{name}"] = int(prediction.n_train[place])
    with one_thread_each() as pool:
        measured = pool.map(lambda known: _measures(*known), usable.values())
        rows = dict(zip(usable, measured, strict=True))
        against_rest = pool.map(lambda known: _one_against_rest(*known), present.values())
        for name, found in zip(present, against_rest, strict=True):
            facts |= {f"class/{measure}/{name}": estimate(row) for measure, row in found.items()}
    counts = {name: len(prediction.truth) for name, (prediction, _) in usable.items()}
    return {
        **scores_of("class", MEASURES, rows),
        "class/n_sets": len(rows),
        **item_counts("class", counts),
        **facts,
        **{f"class/missing/{name}": why for name, why in missing.items()},
    }


def _measures(prediction: ClassPredictions, weights: Tensor) -> dict[str, Tensor]:
    truth, own, mapped = prediction.truth, prediction.own.argmax(1), prediction.mapped.argmax(1)
    usual = int(np.argmax(prediction.n_train))
    columns = [np.ones_like(truth), truth == usual, own == mapped]
    total, majority, equal = weighted_sums(columns, weights)
    places = range(len(prediction.names))
    n_true, n_own, n_mapped = (
        torch.stack(weighted_sums([predictions == place for place in places], weights))
        for predictions in (truth, own, mapped)
    )
    measures = {
        "majority": majority / total,
        "consistency": equal / total,
        "kappa": kappa(equal, (n_own * n_mapped).sum(dim=0), total),
    }
    for side, predictions in (("own", own), ("mapped", mapped)):
        hits = [(predictions == truth) & (truth == place) for place in places]
        n_right = torch.stack(weighted_sums(hits, weights))
        measures[f"accuracy_{side}"] = n_right.sum(dim=0) / total
        measures[f"balanced_accuracy_{side}"] = (n_right / n_true).nanmean(dim=0)
    truth_control = prediction.control_truth
    for side, scores in (("own", prediction.control_own), ("mapped", prediction.control_mapped)):
        if scores is not None and truth_control is not None:
            (n_right_control,) = weighted_sums([scores.argmax(1) == truth_control], weights)
            measures[f"control_{side}"] = n_right_control / total
    return measures


def _one_against_rest(
    prediction: ClassPredictions, place: int, weights: Tensor
) -> dict[str, Tensor]:
    truth, own, mapped = (
        predictions == place
        for predictions in (
            prediction.truth,
            prediction.own.argmax(1),
            prediction.mapped.argmax(1),
        )
    )
    usual = 2 * prediction.n_train[place] > sum(prediction.n_train)
    return binary_measures(truth, own, mapped, usual, weights)


def _check_labels(what: str, labels: NDArray[np.integer], n: int, n_classes: int) -> None:
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"{what} must be integers, got {labels.dtype}")
    if labels.shape != (n,):
        raise ValueError(f"{what} have shape {labels.shape}, need {(n,)}: one per item")
    if n and (labels.min() < 0 or labels.max() >= n_classes):
        raise ValueError(
            f"{what} run from {labels.min()} to {labels.max()}, but must be places of "
            f"{n_classes} classes, from 0 to {n_classes - 1}"
        )
