"""What the source's latents explain of the target's beyond a linear view of the pixels.

Two maps to the target's latents are fitted to the same images: ridge regression from pixels alone,
and banded ridge regression from pixels and the source's latents. The measure is the share of the
first one's squared error on test images that the second one removes: a partial R2, estimated on
new images.

With fewer images than pixel values a linear map from pixels is known only as well as its penalty
describes it: an encoder that is linear in the pixels, such as a thumbnail, then helps where it
emphasises what the target needs. So the map from pixels may choose among `VIEWS` of them. Streamed
latents, which are many, are represented by their leading components, and pixels by one view.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stitching import maps
from stitching.compute import images, progress
from stitching.compute.source import source_version
from stitching.maps.banded import SHARES, BandedFit, Features, fit_banded, joined
from stitching.maps.factorisation import Factorisation, factorise
from stitching.maps.matrix import Rows
from stitching.metrics.jackknife import groups_of, vary
from stitching.metrics.resampling import Estimate, Resamples, Scores, undefined
from stitching.pipeline.cache import Cache
from stitching.pipeline.fitting import Factorisations, Space
from stitching.records.tensorfiles import Tensors

KEY, PIXELS = "latent/r2_beyond_pixels", "latent/r2_pixels"

#: Weights of the details of an image that appear at an eighth, a quarter, half and full of its
#: resolution: as it is, with fine details damped or left out, and with coarse ones damped.
VIEWS = (
    (1.0, 1.0, 1.0, 1.0),
    (1.0, 1.0, 1.0, 0.5),
    (1.0, 1.0, 1.0, 0.0),
    (1.0, 1.0, 0.5, 0.25),
    (1.0, 0.5, 0.25, 0.1),
    (0.5, 0.7, 0.85, 1.0),
)

#: Components of streamed latents and pixels: two blocks take 8 (2 x 2048)^2 bytes a matrix.
STREAMED_COMPONENTS = 2048

#: Below this share of the target's variance nothing is left by pixels that could be explained.
_NOTHING_LEFT = 1e-8

#: Images weighted at a time.
_IMAGES = 256


@dataclass(frozen=True, eq=False)
class BeyondPixels:
    """Measures how much of what pixels leave of a target the source's latents explain.

    Attributes:
        pixels: The images themselves as latents, of the same fit and test images as the spaces.
        image_size: Height and width of the images.
        factorisations: Of the fit latents of all models.
        chunk: Rows of latents read at a time; None where they are in memory.
        device: Of the solves.
        cache: Keeps factorisations of views on disk, those of two blocks in memory.
    """

    pixels: Space
    image_size: int
    factorisations: Factorisations
    chunk: int | None
    device: torch.device
    cache: Cache

    def scores(
        self,
        source: Space,
        target: Space,
        resamples: Resamples,
        ids: Sequence[str] = (),
        n_groups: int = 0,
    ) -> Scores:
        """Return `latent/r2_beyond_pixels`, `latent/r2_pixels`, and which features were chosen.

        The first is 1 for one model in both roles and 0 for pixels as the source, by definition.

        Args:
            source: Latents of the encoder.
            target: Latents of the decoder.
            resamples: Of the test items.
            ids: Of the fit images.
            n_groups: Groups of fit images to refit without, so that draws vary with fit images
                too; 0 for none. Streamed latents are not refitted.
        """
        why = "a linear map from pixels leaves nothing of the target's latents to explain"
        nothing = undefined(KEY, why) | undefined(PIXELS, why)
        goal, own = self._goal(target), target.test.double()
        spread = float((own - own.mean(0)).square().sum()) * len(own) / max(1, len(own) - 1)
        if spread == 0 or goal.train.shape[1] == 0:
            return nothing
        with progress.bar(2, "fits a map from pixels", "step", even=False) as bar:
            view, alone = self._from_pixels(target, goal)
            bar.update()
            bar.describe(f"fits a map from pixels and latents of {source.frozen.model.name}")
            joint = self._with_latents(source, target, goal, view, alone)
            bar.update()
        helped = joint is None or joint.fit.score < alone.score
        share = joint.share if joint and helped else float(joint is None)
        facts: Scores = {f"{KEY}_view": view, f"{KEY}_share": share}
        left = float(alone.errors.sum())
        if left <= _NOTHING_LEFT * spread:
            return facts | nothing
        errors = torch.zeros_like(alone.errors) if joint is None else joint.fit.errors
        both = torch.stack([errors, alone.errors], 1)
        beyond = resamples.of_means(both, lambda means: 1 - means[..., 0] / means[..., 1])
        if joint and joint.fit is not alone and n_groups and self.chunk is None:
            beyond = _varied(beyond, joint.fit, alone, groups_of(ids, n_groups), n_groups)
        if not helped and beyond.value is not None and beyond.draws is not None:
            # What is left out is known to be 0 only as well as the best map with it is known.
            beyond = Estimate(0.0, beyond.draws - beyond.value)
        return {KEY: beyond, PIXELS: 1 - left / spread, **facts}

    def _with_latents(
        self, source: Space, target: Space, goal: Features, view: int, alone: BandedFit
    ) -> "_Joint | None":
        """Return the best map from pixels and latents.

        None for the exact map of a model to itself; `alone` for pixels as the source.
        """
        identity = source.frozen.identity()
        if identity == target.frozen.identity():
            return None
        if identity == self.pixels.frozen.identity():
            return _Joint(alone, 0.0)
        latents = self._features(source)
        found = []
        for share in SHARES:
            features = joined(alone.features, latents, share)
            fit = fit_banded(self._joint(source, view, share, features), features, goal)
            found.append(_Joint(fit, share))
        return min(found, key=lambda joint: joint.fit.score)

    def _from_pixels(self, target: Space, goal: Features) -> tuple[int, BandedFit]:
        """Return the best view of pixels for a target, and the map from it."""
        views = range(len(VIEWS) if self.chunk is None else 1)

        def choose() -> Tensors:
            scores = [self._fit_view(view, goal).score for view in views]
            return {"view": torch.tensor(min(views, key=scores.__getitem__))}

        parts = {**self._view_parts(None), "target": target.frozen.identity()}
        view = int(self.cache.tensors("views", parts, choose)["view"])
        return view, self._fit_view(view, goal)

    def _fit_view(self, view: int, goal: Features) -> BandedFit:
        if self.chunk is not None:
            features = self._features(self.pixels)
            return fit_banded(self._of_view(view, lambda: features.train), features, goal)

        def seen(rows: Rows) -> Tensor:
            return self._seen(cast(Tensor, rows), view).to(self.device)

        @cache
        def train() -> Tensor:
            return seen(self.pixels.train)

        @cache
        def basis() -> Factorisation:
            return self._of_view(view, train)

        def components() -> Features:
            return Features.of(basis(), train(), seen(self.pixels.test))

        parts = self._view_parts(view) | {"test": _digest(self.pixels.test)}
        features = self._kept(parts, components)
        return fit_banded(features.factorisation(basis()), features, goal)

    def _of_view(self, view: int, train: Callable[[], Rows]) -> Factorisation:
        """Return the factorisation of a view of pixels, from memory or disk if it is there."""
        stored = self.cache.tensors(
            "factorisations",
            self._view_parts(view),
            lambda: factorise(train(), self.chunk).to_tensors(),
        )
        return Factorisation.from_tensors(stored, self.chunk).to(self.device)

    def _seen(self, flat: Tensor, view: int) -> Tensor:
        """Return a view of flattened images, (N, 3 S S), some at a time."""
        shape = (-1, 3, self.image_size, self.image_size)
        parts = (
            images.detail_weighted(part.view(shape), VIEWS[view]).flatten(1)
            for part in flat.split(_IMAGES)
        )
        return torch.cat(list(parts))

    def _goal(self, target: Space) -> Features:
        """Return the target's features, of which every dimension counts."""
        if self.chunk is not None:
            return Features(target.train, target.test, None, self.chunk)
        return self._features(target)

    def _features(self, space: Space) -> Features:
        """Return a space in its principal components, of streamed latents the leading ones."""
        basis = self.factorisations.of(space, self.chunk, self.device)
        if self.chunk is not None:
            leading = _Leading(basis, space.train)
            test = basis.leading(space.test, None, leading.shape[1])
            return Features(leading, test, None, self.chunk)
        train = cast(Tensor, space.train).to(self.device)
        parts = {"images": space.fingerprint, "model": space.frozen.identity()}
        made = partial(Features.of, basis, train, space.test.to(self.device))
        return self._kept(parts | {"test": _digest(space.test)}, made)

    def _kept(self, parts: dict[str, Any], make: Callable[[], Features]) -> Features:
        def tensors() -> Tensors:
            made = make()
            assert isinstance(made.train, Tensor)
            assert made.left_out is not None
            return {"train": made.train, "test": made.test, "left_out": made.left_out}

        parts = parts | {"device": self.device.type}
        found = self.cache.kept("components", parts, tensors)
        return Features(found["train"], found["test"], found["left_out"])

    def _joint(self, source: Space, view: int, share: float, features: Features) -> Factorisation:
        parts = {**self._view_parts(view), "source": source.frozen.identity(), "share": share}
        stored = self.cache.kept(
            "joint", parts, lambda: factorise(features.train, self.chunk).to_tensors()
        )
        return Factorisation.from_tensors(stored, self.chunk)

    def _view_parts(self, view: int | None) -> dict[str, Any]:
        return {
            "images": self.pixels.fingerprint,
            "model": self.pixels.frozen.identity(),
            "views": VIEWS if view is None else VIEWS[view],
            "algorithm": Factorisation.identity,
            "code": source_version(maps, images),
            "streamed": self.chunk is not None,
            "solved_on": self.device.type,
        }


