"""Intervals that contain the choice of the fit images: refits of a cell's map without groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stitching.compute import progress
from stitching.maps import Map, SpectralMap, UndeterminedRefit
from stitching.metrics.jackknife import groups_of, vary
from stitching.metrics.resampling import Estimate, Scores
from stitching.metrics.shifted import ShiftedScores
from stitching.pipeline.fitting import Space
from stitching.pipeline.protocol import Protocol

#: Measures whose share of variance by fit images is among the facts.
_SHARES = ("latent/r2", "image/rmse")


@dataclass(frozen=True, eq=False)
class FittedCell:
    """What the refits of a cell start from.

    Attributes:
        fitted: The map.
        source: Space of the encoder; its test latents are those of the measured items.
        target: Space of the decoder, likewise.
        mapped: Test latents mapped by `fitted`, shape (n, D_t).
        ids: Of the fit images.
        image_values: Scores the images of mapped latents, without resamples.
    """

    fitted: Map
    source: Space
    target: Space
    mapped: Tensor
    ids: Sequence[str]
    image_values: Callable[[Tensor], Scores]


def with_fit_variation(scores: Scores, cell: FittedCell, protocol: Protocol) -> Scores:
    """Return scores of which draws vary with fit images too, and the facts of the refits.

    The map is refitted without each of `protocol.fit_groups` groups of fit images, at its
    penalty, and measured on all test images. `map/refits` is the number of refits;
    `KEY_fit_share` the share of the variance of `latent/r2`, and where it was measured of
    `image/rmse`, that comes from the fit images. Where there are no refits, intervals are of the
    choice of test images alone, `map/refits` is 0 and `map/refits_missing` is the reason.

    Args:
        scores: Of latents and images; those that refits measure are replaced.
        cell: The map and its latents.
        protocol: `fit_groups`, and `refits`: measures of latents alone, or of images too.
    """
    why = _obstacle(cell, protocol)
    values: dict[str, dict[int, float]] = {}
    groups = torch.from_numpy(groups_of(cell.ids, max(1, protocol.fit_groups)))
    sizes = dict(zip(*(x.tolist() for x in groups.unique(return_counts=True)), strict=True))
    if why is None and len(sizes) < 2:
        why = f"{len(cell.ids)} fit images are in one group"
    if why is None:
        try:
            values = _refitted(cell, groups, len(sizes), protocol.refits == "images")
        except UndeterminedRefit as error:
            why = str(error)
    if why is not None:
        return scores | {"map/refits": 0, "map/refits_missing": why}
    found: Scores = scores | {"map/refits": len(sizes)}
    for key, without in values.items():
        estimate = scores.get(key)
        if isinstance(estimate, Estimate) and len(without) == len(sizes):
            found[key], share = vary(estimate, without, sizes, protocol.fit_groups)
            if key in _SHARES:
                found[f"{key}_fit_share"] = share
    return found


def _obstacle(cell: FittedCell, protocol: Protocol) -> str | None:
    fitted = cell.fitted
    if protocol.fit_groups == 0:
        return "protocol.fit_groups=0"
    if protocol.n_bootstrap == 0:
        return "protocol.n_bootstrap=0: there are no intervals"
    if fitted.name == "identity":
        return "no map was fitted"
    if not isinstance(fitted, SpectralMap) or not fitted.linear_smoother:
        return f"map={fitted.name} has no closed form of a refit"
    if not isinstance(cell.source.train, Tensor) or not isinstance(cell.target.train, Tensor):
        return f"latents are streamed (map.chunk={fitted.chunk})"
    return None


def _refitted(
    cell: FittedCell, groups: Tensor, n_groups: int, with_images: bool
) -> dict[str, dict[int, float]]:
    """Return the values of each measure by the group that the map was refitted without."""
    fitted, source, target = cell.fitted, cell.source.train, cell.target.train
    assert isinstance(fitted, SpectralMap)
    assert isinstance(source, Tensor)
    assert isinstance(target, Tensor)
    place = fitted.alpha_.device
    changes = fitted.without_groups(
        source.to(place), target.to(place), cell.source.test.to(place), groups
    )
    found: dict[str, dict[int, float]] = {}
    shifted = ShiftedScores(cell.target.test, cell.mapped)
    with progress.bar(n_groups, f"refits {fitted.name}", "group", even=False) as bar:
        for group, change in changes:
            change = change.cpu()
            values = shifted.values(change)
            if with_images:
                images = cell.image_values(cell.mapped + change)
                scored = {k: v.value for k, v in images.items() if isinstance(v, Estimate)}
                values |= {key: value for key, value in scored.items() if value is not None}
            for key, value in values.items():
                found.setdefault(key, {})[group] = value
            bar.update()
    return found
