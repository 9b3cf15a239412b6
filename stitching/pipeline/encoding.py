"""Latents and reconstructions of a split of images, computed once and cached by content.

A key holds the pixels' fingerprint, the model's options and weight hash, the source of the code
that computes, and those parts of the environment that can change a result. Latents are stored in
blocks of images, so that splits of several sizes share them and a stopped encoding goes on.
"""

import functools
import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version as read_version
from typing import Any

import torch
from torch import Tensor

from stitching.compute import progress, seeding
from stitching.compute.batching import images_per_call, in_fixed_batches
from stitching.compute.rows import ReorderedRows, Rows
from stitching.compute.source import code_version
from stitching.data.base import ImageSet
from stitching.data.label_columns import LabelModel
from stitching.models.base import GenerativeModel
from stitching.pipeline.cache import Cache
from stitching.pipeline.finite import model_remedy, require_finite, where_finite
from stitching.pipeline.known import drew, looked_up_latents
from stitching.records.tensorfiles import Tensors
from stitching.weights.loading import parameters_hash

#: Images whose latents share a file. It divides customary sizes of splits (300, 1000, 9000), so
#: that a smaller split is made of the blocks of a larger one.
BLOCK_IMAGES = 100


@dataclass(frozen=True)
class FrozenModel:
    """A frozen model with everything that identifies it.

    Attributes:
        model: The model.
        options: Its configuration, plain.
        dtype: Precision option it was built with.
        drawn_with: Seed of draws from the posterior, in place of its means, for a model that
            has one; None for the means.
        yaml_name: Name of its YAML; "" where it was built without one.
        changed: Options that differ from that YAML.
        width: Leading components of its latents that are used in place of them, see
            `Fitting.narrowed`; None for the latents themselves.
        at_most: Whether fewer components will do, where the fit images have no more.
        components_of: Fingerprint of the fit images that the components are of, once known.
        shuffled_with: Seed of the order in which images get each other's latents; None for
            their own.
    """

    model: GenerativeModel
    options: dict[str, Any]
    dtype: str
    drawn_with: int | None = None
    yaml_name: str = ""
    changed: Mapping[str, Any] = field(default_factory=dict)
    width: int | None = None
    at_most: bool = False
    components_of: str = ""
    shuffled_with: int | None = None

    @property
    def whole(self) -> "FrozenModel":
        """The model with latents as it encodes them, which are cached and shared."""
        return replace(self, width=None, at_most=False, components_of="", shuffled_with=None)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of the latents that are mapped."""
        return self.model.latent_shape if self.width is None else (self.width,)

    @property
    def model_name(self) -> str:
        """Name of the YAML, or of the model where there is none."""
        return self.yaml_name or self.model.name

    @property
    def draws(self) -> bool:
        """Whether its latents are draws from a posterior."""
        return self.drawn_with is not None and self.model.has_posterior

    def identity(self, decoding: bool = False) -> dict[str, Any]:
        """Return what determines its latents, or with `decoding` its decoded images too."""
        dropped = {"name"} if decoding else {"name", *self.model.decode_options}
        return {
            "options": {k: v for k, v in self.options.items() if k not in dropped},
            "weights": self.model.weights_hash,
            "code": code_version(*{type(module) for module in self.model.modules()}),
            "dtype": self.dtype,
            **({"drawn_with": self.drawn_with} if self.draws else {}),
            **({"shuffled_with": self.shuffled_with} if self.shuffled_with is not None else {}),
            **({"width": [self.width, self.at_most, self.components_of]} if self.width else {}),
            **_environment(self.model.device.type),
        }


_version = functools.cache(read_version)  # which parses a file each time


def _environment(device: str) -> dict[str, Any]:
    return {
        "device": device,
        # TF32 changes float32 products on CUDA; elsewhere the switch has no effect.
        "tf32": device == "cuda" and torch.backends.cuda.matmul.allow_tf32,
        "torch": torch.__version__,
        "diffusers": _version("diffusers"),
    }


def in_batches(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    batch_size: int,
    device: torch.device,
    what: str,
) -> Tensor:
    """Apply a function to batches of rows and return the results as one tensor on the CPU.

    Args:
        function: Takes and returns tensors with one row per item.
        x: Shape (N, ...).
        batch_size: Rows per call, at least; see `images_per_call`.
        device: Device of the function.
        what: Text of the progress bar.
    """
    results = []
    with progress.bar(len(x), what, "image") as bar:
        for batch in x.split(images_per_call(batch_size, device)):
            results.append(function(batch).cpu())
            bar.update(len(batch))
    return torch.cat(results)


def decode(model: GenerativeModel, latents: Tensor, batch_size: int, which: str) -> Tensor:
    """Return the images of latents, (N, 3, S, S), not clamped to [0, 1], on the CPU.

    Args:
        model: The decoder.
        latents: Shape (N, D).
        batch_size: Images per forward pass.
        which: Kind of latents, for the progress bar.
    """
    what = f"{model.name} decodes {which} latents"
    return in_batches(model.decode_unclamped, latents, batch_size, model.device, what)


def fit_frozen_model(frozen: FrozenModel, images: ImageSet, cache: Cache, batch_size: int) -> None:
    """Fit a model that needs it to a split, or restore the fit from the cache.

    This sets its identity: call it before anything else is done with the model.
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

    parts = {"images": images.fingerprint, "model": frozen.whole.identity() | {"weights": None}}
    model.load_state_dict(cache.tensors("fits", parts, compute))
    model.weights_hash = parameters_hash(model)


