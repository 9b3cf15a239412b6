"""Agreement of a softmax probe's classes of mapped latents with those of the target's own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stitching.compute.threads import one_thread_each
from stitching.metrics.agreement import binary_measures, binary_table, kappa, weighted_sums
from stitching.metrics.ceilings import ACROSS, CEILINGS, relative_kappa
from stitching.metrics.predictions import (
    Measures,
    Predictions,
    estimate,
    item_counts,
    measured,
    paired_halves,
    require_unique,
    scores_of,
)
from stitching.metrics.pseudo import BINARY, DIFFERENT, EQUAL, pseudo_weights, with_pseudo
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
    ACROSS,
    *CEILINGS,
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

    @property
    def pseudo_shapes(self) -> tuple[float, ...]:
        """Shapes for predictions on own and mapped latents, and for those of two halves."""
        # As many as of two classes, spread over all: 1, 2, 2, 1 eighths times 2 of each kind.
        each = [2 * x / len(self.names) for x in (EQUAL, DIFFERENT, DIFFERENT, EQUAL)]
        return (*each, *each) * len(self.names)

    def counted(self, weights: Tensor) -> Callable[[Tensor], Measures]:
        """Count the items; measures are `MEASURES`, without those that lack probes."""
        own, mapped = self.own.argmax(1), self.mapped.argmax(1)
        counts = self._counts(self.truth, own, mapped, weights)
        control = halves = None
        if self.control is not None:
            labels, first, second = self.control
            control = self._counts(labels, first.argmax(1), second.argmax(1), weights)
        if self.halves is not None:
            halves = [
                self._counts(self.truth, first.argmax(1), second.argmax(1), weights)
                for first, second in paired_halves(self.halves)
            ]
        truth, *predictions = _pseudo_items(len(self.names))

        def measures(pseudo: Tensor) -> Measures:
            n_classes, n_samples = len(self.names), pseudo.shape[1]
            both = pseudo.view(n_classes, 2, 4, n_samples).transpose(0, 1)
            extra, extra_halves = (
                self._counts(truth, predictions[0], predictions[1], part.reshape(-1, n_samples))
                for part in both
            )
            found = (counts + extra).measures()
            if control is not None:
                by_control = (control + extra).measures()
                for side in ("own", "mapped"):
                    found[f"control_{side}"] = by_control[f"accuracy_{side}"]
            if halves is not None:
                by_halves = (halves[0] + extra_halves).measures()
                found |= {key: by_halves[key.removesuffix("_ceiling")] for key in CEILINGS}
                kappas = [(counts + extra).measures()["kappa"] for counts in halves[1:]]
                found[ACROSS] = torch.stack(kappas).mean(0)
            return found

        return measures

    def one_against_rest(self, place: int, weights: Tensor) -> Measures:
        """Return the measures of the prediction "this class or another", with pseudo-items.

        Args:
            place: Of the class.
            weights: Shape (n, S): ones, and a column for each resample.
        """
        truth, own, mapped = (
            predictions == place
            for predictions in (self.truth, self.own.argmax(1), self.mapped.argmax(1))
        )
        usual = 2 * self.n_train[place] > sum(self.n_train)
        table = binary_table(truth, own, mapped, weights)
        seed = 0 if self.resamples is None else self.resamples.seed
        name, n_draws = f"{self.name}/{self.names[place]}", weights.shape[1] - 1
        pseudo = pseudo_weights(BINARY, name, n_draws, seed)
        return with_pseudo(
            lambda extra: binary_measures(table + extra.view(table.shape), usual), pseudo
        )

    def _counts(
        self,
        truth: NDArray[Any],
        own: NDArray[np.int64],
        mapped: NDArray[np.int64],
        weights: Tensor,
    ) -> "_Counts":
        places = range(len(self.names))

        def by_class(predictions: NDArray[Any], among: NDArray[np.bool_] | bool = True) -> Tensor:
            columns = [(predictions == place) & among for place in places]
            return torch.stack(weighted_sums(columns, weights))

        return _Counts(
            usual=int(np.argmax(self.n_train)),
            equal=weighted_sums([own == mapped], weights)[0],
            truth=by_class(truth),
            predicted=torch.stack([by_class(own), by_class(mapped)]),
            right=torch.stack([by_class(truth, own == truth), by_class(truth, mapped == truth)]),
        )

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


@dataclass(frozen=True)
class _Counts:
    """Numbers of items of every sample, which add up over items."""

    usual: int
    equal: Tensor  # with equal predictions, (S,)
    truth: Tensor  # of each class, (C, S)
    predicted: Tensor  # of each class by own and mapped prediction, (2, C, S)
    right: Tensor  # of each class predicted right by own and mapped latents, (2, C, S)

    def __add__(self, other: "_Counts") -> "_Counts":
        return _Counts(
            self.usual,
            self.equal + other.equal,
            self.truth + other.truth,
            self.predicted + other.predicted,
            self.right + other.right,
        )

    def measures(self) -> Measures:
        total = self.truth.sum(0)
        found = {
            "majority": self.truth[self.usual] / total,
            "consistency": self.equal / total,
            "kappa": kappa(self.equal, self.predicted.prod(0).sum(0), total),
        }
        for side, right in zip(("own", "mapped"), self.right, strict=True):
            found[f"accuracy_{side}"] = right.sum(0) / total
            found[f"balanced_accuracy_{side}"] = (right / self.truth).nanmean(0)
        return found


def _pseudo_items(n_classes: int) -> tuple[NDArray[np.int64], ...]:
    """Truth, own and mapped prediction of four items of each class: it and the next one."""
    truth = np.arange(n_classes).repeat(4)
    following = (truth + 1) % n_classes
    own = np.where(np.tile([False, False, True, True], n_classes), following, truth)
    mapped = np.where(np.tile([False, True, False, True], n_classes), following, truth)
    return truth, own, mapped


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
    measures = measured("set of classes", predictions, missing)
    usable, rows, missing = measures.usable, measures.rows, measures.missing
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
        **scores_of("class", MEASURES, measures),
        **relative_kappa("class", measures),
        "class/n_sets": len(rows),
        **item_counts("class", usable),
        **facts,
        **{f"class/missing/{name}": why for name, why in missing.items()},
    }
