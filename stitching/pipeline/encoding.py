"""Latents and features of a split of images, computed once and kept by content.

A key holds the pixels' fingerprint, the model's options and weight hash, the source of the code
that computes, and what of the environment can change a result. Latents lie on disk in blocks of
images, so that splits of several sizes share them and a stopped encoding goes on.
"""

import functools
import hashlib
import inspect
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version as read_version
from itertools import islice
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from stitching.compute import batching, progress, seeding
from stitching.compute import images as images_module
from stitching.compute.batching import images_per_call, in_fixed_batches
from stitching.compute.rows import Rows
from stitching.data.base import ImageSet
from stitching.data.drawn import DrawingModel, DrawnSet
from stitching.models.base import GenerativeModel
from stitching.pipeline.cache import Cache
from stitching.pipeline.finite import model_remedy, require_finite, where_finite
from stitching.records.tensorfiles import Tensors
from stitching.weights.loading import parameters_hash

#: Packages whose classes are pinned by version, not by source.
_LIBRARIES = ("torch", "diffusers", "builtins", "abc", "typing")

#: Images whose latents share a file. It divides customary sizes of splits (300, 1000, 9000), so
#: that a smaller split is made of the blocks of a larger one.
BLOCK_IMAGES = 100


@dataclass(frozen=True)
class FrozenModel:
    """A model with all that identifies it.

    Attributes:
        model: The frozen model.
        options: Its configuration, plain.
        dtype: Precision option it was built with.
        drawn_with: Seed of draws from the posterior, in place of its means, for a model that
            has one; None for the means.
        yaml_name: Name of its YAML; "" where it was built without one.
        changed: The options in which it differs from that YAML.
    """

    model: GenerativeModel
    options: dict[str, Any]
    dtype: str
    drawn_with: int | None = None
    yaml_name: str = ""
    changed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model_name(self) -> str:
        """Name of the model, whatever it is called in this run."""
        return self.yaml_name or self.model.name

    @property
    def draws(self) -> bool:
        """Whether its latents are draws: only where there is a distribution to draw from."""
        return self.drawn_with is not None and self.model.has_posterior

    def identity(self, decoding: bool = False) -> dict[str, Any]:
        """Return everything that determines its latents, or also its decoded images."""
        dropped = {"name"} if decoding else {"name", *self.model.decode_options}
        return {
            "options": {k: v for k, v in self.options.items() if k not in dropped},
            "weights": self.model.weights_hash,
            "code": code_version(*{type(module) for module in self.model.modules()}),
            "dtype": self.dtype,
            **({"drawn_with": self.drawn_with} if self.draws else {}),
            **_environment(self.model),
        }


def code_version(*classes: type) -> str:
    """Return SHA-256 (hex) of the source files that define classes and what they stand on.

    The files are read once in a process.

    Args:
        classes: Of a model and of the modules inside it.
    """
    return _code_of(frozenset(classes))


@functools.cache
def _code_of(classes: frozenset[type]) -> str:
    files = {inspect.getsourcefile(module) for module in (batching, images_module, seeding)}
    for base in {base for cls in classes for base in cls.__mro__}:
        if base.__module__.partition(".")[0] not in _LIBRARIES:
            files.add(inspect.getsourcefile(base))
    return _hash_of_files(files)


@functools.cache
def source_version(*modules: ModuleType) -> str:
    """Return SHA-256 (hex) of the source files of modules; of a package, of all in it."""
    files: set[str | None] = set()
    for module in modules:
        file = inspect.getsourcefile(module)
        files.add(file)
        if file and Path(file).name == "__init__.py":
            files |= {str(path) for path in Path(file).parent.rglob("*.py")}
    return _hash_of_files(files)


def _hash_of_files(files: Iterable[str | None]) -> str:
    digest = hashlib.sha256()
    for content in sorted(Path(file).read_bytes() for file in files if file):
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


_version = functools.cache(read_version)  # which parses a file each time


def _environment(model: GenerativeModel) -> dict[str, Any]:
    device = model.device.type
    # TF32 changes float32 products on CUDA; elsewhere the switch has no effect.
    tf32 = device == "cuda" and torch.backends.cuda.matmul.allow_tf32
    return {
        "device": device,
        "tf32": tf32,
        "torch": torch.__version__,
        "diffusers": _version("diffusers"),
    }


def in_batches(
    function: Callable[[Tensor], Tensor], batches: Iterable[Tensor], total: int, what: str
) -> Tensor:
    """Apply a function to each batch and return the results as one tensor on the CPU.

    Args:
        function: Takes and returns tensors with one row per item.
        batches: What to apply it to.
        total: Number of items, for the progress bar.
        what: Its text.
    """
    results = []
    with progress.bar(total, what, "image") as bar:
        for batch in batches:
            results.append(function(batch).cpu())
            bar.update(len(batch))
    return torch.cat(results)


