"""Intervals that contain the choice of the fit images: refits of a cell's map without groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stitching.compute import progress
from stitching.maps import Map, SpectralMap, UndeterminedRefit
from stitching.metrics.jackknife import groups_of, noise, noise_of_draws, vary
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
        target: Space of the decoder, with test latents of the same items.
        mapped: Test latents mapped by `fitted`, shape (n, D_t).
        ids: Of the fit images.
        image_values: Scores the images of mapped latents, without half-samples.
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
    groups = torch.from_numpy(groups_of(cell.ids, max(1, protocol.fit_groups)))
    sizes = dict(zip(*(x.tolist() for x in groups.unique(return_counts=True)), strict=True))
    if why is None and len(sizes) < 2:
        why = f"{len(cell.ids)} fit images are in one group"
    if why is None:
        try:
            refits = _Refits(cell, groups, sizes, protocol.refits == "images")
        except UndeterminedRefit as error:
            why = str(error)
    if why is not None:
        return scores | {"map/refits": 0, "map/refits_missing": why}
    found: Scores = scores | {"map/refits": len(sizes)}
    for key, without in refits.values.items():
        estimate = scores.get(key)
        if isinstance(estimate, Estimate) and len(without) == len(sizes):
            chance = refits.chance(key, estimate)
            found[key], share = vary(estimate, without, sizes, protocol.fit_groups, chance)
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


class _Refits:
    """Refits of a cell's map without each group of fit images.

    Attributes:
        values: Of each measure, by the group that the map was refitted without.
    """

    def __init__(
        self, cell: FittedCell, groups: Tensor, sizes: dict[int, int], with_images: bool
    ) -> None:
        self.values: dict[str, dict[int, float]] = {}
        self._sizes = sizes
        self._items: dict[str, dict[int, NDArray[np.float64]]] = {}
        self._images: dict[str, dict[int, Estimate]] = {}
        fitted, source, target = cell.fitted, cell.source.train, cell.target.train
        assert isinstance(fitted, SpectralMap)
        assert isinstance(source, Tensor)
        assert isinstance(target, Tensor)
        place = fitted.alpha_.device
        changes = fitted.without_groups(
            source.to(place), target.to(place), cell.source.test.to(place), groups
        )
        shifted = ShiftedScores(cell.target.test, cell.mapped)
        self._before = shifted.items(torch.zeros_like(cell.mapped))
        with progress.bar(len(sizes), f"refits {fitted.name}", "group", even=False) as bar:
            for group, moved in changes:
                change = moved.cpu()
                items = shifted.items(change)
                for key, rows in items.items():
                    self._items.setdefault(key, {})[group] = rows.numpy()
                for key, value in shifted.of_items(items).items():
                    self.values.setdefault(key, {})[group] = value
                if with_images:
                    self._add_images(group, cell.image_values(cell.mapped + change))
                bar.update()

    def _add_images(self, group: int, scores: Scores) -> None:
        for key, score in scores.items():
            if isinstance(score, Estimate) and score.value is not None:
                self.values.setdefault(key, {})[group] = score.value
                self._images.setdefault(key, {})[group] = score

    def chance(self, key: str, estimate: Estimate) -> float:
        """Return the part of a measure's deviations that its draws contain already."""
        if key in self._images:
            return noise_of_draws(estimate, self._images[key], self._sizes)
        base = key if key in self._items else "latent/mse"
        return noise(self._before[base].numpy(), self._items[base], self._sizes)
