"""Agreement of a softmax probe's classes of mapped latents with those of the target's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stitching.compute.threads import one_thread_each
from stitching.metrics.agreement import binary_measures, kappa, weighted_sums
from stitching.metrics.predictions import (
    Measures,
    Predictions,
    estimate,
    item_counts,
    measured,
    require_unique,
    scores_of,
)
from stitching.metrics.resampling import Scores

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
class ClassPredictions(Predictions):
    """Predictions of one set of C classes; labels are integers from 0 to C - 1, scores (n, C).

    An item's prediction is the class with the highest score, the first of equal ones.

    Attributes:
        names: Of the classes, C.
        n_train: Items of each class that the probe was fitted on, C numbers.

    Raises:
        ValueError: Also where a class is named twice, or there are fewer than 2 classes or
            another number of counts.
    """

    names: Sequence[str]
    n_train: Sequence[int]

    def __post_init__(self) -> None:
        """Check classes, labels and scores."""
        require_unique(f"class of {self.name}", self.names)
        if len(self.names) < 2 or len(self.n_train) != len(self.names):
            raise ValueError(
                f"{self.name} has {len(self.names)} classes and training counts of "
                f"{len(self.n_train)}: at least 2 classes, and a count of each"
            )
        super().__post_init__()

    def predicted(self, scores: NDArray[np.floating]) -> NDArray[Any]:
        """Return the places of the highest scores."""
        places: NDArray[np.int64] = scores.argmax(1)
        return places

    def lack(self) -> str | None:
        """Return why the set cannot be scored: there are no items."""
        return None if len(self.truth) else "test split has 0 items"

    def measures(self, weights: Tensor) -> Measures:
        """Return `MEASURES`, those of the control where there is one."""
        truth, own, mapped = self.truth, self.own.argmax(1), self.mapped.argmax(1)
        usual = int(np.argmax(self.n_train))
        columns = [np.ones_like(truth), truth == usual, own == mapped]
        total, majority, equal = weighted_sums(columns, weights)
        places = range(len(self.names))
        n_true, n_own, n_mapped = (
            torch.stack(weighted_sums([predictions == place for place in places], weights))
            for predictions in (truth, own, mapped)
        )
        found = {
            "majority": majority / total,
            "consistency": equal / total,
            "kappa": kappa(equal, (n_own * n_mapped).sum(dim=0), total),
        }
        for side, predictions in (("own", own), ("mapped", mapped)):
            hits = [(predictions == truth) & (truth == place) for place in places]
            n_right = torch.stack(weighted_sums(hits, weights))
            found[f"accuracy_{side}"] = n_right.sum(dim=0) / total
            found[f"balanced_accuracy_{side}"] = (n_right / n_true).nanmean(dim=0)
        if self.control is not None:
            labels, *controls = self.control
            for side, scores in zip(("own", "mapped"), controls, strict=True):
                (n_right_control,) = weighted_sums([scores.argmax(1) == labels], weights)
                found[f"control_{side}"] = n_right_control / total
        return found

    def one_against_rest(self, place: int, weights: Tensor) -> Measures:
        """Return the measures of the prediction "this class or another"."""
        truth, own, mapped = (
            predictions == place
            for predictions in (self.truth, self.own.argmax(1), self.mapped.argmax(1))
        )
        usual = 2 * self.n_train[place] > sum(self.n_train)
        return binary_measures(truth, own, mapped, usual, weights)

    def _check_labels(self, what: str, labels: NDArray[Any]) -> None:
        if not np.issubdtype(labels.dtype, np.integer):
            raise TypeError(f"{what} must be integers, got {labels.dtype}")
        super()._check_labels(what, labels)
        n_classes = len(self.names)
        if len(labels) and (labels.min() < 0 or labels.max() >= n_classes):
            raise ValueError(
                f"{what} run from {labels.min()} to {labels.max()}, but must be places of "
                f"{n_classes} classes, from 0 to {n_classes - 1}"
            )

    def _check_scores(self, what: str, scores: NDArray[Any], *columns: int) -> None:
        super()._check_scores(what, scores, len(self.names))


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
    usable, rows, missing = measured("set of classes", predictions, missing)
    facts: Scores = {}
    present: dict[str, tuple[ClassPredictions, int, Tensor]] = {}
    for name, (prediction, weights) in usable.items():
        if constant := prediction.constant_sides():
            facts[f"class/constant/{name}"] = constant
        for place, class_name in enumerate(prediction.names):
            key, n_true = f"{name}/{class_name}", int((prediction.truth == place).sum())
            if n_true == 0:
                missing[key] = "test split has 0 items of this class"
                continue
            present[key] = prediction, place, weights
            facts[f"class/n_positive/{key}"] = n_true
            facts[f"class/n_positive_train/{key}"] = int(prediction.n_train[place])
    with one_thread_each() as pool:
        found = pool.map(lambda known: known[0].one_against_rest(*known[1:]), present.values())
        for key, row in zip(present, found, strict=True):
            facts |= {
                f"class/{measure}/{key}": estimate(samples) for measure, samples in row.items()
            }
    return {
        **scores_of("class", MEASURES, rows),
        "class/n_sets": len(rows),
        **item_counts("class", usable),
        **facts,
        **{f"class/missing/{name}": why for name, why in missing.items()},
    }
