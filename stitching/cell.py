"""One cell of the grid: encode, fit, map, decode, score.

Everything here works on objects that were built and checked beforehand.
"""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from stitching.batching import images_per_call
from stitching.cache import Cache
from stitching.data.base import ImageData, ids_hash
from stitching.fitting import Fitting, Space, ranks_of
from stitching.latents import (
    Subject,
    encode_split,
    fit_subject,
    in_batches,
    latent_rows,
    reconstruct_split,
    require_finite,
)
from stitching.maps import Map, ReducedRank, Ridge, SpectralMap
from stitching.maps.matrix import Rows
from stitching.metrics.base import ImageMetric, MetricUnavailable
from stitching.metrics.consistency import probe_scores
from stitching.metrics.latent import latent_scores
from stitching.models.base import GenerativeModel
from stitching.probes import LinearProbes

Value = float | int | str | None


@dataclass
class Result:
    """What a cell found.

    Attributes:
        metrics: Flat results and provenance, the same in every run with the same inputs.
        resources: Times, memory and counts of this run.
        original: Test images, (N, 3, S, S) in [0, 1].
        own: The decoder's reconstructions of them from its own latents.
        stitched: Its images from mapped latents.
        fitted: The map.
        curves: Tables by name, one dict per row: `penalty_curve` where the map chose a penalty,
            `rank_curve` where it was asked for.
    """

    metrics: dict[str, Value]
    resources: dict[str, Value]
    original: Tensor
    own: Tensor
    stitched: Tensor
    fitted: Map
    curves: dict[str, list[dict[str, Value]]]


