"""Do the target's probes say the same of mapped latents as of the target's own?

Accuracy alone rewards a probe that always says no to a rare attribute, and two such probes agree
perfectly. So balanced accuracy, area under the ROC curve, the majority baseline, a control probe,
Cohen's kappa and a note on constant predictions stand beside it. Every share is divided by the
items counted; of nothing it is None.
"""

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
    item_counts,
    roc_auc,
    scores_of,
    weighted_sums,
)
from stitching.metrics.resampling import Estimate, Resamples, Scores

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
    "percent_delta",
)


@dataclass(frozen=True, eq=False)
class AttributePredictions:
    """What the target's probe of one attribute says of the test items, with what is true.

    Under the paper's protocol each attribute has test items of its own.

    Attributes:
        name: Of the attribute.
        truth: Whether each item has it, shape (n,), bool.
        own: Probe's scores of the target's own latents, > 0 for yes, shape (n,).
        mapped: Its scores of the mapped latents, item by item.
        n_yes_train: Items with it that the probe was fitted on.
        n_no_train: Items without it.
        control_truth: Labels without meaning, shape (n,), bool; None without a control probe.
        control_own: Scores by a probe of such labels on the target's own latents, shape (n,).
        control_mapped: Its scores of the mapped latents.
        resamples: Of these items; None for estimates without draws.
    """

    name: str
    truth: NDArray[np.bool_]
    own: NDArray[np.floating]
    mapped: NDArray[np.floating]
    n_yes_train: int
    n_no_train: int
    control_truth: NDArray[np.bool_] | None = None
    control_own: NDArray[np.floating] | None = None
    control_mapped: NDArray[np.floating] | None = None
    resamples: Resamples | None = None

    def __post_init__(self) -> None:
        """Check labels and scores.

        Raises:
            TypeError: Labels are not bool, or scores not floats.
            ValueError: Shapes differ, scores are not finite (the rows are named), or a part of
                the control is missing.
        """
        checked_control(self.name, self.control_truth, self.control_own, self.control_mapped)
        shape = (len(self.truth),)
        for kind, labels in (("labels", self.truth), ("control labels", self.control_truth)):
            if labels is None:
                continue
            if labels.dtype != np.bool_:
                raise TypeError(f"{kind} of {self.name} must be bool, got {labels.dtype}")
            if labels.shape != shape:
                raise ValueError(
                    f"{kind} of {self.name} have shape {labels.shape}, need {shape}: one per item"
                )
        for kind, scores in (
            ("own scores", self.own),
            ("mapped scores", self.mapped),
            ("own control scores", self.control_own),
            ("mapped control scores", self.control_mapped),
        ):
            if scores is not None:
                checked_scores(f"{kind} of {self.name}", scores, shape)


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
    checked_names("attribute", [prediction.name for prediction in predictions], missing)
    samples, missing = Samples(), dict(missing)
    usable: dict[str, tuple[AttributePredictions, Tensor]] = {}
    facts: dict[str, Estimate | float | int | str | None] = {}
    n_constant = 0
    for prediction in predictions:
        name, n, n_yes = prediction.name, len(prediction.truth), int(prediction.truth.sum())
        if n_yes in (0, n):
            missing[name] = (
                f"test split has {n_yes} items with and {n - n_yes} without it, at least 1 of "
                "each is needed"
            )
            continue
        usable[name] = prediction, samples.weights(f"attribute {name}", n, prediction.resamples)
        facts[f"probe/n_positive/{name}"] = n_yes
        facts[f"probe/n_positive_train/{name}"] = prediction.n_yes_train
        constant = constant_sides(prediction.own > 0, prediction.mapped > 0)
        if constant:
            n_constant += 1
            facts[f"probe/constant/{name}"] = constant
    with one_thread_each() as pool:
        measured = pool.map(lambda pair: _measures(*pair), usable.values())
        rows = dict(zip(usable, measured, strict=True))
    counts = {name: len(prediction.truth) for name, (prediction, _) in usable.items()}
    return {
        **scores_of("probe", MEASURES, rows),
        "probe/n_attributes": len(rows),
        "probe/n_kappa": sum(not row["kappa"][0].isnan() for row in rows.values()),
        "probe/n_control": sum("control_own" in row for row in rows.values()),
        "probe/n_constant": n_constant,
        **item_counts("probe", counts),
        **facts,
        **{f"probe/missing/{name}": why for name, why in missing.items()},
    }


def _measures(prediction: AttributePredictions, weights: Tensor) -> dict[str, Tensor]:
    own, mapped = prediction.own > 0, prediction.mapped > 0
    usual = prediction.n_yes_train > prediction.n_no_train
    measures = binary_measures(prediction.truth, own, mapped, usual, weights)
    before, after = measures["accuracy_own"], measures["accuracy_mapped"]
    measures["percent_delta"] = ((after - before) / before).where(before > 0, torch.nan)
    measures["auc_own"] = roc_auc(prediction.own, prediction.truth, weights)
    measures["auc_mapped"] = roc_auc(prediction.mapped, prediction.truth, weights)
    truth = prediction.control_truth
    if (
        truth is not None
        and prediction.control_own is not None
        and prediction.control_mapped is not None
    ):
        right = [(prediction.control_own > 0) == truth, (prediction.control_mapped > 0) == truth]
        total, *n_right = weighted_sums([np.ones_like(truth), *right], weights)
        measures["control_own"], measures["control_mapped"] = (n / total for n in n_right)
    return measures