def fit_frozen_model(frozen: FrozenModel, images: ImageSet, cache: Cache, batch_size: int) -> None:
    """Fit a model that needs it to a split, or restore what the cache holds of that fit.

    Only then is its identity known: call this before anything else that is done with the model.
    """
    model = frozen.model
    if not model.needs_fit:
        return

    def counted(bar: progress.Bar) -> Iterator[Tensor]:
        for batch in images.batches(images_per_call(batch_size, model.device)):
            yield batch
            bar.update(len(batch))

    def compute() -> dict[str, Tensor]:
        text = f"{model.name} is fitted to {images.split}"
        with progress.bar(len(images), text, "image") as bar:
            model.fit_images(counted(bar))
        return model.state_dict()

    parts = {"images": images.fingerprint, "model": frozen.identity() | {"weights": None}}
    model.load_state_dict(cache.tensors("fits", parts, compute))
    model.weights_hash = parameters_hash(model)


def encode_split(
    frozen: FrozenModel, images: ImageSet, cache: Cache, batch_size: int, finite: bool = True
) -> tuple[Tensor, int]:
    """Return the latents of a split, and how many images had to be encoded for it.

    Where the model itself drew the images, their latents are the ones it drew them from.

    Args:
        frozen: The model.
        images: The split.
        cache: Where latents are kept.
        batch_size: Images per forward pass.
        finite: Whether values that are not finite are an error; else the caller counts them.

    Returns:
        Latents (N, D) float32 on the CPU in the order of the split's ids, and from 0 to N: blocks
        that are on disk, from a split of whatever size, are not encoded again.

    Raises:
        ValueError: A latent is not finite; the message names the ids.
    """
    model_parts, encoded = _model_parts(frozen, images), 0

    def load() -> Tensors:
        nonlocal encoded
        rows, encoded = _encode_blocks(frozen, images, model_parts, cache, batch_size, finite)
        return {"latents": rows[:]}

    # The whole is what later cells ask for again; its blocks would only hold it twice.
    parts = {"images": images.fingerprint, **model_parts}
    latents = cache.kept("latents", parts, load)["latents"]
    if finite:  # kept by a caller who counts
        require_finite(latents, images.ids, *_blame(frozen, images))
    return latents, encoded


def latent_rows(
    frozen: FrozenModel, images: ImageSet, cache: Cache, batch_size: int, finite: bool = True
) -> tuple[Rows, int]:
    """Return the latents of a split as rows read from disk, and how many images were encoded.

    Arguments as those of `encode_split`, but never holds more than a few blocks in memory.

    Returns:
        Latents of shape (N, D), float32, in the order of the split's ids, and from 0 to N.

    Raises:
        ValueError: A latent is not finite; the message names the ids.
    """
    model_parts = _model_parts(frozen, images)
    latents, encoded = _encode_blocks(frozen, images, model_parts, cache, batch_size, finite)
    if finite:  # kept by a caller who counts
        require_finite(latents, images.ids, *_blame(frozen, images))
    return latents, encoded


def _blame(frozen: FrozenModel, images: ImageSet) -> tuple[str, str]:
    """Return what has come out where latents are not finite, and what may help."""
    name = frozen.model.name
    if drew(frozen.model, images):
        return f"model {name} drew images from latents", "look at its weights"
    return f"encoder {name} returned latents of {images.split} images", model_remedy(frozen.dtype)


def _model_parts(frozen: FrozenModel, images: ImageSet) -> dict[str, Any]:
    """Return what of a key for latents does not depend on which images they are of."""
    known = {"known": True} if drew(frozen.model, images) else {}
    return {"model": frozen.identity(), **known}


