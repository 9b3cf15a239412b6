"""Gains over pixels: errors of images from control maps, minus those of the cell's images.

A control map starts from pixels, or from as many of their leading principal components as the
encoder's latents have values. It is of the same kind as the cell's map, goes to the same decoder
and is fitted to the same images.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from stitching import maps, metrics
from stitching.compute.source import source_version
from stitching.metrics.base import ImageMetric
from stitching.metrics.resampling import Estimate, Scores, undefined
from stitching.pipeline.cache import Cache
from stitching.pipeline.encoding import decode
from stitching.pipeline.finite import finite_rows
from stitching.pipeline.fitting import Fitting, Space
from stitching.pipeline.scoring import TestItems, cached_scores, image_scores

#: Measures of images with gains: lower is better, and each has draws of means over images.
MEASURES = ("image/rmse", "image/lpips")


@dataclass(frozen=True, eq=False)
class Gains:
    """Scores control maps to a decoder, once per decoder and width.

    Attributes:
        pixels: The images themselves as latents, of the same images as the target.
        fitting: Fits the cell's map and those of controls.
        metrics: Image metrics of `MEASURES`, by name.
        items: The test images that are measured on.
        cache: Keeps scores.
        batch_size: Images per forward pass.
    """

    pixels: Space
    fitting: Fitting
    metrics: Mapping[str, ImageMetric]
    items: TestItems
    cache: Cache
    batch_size: int

    def scores(self, cell: Scores, width: int, target: Space) -> Scores:
        """Return `image/rmse_gain` and `image/lpips_gain`, positive where the cell is better.

        `image/rmse_gain_pca` and `image/lpips_gain_pca` are those over the leading components.
        Draws are paired: both sides rest on the same resamples of the test images.

        Args:
            cell: Scores of the cell's images.
            width: Number of values of one latent of the encoder.
            target: Space of the decoder.
        """
        gains: Scores = {}
        for suffix, space in (("", self.pixels), ("_pca", self._components(width))):
            found = cached_scores(
                self.cache,
                "controls",
                self._parts(space, target),
                partial(self._score, space, target),
            )
            for key in MEASURES:
                ours, theirs, name = cell.get(key), found.get(key), f"{key}_gain{suffix}"
                if isinstance(ours, Estimate) and isinstance(theirs, Estimate):
                    gains[name] = _difference(theirs, ours)
                elif isinstance(ours, Estimate):
                    gains |= undefined(name, str(found.get("missing")))
        return gains

    def _components(self, width: int) -> Space:
        """Return the leading components of pixels; pixels where these are all directions."""
        basis = self.fitting.factorisations.of(self.pixels, self.fitting.chunk, self.fitting.place)
        if width >= basis.rank:
            return self.pixels
        frozen = replace(self.pixels.frozen, width=width)
        return self.fitting.narrowed(
            replace(self.pixels, frozen=frozen), self.items.images.fingerprint
        )

    def _score(self, space: Space, target: Space) -> Scores:
        model = target.frozen.model
        try:
            fitted = self.fitting.fit_quietly(space, target, for_images=True)
        except ValueError as error:
            return {"missing": f"map={self.fitting.template.name} from pixels: {error}"}
        mapped = self.fitting.apply(fitted, space.test)
        stitched = decode(model, mapped, self.batch_size, f"{space.frozen.model.name}-mapped")
        if not bool(finite_rows(stitched).all()):
            return {"missing": f"{model.name} decodes values that are not finite from pixels"}
        found = image_scores(
            self.metrics, self.items, stitched, self.cache, self.batch_size, Counter()
        )
        return {key: found[key] for key in MEASURES if key in found}

    def _parts(self, space: Space, target: Space) -> dict[str, Any]:
        template, items = self.fitting.template, self.items
        by_hand = self.fitting.by_hand
        names = space.frozen.model_name, target.frozen.model_name
        return {
            "fit images": space.fingerprint,
            "images": items.images.fingerprint,
            "kept": items.kept.nonzero().flatten().tolist(),
            "resamples": [items.resamples.n_bootstrap, items.resamples.seed],
            "control": space.frozen.identity(),
            "decoder": target.frozen.identity(decoding=True),
            "map": [template.name, template.settings(), by_hand and by_hand(*names)],
            "metrics": {key: metric.space.identity for key, metric in self.metrics.items()},
            "code": source_version(maps, metrics),
        }


def _difference(theirs: Estimate, ours: Estimate) -> Estimate:
    if theirs.value is None or ours.value is None:
        return Estimate(None)
    draws = None
    if theirs.draws is not None and ours.draws is not None:
        draws = theirs.draws - ours.draws
    return Estimate(theirs.value - ours.value, draws)