def encode_split(
    frozen: FrozenModel, images: ImageSet, cache: Cache, batch_size: int, finite: bool = True
) -> tuple[Tensor, int]:
    """Return the latents of a split, and the number of images that were encoded.

    Latents of images drawn by the model itself are those it drew them from; those of a label
    model are the images' labels. A shuffled model's are those of the model it shuffles, in
    another order; components are not taken here.

    Args:
        frozen: The model.
        images: The split.
        cache: Keeps latents.
        batch_size: Images per forward pass.
        finite: Whether values that are not finite are an error; else the caller counts them.

    Returns:
        Latents (N, D) float32 on the CPU in the order of the split's ids, and from 0 to N: blocks
        on disk, from a split of any size, are not encoded again.

    Raises:
        ValueError: A latent is not finite; the message names the ids.
    """
    encoded = 0

    def load() -> Tensors:
        nonlocal encoded
        rows, encoded = _encode_blocks(frozen, images, cache, batch_size, finite)
        return {"latents": rows[:]}

    # Later cells use the whole again; its blocks in memory too would hold it twice.
    parts = _parts(frozen, images)
    latents = cache.kept("latents", parts, load)["latents"]
    if finite:  # a caller that counts may have stored them
        require_finite(latents, images.ids, *_blame(frozen, images))
    if frozen.shuffled_with is not None:
        latents = latents[_order(frozen, images)]
    return latents, encoded


def latent_rows(
    frozen: FrozenModel, images: ImageSet, cache: Cache, batch_size: int, finite: bool = True
) -> tuple[Rows | ReorderedRows, int]:
    """Return the latents of a split as rows read from disk, and the number of encoded images.

    Same as `encode_split`, with at most a few blocks in memory. Rows of a shuffled model lie all
    over the files: each slice of them reads all.
    """
    latents, encoded = _encode_blocks(frozen, images, cache, batch_size, finite)
    if finite:  # a caller that counts may have stored them
        require_finite(latents, images.ids, *_blame(frozen, images))
    if frozen.shuffled_with is not None:
        return ReorderedRows(latents, _order(frozen, images)), encoded
    return latents, encoded


def _order(frozen: FrozenModel, images: ImageSet) -> Tensor:
    """Return the places of the images whose latents a shuffled model's images get."""
    if len(images) < 2:
        raise ValueError(
            f"encoder {frozen.model.name} gives images the latents of others, but there is only "
            f"one {images.split} image: raise data.n_{images.split}"
        )
    assert frozen.shuffled_with is not None
    return seeding.derangement(len(images), frozen.shuffled_with)


def _blame(frozen: FrozenModel, images: ImageSet) -> tuple[str, str]:
    """Return subject and remedy of the message on latents that are not finite."""
    name = frozen.model.name
    if drew(frozen.model, images):
        return f"model {name} drew images from latents", "look at its weights"
    return f"encoder {name} returned latents of {images.split} images", model_remedy(frozen.dtype)


