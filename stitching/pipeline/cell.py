"""One cell of the grid: encode, fit, map, decode, score.

All objects were built and checked beforehand.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stitching.compute import progress
from stitching.compute.images import quantise
from stitching.data.base import ImageData, ImageSet
from stitching.maps import Map, ReducedRank, Ridge, SpectralMap
from stitching.maps.matrix import Rows
from stitching.metrics.base import ImageMetric
from stitching.metrics.latent import latent_scores
from stitching.metrics.resampling import Facts, Scores, flatten
from stitching.pipeline.beyond import BeyondPixels
from stitching.pipeline.cache import Cache
from stitching.pipeline.encoding import (
    FrozenModel,
    decode,
    encode_split,
    fit_frozen_model,
    latent_rows,
    reconstruct_split,
)
from stitching.pipeline.finite import finite_rows, where_finite
from stitching.pipeline.fitting import Fitting, Space, exclude_invalid, ranks_of
from stitching.pipeline.flat import (
    at_other_penalty,
    gains_at_other_penalty,
    warn_of_choice,
    warn_of_flat,
)
from stitching.pipeline.gains import MEASURES as GAINED
from stitching.pipeline.gains import Gains
from stitching.pipeline.probing import ProbeInputs, ProbeSuite
from stitching.pipeline.protocol import Protocol
from stitching.pipeline.provenance import PeakMemory, of_data, of_options, of_weights, versions
from stitching.pipeline.refits import FittedCell, with_fit_variation
from stitching.pipeline.scoring import TestItems, geometry_scores, image_scores, valid_items
from stitching.pipeline.validation import validation_r2


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images of the test items that were measured, each (N, 3, S, S), uint8.

    Attributes:
        original: The test images.
        own: The decoder's reconstructions of them from its own latents.
        stitched: The decoder's images of mapped latents.
    """

    original: Tensor
    own: Tensor
    stitched: Tensor


@dataclass
class Result:
    """Results of a cell.

    Attributes:
        metrics: Flat results and provenance, the same in every run with the same inputs; each
            measure KEY has `KEY.low` and `KEY.high`, the ends of its 95 % interval.
        draws: The measures on every resample of the test items, by key.
        resources: Times, memory and counts of this run.
        pictures: The images.
        fitted: The map.
        curves: Tables by name, one dict per row: `penalty_curve` where the map chose a penalty,
            `rank_curve` where ranks were set.
    """

    metrics: Facts
    draws: dict[str, NDArray[np.float32]]
    resources: Facts
    pictures: Pictures
    fitted: Map
    curves: dict[str, list[Facts]]


