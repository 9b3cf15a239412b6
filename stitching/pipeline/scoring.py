"""Scores of a cell's images and of its two spaces; parts shared by cells are computed once."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stitching.compute import progress
from stitching.compute.images import quantise
from stitching.compute.source import source_version
from stitching.data.base import ImageSet
from stitching.metrics import geometry, gram, resampling, similarity
from stitching.metrics.base import FeatureSpace, ImageMetric, MetricUnavailable
from stitching.metrics.resampling import Estimate, Facts, Resamples, Scores
from stitching.pipeline.cache import Cache
from stitching.pipeline.encoding import FrozenModel, in_batches
from stitching.pipeline.finite import finite_rows, model_remedy, require_finite
from stitching.pipeline.protocol import Protocol
from stitching.records.tensorfiles import Tensors

#: Stages of a cell, in words for messages, and the remedy for values that are not finite; None
#: for `model_remedy`.
_STAGES = {
    "source": ("the encoder's latents", None),
    "target": ("the decoder's own latents", None),
    "mapped": (
        "mapped latents",
        "the latents they are mapped from are finite, so the map is the cause: try a larger "
        "map.alpha, or null to have it chosen",
    ),
    "own": ("images decoded from the decoder's own latents", None),
    "stitched": (
        "images decoded from mapped latents",
        "the decoder's images from its own latents are finite, so these lie where no images do: "
        "try a larger map.alpha, or null to have it chosen",
    ),
}


@dataclass(frozen=True, eq=False)
class TestItems:
    """The test images that are measured on.

    Attributes:
        images: The split, invalid items included.
        kept: Whether each is measured on, shape (len(images),), bool.
        resamples: Of the kept ones.
    """

    images: ImageSet
    kept: Tensor
    resamples: Resamples

    #: Keeps pytest from collecting the class because of its name.
    __test__ = False

    def of(self, rows: Tensor) -> Tensor:
        """Return the rows of the kept items, without a copy if these are all."""
        return rows if bool(self.kept.all()) else rows[self.kept]


def valid_items(
    images: ImageSet, stages: Mapping[str, Tensor], protocol: Protocol, dtype: str = "float32"
) -> tuple[TestItems, Facts]:
    """Return the items that are finite in all stages, so that all measures have the same ones.

    Args:
        images: The test images.
        stages: Latents and images of them by stage, one row per image.
        protocol: Sets whether other items are left out or end the cell.
        dtype: Of the models, for the message.

    Returns:
        The items, and where the protocol leaves others out their number by stage,
        `invalid/STAGE`, and in all, `n_invalid` of `n_test`.

    Raises:
        ValueError: A value is not finite and the protocol does not exclude it, or none is left.
    """
    resamples = Resamples(len(images), protocol.n_bootstrap, protocol.n_halves)
    finite = {name: finite_rows(rows) for name, rows in stages.items()}
    kept = torch.stack(list(finite.values())).all(0)
    if protocol.invalid == "fail" or not bool(kept.any()):
        for name, rows in stages.items():
            what, remedy = _STAGES.get(name, (f"latents of {name}", None))
            require_finite(rows, images.ids, f"{what} came out", remedy or model_remedy(dtype))
    if protocol.invalid == "fail":
        return TestItems(images, kept, resamples), {}
    counts = {f"invalid/{name}": int((~good).sum()) for name, good in finite.items()}
    counts["n_invalid"] = int((~kept).sum())
    if counts["n_invalid"]:
        resamples = resamples.only(kept.numpy())
    return TestItems(images, kept, resamples), dict(counts)


def image_scores(
    metrics: Mapping[str, ImageMetric],
    test: TestItems,
    stitched: Tensor,
    cache: Cache,
    batch_size: int,
    counts: Counter[str],
) -> Scores:
    """Score stitched images against their test images.

    All metrics take the same bytes of both sides. Features of the test images are computed once
    per feature space and sweep, those of stitched images once per space.

    Args:
        metrics: By option name, which is part of the key where a metric is unavailable.
        test: The test images.
        stitched: Images of the kept items, float on the 0-1 scale, not clamped.
        cache: Keeps the features of test images.
        batch_size: Images per forward pass.
        counts: Its `reference_features` grows by the test images whose features are computed.

    Returns:
        Scores and provenance of each metric, `image/KEY_missing` with the reason where there is
        none, and `image/clipped`, the share of pixel values that were clamped.
    """
    pixels, clipped = quantise(stitched)
    scores: Scores = {"image/clipped": clipped}
    seen: dict[str, Tensor] = {}
    with progress.bar(len(metrics), "scores images", "measure", even=False) as bar:
        for key, metric in metrics.items():
            bar.describe(f"scores images by {key}")
            try:
                space = metric.space
                reference = _reference_features(space, test, cache, batch_size, counts)
                if space.identity not in seen:
                    seen[space.identity] = _features(space, pixels, batch_size)["features"]
                scores |= metric.compute(reference, seen[space.identity], test.resamples)
                scores |= metric.facts(stitched.shape[-1])
            except MetricUnavailable as missing:
                scores[f"image/{key}_missing"] = str(missing)
            bar.update()
    return scores


def _reference_features(
    space: FeatureSpace, test: TestItems, cache: Cache, batch_size: int, counts: Counter[str]
) -> Tensor:
    def compute() -> Tensors:
        counts["reference_features"] += len(test.images)
        return _features(space, quantise(test.images.images(slice(None)))[0], batch_size)

    parts = {"images": test.images.fingerprint, "space": space.identity}
    return test.of(cache.tensors("features", parts, compute)["features"])


def _features(space: FeatureSpace, pixels: Tensor, batch_size: int) -> Tensors:
    what = f"features of {space.name}"
    return {"features": in_batches(space.features, pixels, batch_size, space.device, what)}


def geometry_scores(
    first: tuple[FrozenModel, Tensor],
    second: tuple[FrozenModel, Tensor],
    test: TestItems,
    cache: Cache,
) -> Scores:
    """Compare the spaces of two models before any map, once per pair of models.

    Args:
        first: A model, and its latents of the kept test items.
        second: The other model and its latents; the two may be swapped.
        test: The test images.
        cache: Keeps the scores.
    """
    identities = [json.dumps(frozen.identity(), sort_keys=True) for frozen, _ in (first, second)]
    order = sorted(range(2), key=identities.__getitem__)
    latents = [(first[1], second[1])[i] for i in order]
    parts = {
        "images": test.images.fingerprint,
        "kept": test.kept.nonzero().flatten().tolist() if not bool(test.kept.all()) else "all",
        "models": sorted(identities),
        "resamples": [test.resamples.n_halves, test.resamples.n_bootstrap, test.resamples.seed],
        "code": source_version(geometry, similarity, gram, resampling),
    }

    def compute() -> Scores:
        with progress.bar(None, "compares the two latent spaces"):
            return geometry.geometry_scores(latents[0], latents[1], test.resamples)

    return cached_scores(cache, "geometry", parts, compute)


def cached_scores(
    cache: Cache, kind: str, parts: Mapping[str, Any], compute: Callable[[], Scores]
) -> Scores:
    """Return scores with their draws from the cache, or compute and store them.

    Arguments are those of `Cache.tensors`.
    """
    return _unpacked(cache.tensors(kind, parts, lambda: _packed(compute())))


def _packed(scores: Scores) -> Tensors:
    """Scores as tensors: draws under their keys, all else as JSON bytes."""
    tensors: Tensors = {}
    plain: dict[str, object] = {}
    for key, score in scores.items():
        if isinstance(score, Estimate):
            plain[key] = {"value": score.value, "method": score.method}
            if score.draws is not None:
                tensors[key] = torch.from_numpy(np.asarray(score.draws, np.float64))
        else:
            plain[key] = score
    text = json.dumps(plain, allow_nan=False).encode()
    return tensors | {"json": torch.frombuffer(bytearray(text), dtype=torch.uint8)}


def _unpacked(tensors: Tensors) -> Scores:
    scores: Scores = json.loads(bytes(tensors["json"].tolist()).decode())
    for key, score in scores.items():
        if isinstance(score, dict):
            draws = tensors[key].numpy() if key in tensors else None
            scores[key] = Estimate(score["value"], draws, score["method"])
    return scores