def _encode_blocks(
    frozen: FrozenModel,
    images: ImageSet,
    model_parts: dict[str, Any],
    cache: Cache,
    batch_size: int,
    finite: bool = True,
) -> tuple[Rows, int]:
    """Encode the blocks of a split that are not on disk; return all, and the number of images."""
    model, known, encoded = frozen.model, "known" in model_parts, 0
    width = prod(model.latent_shape)
    blocks = [
        slice(start, min(start + BLOCK_IMAGES, len(images)))
        for start in range(0, len(images), BLOCK_IMAGES)
    ]
    entries = [
        cache.entry(
            "latents",
            {"images": images.fingerprint_of(block), **model_parts},
            shapes={"latents": (block.stop - block.start, width)},
        )
        for block in blocks
    ]
    total = sum(
        block.stop - block.start
        for block, entry in zip(blocks, entries, strict=True)
        if not entry.exists()
    )
    size = images_per_call(batch_size, model.device)
    function = _known_latents(model, images) if known else _encoder(frozen, images, size)

    def counted(places: Sequence[int]) -> Tensor:
        nonlocal encoded
        z = function(places)
        encoded += 0 if known else len(places)
        bar.update(len(places))
        return z

    def compute(claimed: Iterator[int]) -> Iterator[Tensors]:
        for block, z in _in_stream(counted, (blocks[i] for i in claimed), size):
            if finite:
                what, remedy = _blame(frozen, images)
                if len(blocks) > 1:
                    what = f"{what}, of which {block.start} to {block.stop - 1} were looked at,"
                require_finite(z, images.ids[block], what, remedy)
            yield {"latents": z}

    text = f"{model.name} encodes {images.split}"
    with progress.bar(0 if known else total, text, "image") as bar:
        cache.fill(entries, compute)
    return Rows([entry.path for entry in entries]), encoded


def _encoder(
    frozen: FrozenModel, images: ImageSet, size: int
) -> Callable[[Sequence[int]], Tensor]:
    """Return a function from places in a split to the latents of these images."""
    model = frozen.model

    def encode(places: Sequence[int]) -> Tensor:
        x = images.images(places)
        noise = None
        if frozen.draws:
            assert frozen.drawn_with is not None
            items = [_number(images.ids[place]) for place in places]
            noise = seeding.item_noise(frozen.drawn_with, items, model.latent_shape)
        if model.device.type == "cpu":
            return model.encode(x) if noise is None else model.encode(x, noise)

        def rows(chosen: Tensor) -> Tensor:
            if noise is None:
                return model.encode(x[chosen])
            return model.encode(x[chosen], noise[chosen])

        # What is last in a batch depends on which blocks were there before, so that batch is
        # filled up: all passes have one size, as they have on the CPU by themselves.
        return in_fixed_batches(rows, torch.arange(len(x)), size)

    return encode


def _number(item: str) -> int:
    """A number below 2^64 for an id, the seed of its own noise."""
    return int.from_bytes(hashlib.sha256(item.encode("utf-8", "surrogateescape")).digest()[:8])


def _known_latents(model: GenerativeModel, images: ImageSet) -> Callable[[Sequence[int]], Tensor]:
    """Return a function from places in a split to the latents their model drew them from."""
    assert isinstance(images, DrawnSet)
    assert isinstance(model, DrawingModel)
    seed, indices = images.seed, images.indices
    return lambda places: model.known_latents(seed, [indices[i] for i in places])


def _in_stream(
    function: Callable[[Sequence[int]], Tensor], blocks: Iterable[slice], size: int
) -> Iterator[tuple[slice, Tensor]]:
    """Yield blocks with the rows of their places, computed `size` at a time across their borders.

    A block is taken when its first place is needed, and yielded when its last one is computed.
    """
    taken: deque[slice] = deque()

    def places() -> Iterator[int]:
        for block in blocks:
            taken.append(block)
            yield from range(block.start, block.stop)

    remaining = places()
    rows: Tensor | None = None
    while batch := list(islice(remaining, size)):
        z = function(batch).cpu()
        rows = z if rows is None else torch.cat([rows, z])
        while taken and len(rows) >= (length := taken[0].stop - taken[0].start):
            yield taken.popleft(), rows[:length]
            rows = rows[length:]


def drew(model: GenerativeModel, images: ImageSet) -> bool:
    """Return whether a model itself drew the images, so that it knows their latents."""
    return (
        isinstance(images, DrawnSet)
        and isinstance(model, DrawingModel)
        and model.drawing == images.drawing
    )


def reconstruct_split(
    frozen: FrozenModel, images: ImageSet, latents: Tensor, cache: Cache, batch_size: int
) -> Tensor:
    """Return the model's own reconstructions of a split, (N, 3, S, S) float32.

    They are not clamped to [0, 1], and the caller looks for values that are not finite, which
    those of latents that are not finite all are.
    """

    def decode(rows: Tensor) -> Tensor:
        what = f"{frozen.model.name} decodes its own latents"
        batches = rows.split(images_per_call(batch_size, frozen.model.device))
        return in_batches(frozen.model.decode_unclamped, batches, len(rows), what)

    def compute() -> dict[str, Tensor]:
        return {"images": where_finite(decode, latents, f"{frozen.model.name}'s latents")}

    parts = {"images": images.fingerprint, "model": frozen.identity(decoding=True)}
    return cache.tensors("unclamped", parts, compute)["images"]
