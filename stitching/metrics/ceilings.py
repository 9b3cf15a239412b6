"""Kappa relative to its ceiling: the agreement of two probes of one model.

A probe is fitted to finitely many images, so two probes of one model, fitted to disjoint halves of
the fit images, do not predict the same either. Their agreement on the model's own latents is what
the images allow: the ceiling. The same two probes, one on own and the other on mapped latents,
agree less by what the map changes; that over the ceiling is 1 where a map changes no prediction.
Kappa of one probe, fitted to all images, over the ceiling would compare two sample sizes and one
probe with itself, and exceed 1.
"""

from typing import TypeVar

import torch
from torch import Tensor

from stitching.metrics.predictions import Measured, Predictions, estimate
from stitching.metrics.resampling import Scores, undefined

#: Measures of the two probes, of labels that have them.
CEILINGS = ("consistency_ceiling", "kappa_ceiling")
#: Kappa of one of them on own and the other on mapped latents, mean of both ways.
ACROSS = "kappa_halves"

_P = TypeVar("_P", bound=Predictions)


def relative_kappa(prefix: str, found: Measured[_P]) -> Scores:
    """Return `kappa_halves` over its ceiling, `PREFIX/kappa_relative`, overall and by label.

    Draw k is the draw k of the one over that of the other. Overall it is the ratio of the two
    means over the labels where both are defined, in every sample: a mean of ratios would follow
    the labels with the lowest ceilings. Undefined, with the reason as
    `PREFIX/kappa_relative_missing`, where the ceiling is at most 0 or its interval reaches 0: then
    two probes of one model agree no more than by chance, and there is nothing to be relative to.

    Args:
        prefix: First part of the keys.
        found: Measures by label; those without a ceiling are left out.
    """
    scores: Scores = {}
    both = []
    for name, row in found.rows.items():
        if "kappa_ceiling" in row:
            scores |= _over(prefix, f"/{name}", row[ACROSS], row["kappa_ceiling"])
            part = found.parts[name]
            both.append(torch.stack([part[ACROSS], part["kappa_ceiling"]]))
    if not both:
        why = "no label has probes of both halves of the fit images"
        return undefined(f"{prefix}/kappa_relative", why)
    pairs = torch.stack(both)
    pairs = pairs.where(pairs.isfinite().all(1, keepdim=True), torch.nan)
    return _over(prefix, "", *pairs.nanmean(0)) | scores


def _over(prefix: str, name: str, kappa: Tensor, ceiling: Tensor) -> Scores:
    reason = None
    low = estimate(ceiling).interval[0]
    if kappa[0].isnan() or ceiling[0].isnan():
        which = "kappa" if kappa[0].isnan() else "its ceiling"
        reason = f"{which} is undefined: all predictions are equal"
    elif ceiling[0] <= 0:
        reason = f"two probes of this model agree no more than by chance: kappa {ceiling[0]:.3f}"
    elif low is not None and low <= 0:
        reason = (
            f"two probes of this model may agree by chance: kappa {ceiling[0]:.3f}, interval "
            f"from {low:.3f}"
        )
    if reason is not None:
        return {
            f"{prefix}/kappa_relative{name}": None,
            f"{prefix}/kappa_relative_missing{name}": reason,
        }
    ratio = (kappa / ceiling).where(ceiling > 0, torch.nan)
    return {f"{prefix}/kappa_relative{name}": estimate(ratio)}