def _parts(frozen: FrozenModel, images: ImageSet, block: range | None = None) -> dict[str, Any]:
    """Return what the latents of a split, or of a block of it, depend on."""
    model, places = frozen.model, block or range(len(images))
    parts: dict[str, Any] = {
        "images": images.fingerprint_of(slice(places.start, places.stop)),
        "model": frozen.whole.identity(),
    }
    if drew(model, images):
        parts["known"] = True
    if isinstance(model, LabelModel):
        parts["labels"] = images.part(places.start, places.stop).labels_fingerprint
    return parts


def _encode_blocks(
    frozen: FrozenModel, images: ImageSet, cache: Cache, batch_size: int, finite: bool
) -> tuple[Rows, int]:
    """Encode the blocks of a split that are not on disk; return all, and the number of images."""
    model, encoded, width = frozen.model, 0, frozen.model.latent_dim
    known_latents = looked_up_latents(model, images)
    known = known_latents is not None
    starts = range(0, len(images), BLOCK_IMAGES)
    blocks = [range(start, min(start + BLOCK_IMAGES, len(images))) for start in starts]
    entries = [
        cache.entry(
            "latents",
            _parts(frozen, images, block),
            {"latents": (len(block), width)},
        )
        for block in blocks
    ]
    missing = [len(b) for b, entry in zip(blocks, entries, strict=True) if not entry.exists()]
    size = images_per_call(batch_size, model.device)
    function = known_latents or _encoder(frozen, images, size)

    def encode(places: Sequence[int]) -> Tensor:
        nonlocal encoded
        z = function(places).cpu()
        encoded += 0 if known else len(places)
        bar.update(len(places))
        return z

    def compute(reserved: Iterator[int]) -> Iterator[Tensors]:
        for block, z in _in_passes(encode, (blocks[i] for i in reserved), size):
            if finite:
                what, remedy = _blame(frozen, images)
                if len(blocks) > 1:
                    what = f"{what}, of which {block.start} to {block.stop - 1} were looked at,"
                require_finite(z, images.ids[block.start : block.stop], what, remedy)
            yield {"latents": z}

    text = f"{model.name} encodes {images.split}"
    with progress.bar(0 if known else sum(missing), text, "image") as bar:
        cache.fill(entries, compute)
    return Rows([entry.path for entry in entries]), encoded


def _in_passes(
    function: Callable[[Sequence[int]], Tensor], blocks: Iterator[range], size: int
) -> Iterator[tuple[range, Tensor]]:
    """Yield blocks with the rows of their places, computed `size` at a time across borders.

    A pass of a block by itself would be filled in part: 100 images are 7 passes of 16, so 300
    images on two threads take 12 rounds of passes in place of 10. Blocks are taken, and so
    reserved, when a pass needs their places.
    """
    taken: deque[range] = deque()
    waiting: list[int] = []
    rows = torch.empty(0)
    while True:
        while len(waiting) < size and (block := next(blocks, None)) is not None:
            taken.append(block)
            waiting += block
        if not waiting:
            return
        found, waiting = function(waiting[:size]), waiting[size:]
        rows = torch.cat([rows, found]) if len(rows) else found
        while taken and len(rows) >= len(taken[0]):
            yield taken[0], rows[: len(taken[0])]
            rows = rows[len(taken.popleft()) :]


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

        # The last images of a batch depend on which blocks were there before, so that batch is
        # filled up: all passes have one size, as they always have on the CPU.
        return in_fixed_batches(rows, torch.arange(len(x)), size)

    return encode


def _number(item: str) -> int:
    """Return a number below 2^64 for an id, the seed of its noise."""
    return int.from_bytes(hashlib.sha256(item.encode("utf-8", "surrogateescape")).digest()[:8])


def reconstruct_split(
    frozen: FrozenModel, images: ImageSet, latents: Tensor, cache: Cache, batch_size: int
) -> Tensor:
    """Return the model's own reconstructions of a split, (N, 3, S, S) float32.

    They are not clamped to [0, 1], and not finite where latents are not; the caller checks.
    """

    def compute() -> dict[str, Tensor]:
        own = partial(decode, frozen.model, batch_size=batch_size, which="its own")
        return {"images": where_finite(own, latents, f"{frozen.model.name}'s latents")}

    parts = {"images": images.fingerprint, "model": frozen.identity(decoding=True)}
    return cache.tensors("unclamped", parts, compute)["images"]
