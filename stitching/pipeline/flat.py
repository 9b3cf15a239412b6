"""Measures of a cell at a penalty that scores as well as the chosen one, with another map."""

import logging
from collections.abc import Mapping
from typing import Any

from stitching.maps.facts import Summary
from stitching.metrics.resampling import Estimate, Scores

log = logging.getLogger(__name__)

#: Prefix of these measures.
PREFIX = "flat/"

#: Error on test images over that by cross-validation, above which the choice has failed.
_FAILED = 10

#: The measure of single attributes that claims rest on; others would add hundreds of numbers.
_OF_ATTRIBUTES = "probe/kappa_relative/"


def at_other_penalty(scores: Scores) -> Scores:
    """Return the estimates among scores, named `flat/KEY`.

    Those of single attributes are left out, but for `probe/kappa_relative/ATTRIBUTE`. Counts of
    images that are not finite keep their names.
    """
    return {
        f"{PREFIX}{key}": score
        for key, score in scores.items()
        if isinstance(score, Estimate) and (key.count("/") == 1 or key.startswith(_OF_ATTRIBUTES))
    } | {key: count for key, count in scores.items() if key.startswith("invalid/")}


def gains_at_other_penalty(chosen: Scores, other: Scores) -> Scores:
    """Return gains `KEY_gain...` over a control at the other penalty.

    The control is the same, so they change by as much as KEY does, on each resample.

    Args:
        chosen: Scores at the chosen penalty, gains included.
        other: Scores at the other penalty.
    """
    found: Scores = {}
    for name, gain in chosen.items():
        key, gained, _ = name.partition("_gain")
        ours, theirs = chosen.get(key), other.get(key)
        if gained and all(isinstance(x, Estimate) for x in (gain, ours, theirs)):
            found[name] = _moved(gain, ours, theirs)  # type: ignore[arg-type]
    return found


def _moved(gain: Estimate, ours: Estimate, theirs: Estimate) -> Estimate:
    if gain.value is None or ours.value is None or theirs.value is None:
        return Estimate(None)
    draws = None
    if gain.draws is not None and ours.draws is not None and theirs.draws is not None:
        draws = gain.draws + ours.draws - theirs.draws
    return Estimate(gain.value + ours.value - theirs.value, draws)


def warn_of_choice(values: Mapping[str, Any], source: str, target: str) -> None:
    """Log that test images have many times the error that cross-validation found."""
    found, expected = values.get("latent/mse"), values.get("map/cv_mse")
    if found and expected and found > _FAILED * expected:
        log.warning(
            "%s to %s: squared error %.3g on test images, %.3g by cross-validation of the fit "
            "images: the penalty %.3g is not to be trusted. Test images are of another kind, or "
            "the fit images are too few: add images, or try map.selection=kfold",
            *(source, target, found, expected, values.get("alpha") or 0.0),
        )


def warn_of_flat(summary: Summary, source: str, target: str) -> None:
    """Log that the score of penalties does not decide between two maps."""
    log.warning(
        "%s to %s: penalty not determined: %.3g scores %.1f %% worse than %.3g, but held-out "
        "predictions differ by %.0f %% of their squared error; both are measured (flat/...)",
        *(source, target, summary["flat_alpha"], 100 * float(summary["flat_gap"] or 0)),
        *(summary["alpha"], 100 * float(summary["flat_change"] or 0)),
    )