@dataclass(frozen=True, eq=False)
class _Joint:
    """A map from pixels and latents, and the share of the latents in the features."""

    fit: BandedFit
    share: float


@dataclass(frozen=True, eq=False)
class _Leading:
    """Leading components of streamed latents, computed slice by slice."""

    basis: Factorisation
    rows: Rows

    @property
    def shape(self) -> torch.Size:
        return torch.Size([self.rows.shape[0], min(self.basis.width, STREAMED_COMPONENTS)])

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64

    @property
    def device(self) -> torch.device:
        return self.rows.device

    def __getitem__(self, rows: slice, /) -> Tensor:
        return self.basis.leading(self.rows[rows], None, self.shape[1])


def _varied(
    beyond: Estimate, joint: BandedFit, alone: BandedFit, groups: NDArray[np.int64], n_groups: int
) -> Estimate:
    """Return the estimate with draws that vary with the fit images too, see `jackknife`."""
    present, sizes = np.unique(groups, return_counts=True)
    if len(present) < 2:
        return beyond
    places = torch.from_numpy(groups)
    rest, left = (fit.errors_without(places).sum(1) for fit in (joint, alone))
    values = (1 - rest / left).tolist()
    without = dict(zip(present.tolist(), values, strict=True))
    of_sizes = dict(zip(present.tolist(), sizes.tolist(), strict=True))
    return vary(beyond, without, of_sizes, n_groups)[0]


def _digest(rows: Tensor) -> str:
    return hashlib.sha256(rows.contiguous().numpy().tobytes()).hexdigest()
