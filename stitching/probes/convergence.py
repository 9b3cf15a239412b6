"""Warnings of fits that ended at an edge of their grid or before they converged."""

import warnings
from collections.abc import Mapping

from stitching.maps import PenaltyEdgeWarning
from stitching.probes.fitted import FittedProbe


class ProbeConvergenceWarning(UserWarning):
    """A fit was stopped before it met its tolerance."""


def warn_edges(fitted: Mapping[str, FittedProbe]) -> None:
    """Warn of the probes whose penalty is the lower (-1) or upper (1) end of its grid."""
    ends = {-1: "lower", 1: "upper"}
    edges = {name: int(probe.facts.get("edge", 0)) for name, probe in fitted.items()}
    found = [f"{name} ({ends[edge]})" for name, edge in edges.items() if edge]
    if found:
        warnings.warn(
            f"probe penalty at an edge of its grid: {', '.join(found)}. At the lower edge the "
            "labels need no penalty; at the upper edge the latents have almost no information "
            "about them",
            PenaltyEdgeWarning,
            stacklevel=3,
        )


def warn_unconverged(what: str, fitted: Mapping[str, FittedProbe]) -> None:
    """Warn of the probes that were stopped before they converged."""
    found = [name for name, probe in fitted.items() if not probe.facts["converged"]]
    if found:
        warnings.warn(
            f"{what} stopped before they converged: {', '.join(found)}. Raise probe.max_iter, or "
            "take a larger probe.alpha",
            ProbeConvergenceWarning,
            stacklevel=3,
        )
