"""Do the target's probes say the same of mapped latents as of the target's own?

Accuracy alone rewards a probe that always says no to a rare attribute, and two such probes agree
perfectly. So balanced accuracy, the majority baseline, Cohen's kappa and a note on constant
answers stand beside it. Every share is divided by the items counted; of nothing it is None.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stitching.metrics.base import require_finite
from stitching.probes import Labels, Probes, checked_labels

Answers = NDArray[np.bool_]
Scores = dict[str, float | int | str | None]

#: Measures given for each attribute and, averaged, over all.
MEASURES = (
    "accuracy_own",
    "accuracy_mapped",
    "balanced_accuracy_own",
    "balanced_accuracy_mapped",
    "majority",
    "consistency",
    "kappa",
)


def agreement(first: Answers, second: Answers) -> float | None:
    """Return the share of items with equal answers, in [0, 1], or None without items.

    With labels as one side this is accuracy.
    """
    return float((first == second).mean()) if _paired(first, second) else None


def balanced_accuracy(answers: Answers, labels: Answers) -> float | None:
    """Return the mean of the shares right among yes and among no, None unless both occur.

    0.5 for any constant answer.
    """
    if not _paired(answers, labels) or labels.all() or not labels.any():
        return None
    return float((answers[labels].mean() + (~answers[~labels]).mean()) / 2)


def cohen_kappa(first: Answers, second: Answers) -> float | None:
    """Return agreement beyond chance, 1 for perfect, 0 for chance, down to -1.

    (p - p_chance) / (1 - p_chance), p_chance from how often each side says yes. None without
    items, and where both sides give one and the same answer throughout: chance agrees there too.

    Source: Cohen (1960), doi:10.1177/001316446002000104
    """
    n = _paired(first, second)
    if n == 0:
        return None
    # In whole numbers, so that chance agreement of 1 is met exactly.
    equal = int((first == second).sum())
    yes_first, yes_second = int(first.sum()), int(second.sum())
    chance = yes_first * yes_second + (n - yes_first) * (n - yes_second)
    return (equal * n - chance) / (n * n - chance) if chance < n * n else None


def probe_scores(probes: Probes, labels: Labels, z_true: Tensor, z_mapped: Tensor) -> Scores:
    """Score mapped latents by the target's probes, overall and by attribute.

    An attribute is usable when it has a probe and the test split has items with and without it.
    Overall measures are means over usable attributes (kappa over those where it is defined), None
    where there are none:

    - `probe/accuracy_own`, `probe/accuracy_mapped`: share of items answered correctly on the
      target's own and on mapped latents; `probe/balanced_accuracy_own`,
      `probe/balanced_accuracy_mapped`: the same with both classes given one weight.
    - `probe/majority`: accuracy of always giving the training split's more frequent answer.
    - `probe/consistency`: share of items with equal answers on own and mapped latent;
      `probe/kappa`: the same beyond chance.
    - `probe/n_attributes`, `probe/n_kappa`: attributes averaged over, for kappa apart;
      `probe/n_test`: items; `probe/n_constant`: usable attributes with one answer for all own or
      all mapped latents, whose consistency carries no information.

    By usable attribute, each measure above as `probe/consistency/Smiling`, then
    `probe/n_positive/...`, items with it in the test and `probe/n_positive_train/...` in the
    training split, and where answers are constant `probe/constant/...`: "own", "mapped" or
    "own and mapped". By other attribute, `probe/missing/...`: the reason.

    Args:
        probes: Trained on the target's own training latents.
        labels: Of the test split, shape (n,) and bool, by attribute.
        z_true: Target's own latents of the test split, shape (n, D).
        z_mapped: Mapped latents, row i from the same image as row i of `z_true`.

    Raises:
        TypeError: Labels are not bool.
        ValueError: Lengths differ, another width than the probes', or latents not finite.
    """
    if z_true.shape != z_mapped.shape:
        raise ValueError(
            f"own latents have shape {tuple(z_true.shape)} but mapped latents "
            f"{tuple(z_mapped.shape)}: both must come from the same test items"
        )
    require_finite(z_true, "the target's own latents")
    require_finite(z_mapped, "the mapped latents")
    n = z_true.shape[0]
    own, mapped = probes.predict(z_true), probes.predict(z_mapped)
    missing, details = dict(probes.missing), Scores()
    by_attribute: dict[str, dict[str, float | None]] = {}
    n_constant = 0
    for name in probes.attributes:
        if name not in labels:
            missing[name] = "test split has no such attribute"
            continue
        truth = checked_labels(name, labels[name], n)
        n_yes = int(truth.sum())
        if n_yes in (0, n):
            missing[name] = (
                f"test split has {n_yes} items with and {n - n_yes} without it, at least 1 of "
                "each is needed"
            )
            continue
        n_yes_train, n_no_train = probes.counts[name]
        usual = np.full(n, n_yes_train > n_no_train)
        by_attribute[name] = _measures(own[name], mapped[name], usual, truth)
        details[f"probe/n_positive/{name}"] = n_yes
        details[f"probe/n_positive_train/{name}"] = n_yes_train
        constant = [
            side
            for side, answers in (("own", own[name]), ("mapped", mapped[name]))
            if answers.all() or not answers.any()
        ]
        if constant:
            n_constant += 1
            details[f"probe/constant/{name}"] = " and ".join(constant)

    result = Scores()
    for measure in MEASURES:
        result[f"probe/{measure}"] = _mean([row[measure] for row in by_attribute.values()])
    result["probe/n_attributes"] = len(by_attribute)
    result["probe/n_kappa"] = sum(row["kappa"] is not None for row in by_attribute.values())
    result["probe/n_test"] = n
    result["probe/n_constant"] = n_constant
    for measure in MEASURES:
        for name, row in by_attribute.items():
            result[f"probe/{measure}/{name}"] = row[measure]
    return result | details | {f"probe/missing/{name}": why for name, why in missing.items()}


def _measures(
    own: Answers, mapped: Answers, usual: Answers, truth: Answers
) -> dict[str, float | None]:
    return {
        "accuracy_own": agreement(own, truth),
        "accuracy_mapped": agreement(mapped, truth),
        "balanced_accuracy_own": balanced_accuracy(own, truth),
        "balanced_accuracy_mapped": balanced_accuracy(mapped, truth),
        "majority": agreement(usual, truth),
        "consistency": agreement(own, mapped),
        "kappa": cohen_kappa(own, mapped),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    """Average what is defined; None where nothing is."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def _paired(first: Answers, second: Answers) -> int:
    """Return the number of items, once both sides are known to be bool and of one length."""
    if first.dtype != np.bool_ or second.dtype != np.bool_:
        raise TypeError(f"answers must be bool, got {first.dtype} and {second.dtype}")
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(
            f"answers must be two vectors of one length, got shapes {first.shape} and "
            f"{second.shape}: take both from the same items"
        )
    return len(first)