@dataclass
class Cell:
    """All that one cell needs.

    Attributes:
        encoder: The source model.
        decoder: The target model.
        data: The data set; `train` fits map and probes, `test` is measured on.
        fitting: Fits the map; where encoder and decoder are one and the same it is the identity.
        metrics: Image metrics by name.
        probes: Attribute probes, or None to do without.
        cache: Where latents and features are kept.
        batch_size: Images per forward pass.
        seed: Recorded.
        via: A third model: the map through its space is scored beside the direct one. Or None.
        round_trip: Whether to fit the map back too, and score both ways.
        rank_curve: Ranks, or "auto", at which the map, cut to that rank, is scored; or None.
    """

    encoder: Subject
    decoder: Subject
    data: ImageData
    fitting: Fitting
    metrics: dict[str, ImageMetric]
    probes: LinearProbes | None
    cache: Cache
    batch_size: int
    seed: int
    via: Subject | None = None
    round_trip: bool = True
    rank_curve: str | list[int] | None = None
    times: dict[str, float] = field(default_factory=dict)

    def run(self) -> Result:
        """Run the cell.

        Raises:
            ValueError: A latent or an image is not finite.
        """
        started = time.perf_counter()
        train, test = self.data.split("train"), self.data.split("test")
        original = test.images(slice(None))

        subjects = [self.encoder, self.decoder, *([self.via] if self.via else [])]
        with self._stage("encode"):
            for subject in subjects:
                fit_subject(subject, train, self.cache, self.batch_size)
            encoded = [self._encode(subject) for subject in subjects]
        (source, target), others = (space for space, _ in encoded[:2]), encoded[2:]

        with self._stage("fit"):
            fitted = self.fitting.fit(source, target)
        with self._stage("map"):
            mapped = self.fitting.apply(fitted, source.test)
            require_finite(mapped, test.ids, f"map {fitted.name} returned latents")
        true = target.test

        with self._stage("decode"):
            own = reconstruct_split(self.decoder, test, true, self.cache, self.batch_size)
            if fitted.name == "identity" and torch.equal(mapped, true):
                stitched = own
            else:
                stitched = self._decode(mapped)
            name = f"decoder {self.decoder.model.name} returned images"
            require_finite(stitched, test.ids, name)

        metrics = self._provenance(fitted)
        with self._stage("score"):
            metrics |= latent_scores(true, mapped)
            metrics |= self.decoder.model.diagnostics(true, mapped)
            metrics |= self._image_scores(original, stitched)
        with self._stage("probe"):
            metrics |= self._probe_scores(target, mapped)
        with self._stage("directions"):
            if self.round_trip:
                metrics |= self.fitting.both_directions(source, target, mapped)
            for space, _ in others:
                metrics |= self.fitting.through(source, space, target)
        with self._stage("curves"):
            curves = {"penalty_curve": _penalty_curve(fitted)}
            if self.rank_curve is not None and isinstance(fitted, SpectralMap):
                reduced = ReducedRank.of(fitted)
                metrics["map/rank_90"] = reduced.summary()["rank_90"]
                curves["rank_curve"] = self._rank_curve(reduced, source, target, original)

        self.times["total"] = time.perf_counter() - started
        resources: dict[str, Value] = {f"time/{k}_s": v for k, v in self.times.items()}
        resources |= peak_memory() | {"count/images_encoded": sum(n for _, n in encoded)}
        found = {name: table for name, table in curves.items() if table}
        return Result(metrics, resources, original, own, stitched, fitted, found)

    def _encode(self, subject: Subject) -> tuple[Space, int]:
        """Return a model's latents, and how many images were encoded for them."""
        train, test = self.data.split("train"), self.data.split("test")
        latents: Rows
        if self.fitting.chunk is None:
            latents, n_train = encode_split(subject, train, self.cache, self.batch_size)
        else:
            latents, n_train = latent_rows(subject, train, self.cache, self.batch_size)
        held_out, n_test = encode_split(subject, test, self.cache, self.batch_size)
        return Space(subject, train.fingerprint, latents, held_out), n_train + n_test

    def _rank_curve(
        self, reduced: ReducedRank, source: Space, target: Space, original: Tensor
    ) -> list[dict[str, Value]]:
        """Score every rank of the map on latents, and some of them on images."""
        true, latents = (space.test.to(self.fitting.place) for space in (target, source))
        errors = reduced.errors_by_rank(latents, true).tolist()
        spread = float((true.double() - true.double().mean(0)).square().mean())
        rows: list[dict[str, Value]] = [
            {"rank": k, "latent/mse": e, "latent/r2": 1 - e / spread if spread > 0 else None}
            for k, e in enumerate(errors)
        ]
        for rank in ranks_of(reduced, self.rank_curve or []):
            stitched = self._decode(reduced.predict(latents, rank).cpu())
            scores = self._image_scores(original, stitched)
            rows[rank] |= {k: v for k, v in scores.items() if isinstance(v, float)}
        return rows

    def _decode(self, latents: Tensor) -> Tensor:
        model = self.decoder.model
        batches = latents.split(images_per_call(self.batch_size, model.device))
        what = f"{model.name} decodes mapped latents"
        return in_batches(model.decode, batches, len(latents), what)

    def _features(self, metric: ImageMetric, x: Tensor) -> dict[str, Tensor]:
        what = f"features for {metric.name}"
        batches = x.split(images_per_call(self.batch_size, metric.device))
        return {"features": in_batches(metric.features, batches, len(x), what)}

    def _image_scores(self, original: Tensor, stitched: Tensor) -> dict[str, Value]:
        """Score against the test images, whose features are computed once per sweep."""
        test = self.data.split("test")
        scores: dict[str, Value] = {}
        for key, metric in self.metrics.items():
            try:
                parts = {"images": test.fingerprint, "metric": metric.identity}
                compute = partial(self._features, metric, original)
                reference = self.cache.tensors("features", parts, compute)["features"]
                features = self._features(metric, stitched)["features"]
                scores |= metric.compute(reference, features)
                scores |= metric.provenance
            except MetricUnavailable as missing:
                scores[f"image/{key}_missing"] = str(missing)
        return scores

    def _probe_scores(self, target: Space, mapped: Tensor) -> dict[str, Value]:
        if self.probes is None:
            return {}
        labels = self.data.split("train").attributes
        basis = self.fitting.factorise(target)
        latents = target.train
        if isinstance(latents, Tensor):
            latents = latents.to(basis.mean.device)
        self.probes.fit(latents, labels, basis)
        true = target.test.to(basis.mean.device)
        attributes = self.data.split("test").attributes
        return probe_scores(self.probes, attributes, true, mapped.to(basis.mean.device))

    def _provenance(self, fitted: Map) -> dict[str, Value]:
        train, test = self.data.split("train"), self.data.split("test")
        summary = fitted.summary()
        top = ("map", "alpha", "n_train", "d_source", "d_target")
        return {
            "encoder": self.encoder.model.name,
            "decoder": self.decoder.model.name,
            "data": self.data.name,
            **{key: summary.get(key) for key in top},
            "n_test": len(test),
            "seed": self.seed,
            "dtype": self.encoder.dtype,
            "device": self.encoder.identity()["device"],
            **{f"map/{key}": value for key, value in summary.items() if key not in top},
            "data/image_size": self.data.image_size,
            "data/train_ids": ids_hash(train.ids),
            "data/test_ids": ids_hash(test.ids),
            "data/train_pixels": train.fingerprint,
            "data/test_pixels": test.fingerprint,
            "weights/encoder": self.encoder.model.weights_hash,
            "weights/decoder": self.decoder.model.weights_hash,
            **_images_seen(encoder=self.encoder.model, decoder=self.decoder.model),
            **versions(),
        }

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.times[name] = time.perf_counter() - started


def _penalty_curve(fitted: Map) -> list[dict[str, Value]]:
    curve = fitted.penalty_curve() if isinstance(fitted, Ridge) else None
    if curve is None:
        return []
    return [dict(zip(curve, row, strict=True)) for row in zip(*curve.values(), strict=True)]


def _images_seen(**models: GenerativeModel) -> dict[str, Value]:
    """How many images trained a model, where its weights say so: what tells checkpoints apart."""
    seen = {role: model.card.get("images_seen", "") for role, model in models.items()}
    return {f"weights/{role}_images_seen": int(n) for role, n in seen.items() if n.isdecimal()}


def versions() -> dict[str, Value]:
    """Return the versions that results depend on, under keys `version/...`."""
    from importlib.metadata import version

    names = ("torch", "torchvision", "diffusers", "lpips", "torchmetrics", "numpy", "scikit-learn")
    python = ".".join(map(str, sys.version_info[:3]))
    return {
        "version/stitching": version("stitching"),
        "version/python": python,
        **{f"version/{name}": version(name) for name in names},
    }


def peak_memory() -> dict[str, Value]:
    """Return the process's peak resident memory so far, and CUDA's, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux KiB
    found: dict[str, Value] = {"memory/peak_mib": peak / unit}
    if torch.cuda.is_available():
        found["memory/peak_cuda_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return found