@dataclass
class Cell:
    """One cell of the grid.

    Attributes:
        encoder: The source model.
        decoder: The target model.
        data: The data set; `train` fits map and probes, `test` is measured on.
        fitting: Fits the map; the identity where encoder and decoder are the same.
        protocol: The measuring protocol.
        metrics: Image metrics by name.
        probe_suite: Probes of the data set's labels; None for none.
        cache: Keeps latents and features.
        batch_size: Images per forward pass.
        seed: Recorded in results, and the seed of the validation split.
        via: A third model: the map through its space is scored beside the direct one. Or None.
        pixels: The images themselves as latents: the cell is compared with maps from pixels. Or
            None.
        round_trip: Whether to fit the map back too, and score both ways.
        geometry: Whether to compare the two spaces themselves.
        rank_curve: Ranks, or "auto", at which the map, cut to that rank, is scored; or None.
        validation: Share of the fit images held out to compare kinds of maps without test
            images; or None.
    """

    encoder: FrozenModel
    decoder: FrozenModel
    data: ImageData
    fitting: Fitting
    protocol: Protocol
    metrics: dict[str, ImageMetric]
    probe_suite: ProbeSuite | None
    cache: Cache
    batch_size: int
    seed: int
    via: FrozenModel | None = None
    pixels: FrozenModel | None = None
    round_trip: bool = True
    geometry: bool = True
    rank_curve: str | list[int] | None = None
    validation: float | None = None
    times: dict[str, float] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def run(self) -> Result:
        """Run the cell.

        Raises:
            ValueError: A latent or an image is not finite, and the protocol does not exclude it.
        """
        started, computed = time.perf_counter(), Counter(self.cache.computed)
        memory = PeakMemory()
        train, test = self.data.split("train"), self._test_images()

        frozen_models = [self.encoder, self.decoder, *([self.via] if self.via else [])]
        with self._stage("encode"):
            for frozen in frozen_models:
                fit_frozen_model(frozen, train, self.cache, self.batch_size)
            encoded = [self._encode(frozen, test) for frozen in frozen_models]
        spaces = [space for space, _ in encoded]
        excluded: dict[str, int] = {}
        if self.protocol.invalid == "exclude":
            train, spaces, excluded = exclude_invalid(train, spaces)

        with self._stage("fit"):
            spaces[0] = self.fitting.narrowed(spaces[0], test.fingerprint)
            source, target, *others = spaces
            fitted = self.fitting.fit(source, target)
        with self._stage("map"):
            mapping = partial(self.fitting.apply, fitted)
            mapped = where_finite(mapping, source.test, "the encoder's latents")

        with self._stage("decode"):
            own = reconstruct_split(self.decoder, test, target.test, self.cache, self.batch_size)
            if fitted.name == "identity" and torch.equal(mapped, target.test):
                stitched = own
            else:
                stitched = where_finite(self._decode, mapped, "mapped latents")

        stages = {"source": source.test, "target": target.test}
        stages |= {f"via_{k}": space.test for k, space in enumerate(others)}
        stages |= {"mapped": mapped, "own": own, "stitched": stitched}
        items, invalid = valid_items(test, stages, self.protocol, self.decoder.dtype)
        source, target, *others = (replace(s, test=items.of(s.test)) for s in spaces)
        mapped, own, stitched = (items.of(rows) for rows in (mapped, own, stitched))

        metrics = self._provenance(fitted, test) | invalid | excluded
        with self._stage("score"):
            metrics |= latent_scores(target.test, mapped, items.resamples)
            metrics |= self.decoder.model.diagnostics(target.test, mapped)
            metrics |= self._image_scores(items, stitched)
            metrics["image/own_clipped"] = quantise(own)[1]
        if self.pixels is not None:
            with self._stage("controls"):
                metrics |= self._against_pixels(source, target, metrics, train, items)
        with self._stage("refits"):
            image_values = partial(self._image_values, items)
            refitted = FittedCell(fitted, source, target, mapped, train.ids, image_values)
            metrics = with_fit_variation(metrics, refitted, self.protocol)
        with self._stage("probe"):
            if self.probe_suite is not None:
                map_fit_images = partial(self._fit_images, fitted, source)
                inputs = ProbeInputs(train, target, mapped, map_fit_images, items)
                metrics |= self.probe_suite.scores(inputs)
        with self._stage("geometry"):
            if self.geometry:
                pair = [(space.frozen, space.test) for space in (source, target)]
                metrics |= geometry_scores(pair[0], pair[1], items, self.cache)
        with self._stage("directions"):
            if self.round_trip:
                metrics |= self.fitting.both_directions(source, target, mapped, items.resamples)
            for space in others:
                metrics |= self.fitting.through(source, space, target, items.resamples)
        with self._stage("flat"):
            if fitted.summary().get("flat"):
                scores = self._flat_scores(fitted, train, source, target, items)
                gains = gains_at_other_penalty(metrics, scores)
                metrics |= at_other_penalty(scores | gains)
        if self.validation is not None:
            with self._stage("validation"):
                metrics["latent/validation_r2"] = validation_r2(
                    self.fitting, source, target, train.ids, self.validation, self.seed
                )
        with self._stage("curves"):
            curves = {"penalty_curve": _penalty_curve(fitted)}
            if self.rank_curve is not None and isinstance(fitted, SpectralMap):
                reduced = ReducedRank.of(fitted)
                metrics["map/rank_90"] = reduced.summary()["rank_90"]
                curves["rank_curve"] = self._rank_curve(reduced, source, target, items)

        self.times["total"] = time.perf_counter() - started
        resources: Facts = {f"time/{k}_s": v for k, v in self.times.items()}
        resources |= memory.facts() | {"count/images_encoded": sum(n for _, n in encoded)}
        resources["count/reference_features"] = self.counts["reference_features"]
        for kind, number in sorted((self.cache.computed - computed).items()):
            resources[f"count/computed_{kind}"] = number
        values, draws = flatten(metrics)
        warn_of_choice(values, self.encoder.model.name, self.decoder.model.name)
        tables = {name: table for name, table in curves.items() if table}
        original = items.of(self._test_pixels(test))
        pictures = Pictures(original, quantise(own)[0], quantise(stitched)[0])
        return Result(values, draws, resources, pictures, fitted, tables)

    def _test_images(self) -> ImageSet:
        test = self.data.split("test")
        wanted = self.protocol.test_images
        return test if wanted is None else test.subset(wanted)

    def _test_pixels(self, test: ImageSet) -> Tensor:
        """Return the test images as bytes, kept in memory for other cells."""

        def make() -> dict[str, Tensor]:
            return {"pixels": quantise(test.images(slice(None)))[0]}

        return self.cache.kept("shown", {"images": test.fingerprint}, make)["pixels"]

    def _encode(self, frozen: FrozenModel, test: ImageSet) -> tuple[Space, int]:
        """Return a model's latents, and the number of images that were encoded."""
        train = self.data.split("train")
        latents: Rows
        finite = self.protocol.invalid == "fail"
        encode = encode_split if self.fitting.chunk is None else latent_rows
        latents, n_train = encode(frozen, train, self.cache, self.batch_size, finite)
        held_out, n_test = encode_split(frozen, test, self.cache, self.batch_size, finite)
        return Space(frozen, train.fingerprint, latents, held_out, train), n_train + n_test

    def _against_pixels(
        self, source: Space, target: Space, scores: Scores, train: ImageSet, items: TestItems
    ) -> Scores:
        """Compare the cell with maps from pixels to the same decoder."""
        assert self.pixels is not None
        encode = encode_split if self.fitting.chunk is None else latent_rows
        rows: Rows = encode(self.pixels, train, self.cache, self.batch_size)[0]
        held_out = encode_split(self.pixels, items.images, self.cache, self.batch_size)[0]
        pixels = Space(self.pixels, train.fingerprint, rows, items.of(held_out))
        fitting, metrics = self.fitting, self.metrics
        beyond = BeyondPixels(
            pixels,
            self.data.image_size,
            fitting.factorisations,
            fitting.chunk,
            fitting.place,
            self.cache,
        )
        chosen = {k: m for k, m in metrics.items() if f"image/{m.name}" in GAINED}
        gains = Gains(pixels, fitting, chosen, items, self.cache, self.batch_size)
        width = source.train.shape[1]
        found = beyond.scores(source, target, items.resamples, train.ids, self.protocol.fit_groups)
        return found | gains.scores(scores, width, target)

    def _fit_images(self, fitted: Map, source: Space) -> Tensor:
        return self.fitting.apply(fitted, source.train[:])

    def _flat_scores(
        self, fitted: Map, train: ImageSet, source: Space, target: Space, items: TestItems
    ) -> Scores:
        """Measure the cell at the penalty that scores as well with another map."""
        alpha = float(fitted.summary()["flat_alpha"] or 0.0)
        warn_of_flat(fitted.summary(), self.encoder.model.name, self.decoder.model.name)
        other = self.fitting.fit_at(alpha, source, target)
        mapped = self.fitting.apply(other, source.test)
        stitched = self._decode(mapped)
        bad = int((~finite_rows(stitched)).sum())
        if bad:  # measured on all items or not at all
            return {"invalid/flat_stitched": bad}
        scores = latent_scores(target.test, mapped, items.resamples)
        scores |= self._image_scores(items, stitched)
        image_values = partial(self._image_values, items)
        refitted = FittedCell(other, source, target, mapped, train.ids, image_values)
        scores = with_fit_variation(scores, refitted, self.protocol)
        if self.probe_suite is not None:
            map_fit_images = partial(self._fit_images, other, source)
            inputs = ProbeInputs(train, target, mapped, map_fit_images, items)
            scores |= self.probe_suite.scores(inputs)
        return scores

    def _rank_curve(
        self, reduced: ReducedRank, source: Space, target: Space, items: TestItems
    ) -> list[Facts]:
        """Score every rank of the map on latents, and some of them on images."""
        true, latents = (space.test.to(self.fitting.place) for space in (target, source))
        errors = reduced.errors_by_rank(latents, true).tolist()
        # Unbiased, as that of `latent/r2`; 0 for one item.
        spread = float(true.double().var(0).nan_to_num().mean())
        rows: list[Facts] = [
            {"rank": k, "latent/mse": e, "latent/r2": 1 - e / spread if spread > 0 else None}
            for k, e in enumerate(errors)
        ]
        for rank in ranks_of(reduced, self.rank_curve or []):
            stitched = self._decode(reduced.predict(latents, rank).cpu())
            bad = int((~finite_rows(stitched)).sum())
            if bad and self.protocol.invalid == "exclude":
                rows[rank]["invalid/stitched"] = bad  # a rank is scored on all items or not at all
                continue
            scores, _ = flatten(self._image_scores(items, stitched))
            rows[rank] |= {k: v for k, v in scores.items() if isinstance(v, float)}
        return rows

    def _decode(self, latents: Tensor) -> Tensor:
        return decode(self.decoder.model, latents, self.batch_size, "mapped")

    def _image_scores(self, items: TestItems, stitched: Tensor) -> Scores:
        return image_scores(
            self.metrics, items, stitched, self.cache, self.batch_size, self.counts
        )

    def _image_values(self, items: TestItems, mapped: Tensor) -> Scores:
        """Score images of other mapped latents without half-samples; {} if one is not finite."""
        stitched = self._decode(mapped)
        if not bool(finite_rows(stitched).all()):
            return {}
        resamples = replace(items.resamples, n_halves=0)
        return self._image_scores(replace(items, resamples=resamples), stitched)

    def _provenance(self, fitted: Map, test: ImageSet) -> Scores:
        train = self.data.split("train")
        summary = fitted.summary()
        top = ("map", "alpha", "n_train", "d_source", "d_target")
        return {
            "encoder": self.encoder.model.name,
            "decoder": self.decoder.model.name,
            **of_options(encoder=self.encoder, decoder=self.decoder),
            "data": self.data.name,
            **{key: summary.get(key) for key in top},
            "n_test": len(test),
            "seed": self.seed,
            **self.protocol.facts(self.probe_suite.kind if self.probe_suite else "none"),
            "dtype": self.encoder.dtype,
            "device": self.encoder.identity()["device"],
            **{f"map/{key}": value for key, value in summary.items() if key not in top},
            **of_data(self.data.image_size, train, test),
            **of_weights(encoder=self.encoder.model, decoder=self.decoder.model),
            **versions(),
        }

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        with progress.stage(name):
            yield
        self.times[name] = time.perf_counter() - started


def _penalty_curve(fitted: Map) -> list[Facts]:
    curve = fitted.penalty_curve() if isinstance(fitted, Ridge) else None
    if curve is None:
        return []
    return [dict(zip(curve, row, strict=True)) for row in zip(*curve.values(), strict=True)]
