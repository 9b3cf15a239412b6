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
from stitching.latents import (
    Subject,
    encode_split,
    fit_subject,
    in_batches,
    reconstruct_split,
    require_finite,
)
from stitching.maps import Factorisation, Identity, Map, factorise
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
    """

    metrics: dict[str, Value]
    resources: dict[str, Value]
    original: Tensor
    own: Tensor
    stitched: Tensor


@dataclass
class Cell:
    """All that one cell needs.

    Attributes:
        encoder: The source model.
        decoder: The target model.
        data: The data set; `train` fits map and probes, `test` is measured on.
        map: The map to fit; not used where encoder and decoder are one and the same.
        metrics: Image metrics by name.
        probes: Attribute probes, or None to do without.
        cache: Where latents and features are kept.
        batch_size: Images per forward pass.
        seed: Recorded.
    """

    encoder: Subject
    decoder: Subject
    data: ImageData
    map: Map
    metrics: dict[str, ImageMetric]
    probes: LinearProbes | None
    cache: Cache
    batch_size: int
    seed: int
    times: dict[str, float] = field(default_factory=dict)

    def run(self) -> Result:
        """Run the cell.

        Raises:
            ValueError: A latent or an image is not finite.
        """
        started = time.perf_counter()
        train, test = self.data.split("train"), self.data.split("test")
        original = test.images(slice(None))

        with self._stage("encode"):
            for subject in (self.encoder, self.decoder):
                fit_subject(subject, train, self.cache, self.batch_size)
            latents, counts = {}, 0
            for role, subject in (("source", self.encoder), ("target", self.decoder)):
                for split in (train, test):
                    z, n = encode_split(subject, split, self.cache, self.batch_size)
                    latents[role, split.split], counts = z, counts + n

        with self._stage("fit"):
            fitted = self._fit(latents["source", "train"], latents["target", "train"])
        with self._stage("map"):
            mapped = fitted.predict(latents["source", "test"])
            require_finite(mapped, test.ids, f"map {fitted.name} returned latents")
        true = latents["target", "test"]

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
            metrics |= self._probe_scores(latents["target", "train"], true, mapped)

        self.times["total"] = time.perf_counter() - started
        resources: dict[str, Value] = {f"time/{k}_s": v for k, v in self.times.items()}
        resources |= peak_memory() | {"count/images_encoded": counts}
        return Result(metrics, resources, original, own, stitched)

    def _fit(self, source: Tensor, target: Tensor) -> Map:
        if self.encoder.identity() == self.decoder.identity():
            # One latent space, however it is decoded: nothing to bridge, nothing to fit. The
            # diagonal is the model's own reconstruction.
            return Identity().fit(source, target)
        return self.map.fit(source, target, self._factorise(self.encoder, source))

    def _factorise(self, subject: Subject, latents: Tensor) -> Factorisation | None:
        if not self.map.uses_factorisation:
            return None
        parts = {
            "images": self.data.split("train").fingerprint,
            "model": subject.identity(),
            "algorithm": Factorisation.identity,
        }
        stored = self.cache.tensors(
            "factorisations", parts, lambda: factorise(latents).to_tensors()
        )
        return Factorisation.from_tensors(stored)

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

    def _probe_scores(self, train: Tensor, true: Tensor, mapped: Tensor) -> dict[str, Value]:
        if self.probes is None:
            return {}
        images = self.data.split("train")
        self.probes.fit(train, images.attributes, self._factorise(self.decoder, train))
        return probe_scores(self.probes, self.data.split("test").attributes, true, mapped)

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
