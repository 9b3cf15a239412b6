"""Agreement of a probe's yes-no predictions on mapped latents with those on the target's own.

Of labels with several classes see `classes`, of continuous ones `factors`. Probes are fitted
elsewhere; measures are functions of their predictions.

Accuracy alone rewards a probe that always predicts no for a rare attribute, and two such probes
agree perfectly. So balanced accuracy, area under the ROC curve, the majority baseline, a control
probe, Cohen's kappa and a note on constant predictions stand beside it. Every share is divided by
the items counted; of nothing it is None.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stitching.metrics.agreement import (
    agreement,
    area,
    binary_measures,
    binary_table,
    pairs_in_order,
)
from stitching.metrics.ceilings import ACROSS, CEILINGS, relative_kappa
from stitching.metrics.predictions import (
    Measures,
    Predictions,
    item_counts,
    measured,
    n_defined,
    paired_halves,
    scores_of,
)
from stitching.metrics.pseudo import BINARY
from stitching.metrics.resampling import Scores

#: Measures given for each attribute and, averaged, over all.
MEASURES = (
    "accuracy_own",
    "accuracy_mapped",
    "balanced_accuracy_own",
    "balanced_accuracy_mapped",
    "auc_own",
    "auc_mapped",
    "majority",
    "control_own",
    "control_mapped",
    "consistency",
    "kappa",
    ACROSS,
    *CEILINGS,
    "percent_delta",
)


@dataclass(frozen=True, eq=False)
class AttributePredictions(Predictions):
    """Predictions of one binary attribute; labels are bool, scores (n,), > 0 for yes.

    Under the paper's protocol each attribute has test items of its own.

    Attributes:
        n_yes_train: Items with it that the probe was fitted on.
        n_no_train: Items without it.
    """

    n_yes_train: int
    n_no_train: int

    def predicted(self, scores: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return whether scores are positive."""
        return scores > 0

    def lack(self) -> str | None:
        """Return why the attribute cannot be scored: all its items are of one class."""
        n, n_yes = len(self.truth), int(self.truth.sum())
        if n_yes not in (0, n):
            return None
        return (
            f"test split has {n_yes} items with and {n - n_yes} without it, at least 1 of "
            "each is needed"
        )

    @property
    def pseudo_shapes(self) -> tuple[float, ...]:
        """Shapes for predictions on own and mapped latents, and for those of two halves."""
        # Pseudo-items of their own: where all agree, kappa over its ceiling is not always 1.
        return (*BINARY, *BINARY)

    def counted(self, weights: Tensor) -> Callable[[Tensor], Measures]:
        """Count the items; measures are `MEASURES`, without those that lack probes."""
        usual = self.n_yes_train > self.n_no_train
        table = binary_table(self.truth, self.own > 0, self.mapped > 0, weights)
        sides = table.sum((1, 2))
        ordered = {
            side: pairs_in_order(scores, self.truth, weights)
            for side, scores in (("own", self.own), ("mapped", self.mapped))
        }
        control = halves = None
        if self.control is not None:
            labels, own, mapped = self.control
            control = binary_table(labels, own > 0, mapped > 0, weights)
        if self.halves is not None:
            halves = [
                binary_table(self.truth, first > 0, second > 0, weights)
                for first, second in paired_halves(self.halves)
            ]

        def measures(pseudo: Tensor) -> Measures:
            extra, extra_halves = (part.reshape(table.shape) for part in pseudo.chunk(2))
            found = binary_measures(table + extra, usual)
            before, after = found["accuracy_own"], found["accuracy_mapped"]
            found["percent_delta"] = ((after - before) / before).where(before > 0, torch.nan)
            for side, beyond in (("own", extra.sum(2)), ("mapped", extra.sum(1))):
                found[f"auc_{side}"] = area(ordered[side], sides, beyond)
            if control is not None:
                by_control = binary_measures(control + extra, usual)
                for side in ("own", "mapped"):
                    found[f"control_{side}"] = by_control[f"accuracy_{side}"]
            if halves is not None:
                own, *across = halves
                found |= dict(zip(CEILINGS, agreement(own + extra_halves), strict=True))
                kappas = [agreement(table + extra)[1] for table in across]
                found[ACROSS] = torch.stack(kappas).mean(0)
            return found

        return measures

    def _check_labels(self, what: str, labels: NDArray[Any]) -> None:
        if labels.dtype != np.bool_:
            raise TypeError(f"{what} must be bool, got {labels.dtype}")
        super()._check_labels(what, labels)


def probe_scores(
    predictions: Sequence[AttributePredictions], missing: Mapping[str, str]
) -> Scores:
    """Score mapped latents by the target's probes, overall and by attribute.

    An attribute is usable when its test items are of both classes. Overall measures are means over
    usable attributes, each counted once whatever its number of items; None where there are none:

    - `probe/accuracy_own`, `probe/accuracy_mapped`: share of items predicted correctly on the
      target's own and on mapped latents; `probe/balanced_accuracy_own`, `..._mapped`: the same
      with both classes given one weight; `probe/auc_own`, `probe/auc_mapped`: area under the ROC
      curve, which needs no threshold.
    - `probe/percent_delta`: (accuracy mapped - accuracy own) / accuracy own, as a share.
    - `probe/majority`: accuracy of always predicting the more frequent label of the probe's
      training items. `probe/control_own`, `probe/control_mapped`: accuracy of a probe of labels
      without meaning, over the `probe/n_control` attributes that have one: what it finds where
      nothing is. Source: Hewitt and Liang (2019), https://arxiv.org/abs/1909.03368
    - `probe/consistency`: share of items with equal predictions on own and mapped latent;
      `probe/kappa`: the same beyond chance, over the `probe/n_kappa` attributes where it is
      defined.
    - `probe/n_attributes`: usable ones; `probe/n_test`: items, None where attributes differ
      (`probe/n_test/ATTRIBUTE` then); `probe/n_constant`: attributes with one prediction for all
      own or all mapped latents, whose consistency carries no information.

    By usable attribute each measure, as `probe/consistency/Smiling`, then `probe/n_positive/...`,
    items with it among those tested, `probe/n_positive_train/...`, and where predictions are
    constant `probe/constant/...`: "own", "mapped" or "own and mapped". By other attribute,
    `probe/missing/...`: the reason.

    Draw k of a mean is the mean of the attributes' draws k that are defined: a resample may lack a
    class of a rare attribute.

    Args:
        predictions: By attribute, in the order of the results.
        missing: Reason why an attribute has no probe, by attribute.

    Raises:
        ValueError: An attribute appears twice, or resamples do not fit the items or differ in
            number.
    """
    found = measured("attribute", predictions, missing)
    usable, rows = found.usable, found.rows
    facts: Scores = {}
    constant = {name: prediction.constant_sides() for name, (prediction, _) in usable.items()}
    for name, (prediction, _) in usable.items():
        facts[f"probe/n_positive/{name}"] = int(prediction.truth.sum())
        facts[f"probe/n_positive_train/{name}"] = prediction.n_yes_train
        if constant[name]:
            facts[f"probe/constant/{name}"] = constant[name]
    return {
        **scores_of("probe", MEASURES, found),
        **relative_kappa("probe", found),
        "probe/n_attributes": len(rows),
        "probe/n_kappa": n_defined("kappa", rows),
        "probe/n_control": sum("control_own" in row for row in rows.values()),
        "probe/n_ceiling": sum("kappa_ceiling" in row for row in rows.values()),
        "probe/n_constant": sum(map(bool, constant.values())),
        **item_counts("probe", usable),
        **facts,
        **{f"probe/missing/{name}": why for name, why in found.missing.items()},
    }
