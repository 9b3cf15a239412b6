"""Measures of a cell at a penalty that scores as well as the chosen one, with another map."""

import logging

from stitching.maps.facts import Summary
from stitching.metrics.resampling import Estimate, Scores

log = logging.getLogger(__name__)

#: Prefix of these measures.
PREFIX = "flat/"

#: The measure of single attributes that claims rest on; others would add hundreds of numbers.
_OF_ATTRIBUTES = "probe/kappa_relative/"


def at_other_penalty(scores: Scores) -> Scores:
    """Return the estimates among scores, named `flat/KEY`.

    Those of single attributes are left out, but for `probe/kappa_relative/ATTRIBUTE`.
    """
    return {
        f"{PREFIX}{key}": score
        for key, score in scores.items()
        if isinstance(score, Estimate) and (key.count("/") == 1 or key.startswith(_OF_ATTRIBUTES))
    }


def warn_of_flat(summary: Summary, source: str, target: str) -> None:
    """Log that the score of penalties does not decide between two maps."""
    log.warning(
        "%s to %s: penalty not determined: %.3g scores %.1f %% worse than %.3g, but held-out "
        "predictions differ by %.0f %% of their squared error; both are measured (flat/...)",
        *(source, target, summary["flat_alpha"], 100 * float(summary["flat_gap"] or 0)),
        *(summary["alpha"], 100 * float(summary["flat_change"] or 0)),
    )
