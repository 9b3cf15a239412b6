"""Latents and features of a split of images, computed once and kept by content.

A key holds the pixels' fingerprint, the model's options and weight hash, the source of the code
that computes, and what of the environment can change a result.
"""

import hashlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stitching import batching, seeding
from stitching import images as images_module
from stitching.batching import images_per_call
from stitching.cache import Cache
from stitching.data.base import ImageSet
from stitching.data.drawn import DrawingModel, DrawnSet
from stitching.models.base import GenerativeModel
from stitching.models.weights import parameters_hash

#: Packages whose classes are pinned by version, not by source.
_LIBRARIES = ("torch", "diffusers", "builtins", "abc", "typing")


@dataclass(frozen=True)
class Subject:
    """A model with all that identifies it.

    Attributes:
        model: The frozen model.
        options: Its configuration, plain.
        dtype: Precision option it was built with.
    """

    model: GenerativeModel
    options: dict[str, Any]
    dtype: str

    def identity(self, decoding: bool = False) -> dict[str, Any]:
        """Return everything that determines its latents, or also its decoded images."""
        dropped = {"name"} if decoding else {"name", *self.model.decode_options}
        return {
            "options": {k: v for k, v in self.options.items() if k not in dropped},
            "weights": self.model.weights_hash,
            "code": code_version(*{type(module) for module in self.model.modules()}),
            "dtype": self.dtype,
            **_environment(self.model),
        }


def code_version(*classes: type) -> str:
    """Return SHA-256 (hex) of the source files that define classes and what they stand on.

    Args:
        classes: Of a model and of the modules inside it.
    """
    files = {inspect.getsourcefile(module) for module in (batching, images_module, seeding)}
    for base in {base for cls in classes for base in cls.__mro__}:
        if base.__module__.partition(".")[0] not in _LIBRARIES:
            files.add(inspect.getsourcefile(base))
    digest = hashlib.sha256()
    for content in sorted(Path(file).read_bytes() for file in files if file):
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def _environment(model: GenerativeModel) -> dict[str, Any]:
    device = model.device.type
    # TF32 changes float32 products on CUDA; elsewhere the switch has no effect.
    tf32 = device == "cuda" and torch.backends.cuda.matmul.allow_tf32
    return {
        "device": device,
        "tf32": tf32,
        "torch": torch.__version__,
        "diffusers": version("diffusers"),
    }


def in_batches(
    function: Callable[[Tensor], Tensor], batches: Iterable[Tensor], total: int, what: str
) -> Tensor:
    """Apply a function to each batch and return the results as one tensor on the CPU.

    Args:
        function: Takes and returns tensors with one row per item.
        batches: What to apply it to.
        total: Number of items, for the progress bar; there is none outside a terminal.
        what: Its text.
    """
    from tqdm import tqdm

    results = []
    with tqdm(total=total, desc=what, unit="image", leave=False, disable=None) as bar:
        for batch in batches:
            results.append(function(batch).cpu())
            bar.update(len(batch))
    return torch.cat(results)


def fit_subject(subject: Subject, images: ImageSet, cache: Cache, batch_size: int) -> None:
    """Fit a model that needs it to a split, or restore what the cache holds of that fit.

    Only then is its identity known: call this before anything else that is done with the model.
    """
    model = subject.model
    if not model.needs_fit:
        return

    def compute() -> dict[str, Tensor]:
        model.fit_images(images.batches(images_per_call(batch_size, model.device)))
        return model.state_dict()

    parts = {"images": images.fingerprint, "model": subject.identity() | {"weights": None}}
    model.load_state_dict(cache.tensors("fits", parts, compute))
    model.weights_hash = parameters_hash(model)


def encode_split(
    subject: Subject, images: ImageSet, cache: Cache, batch_size: int
) -> tuple[Tensor, int]:
    """Return the latents of a split, and how many images had to be encoded for it.

    Where the model itself drew the images, their latents are the ones it drew them from.

    Returns:
        Latents (N, D) float32 on the CPU in the order of the split's ids, and N or 0.

    Raises:
        ValueError: A latent is not finite; the message names the ids.
    """
    encoded = 0

    def compute() -> dict[str, Tensor]:
        nonlocal encoded
        encoded = len(images)
        what = f"{subject.model.name} encodes {images.split}"
        batches = images.batches(images_per_call(batch_size, subject.model.device))
        z = in_batches(subject.model.encode, batches, len(images), what)
        require_finite(z, images.ids, f"encoder {subject.model.name} returned latents")
        return {"latents": z}

    def known() -> dict[str, Tensor]:
        assert isinstance(images, DrawnSet)
        assert isinstance(subject.model, DrawingModel)
        z = subject.model.known_latents(images.seed, images.indices).cpu()
        require_finite(z, images.ids, f"model {subject.model.name} drew images from latents")
        return {"latents": z}

    parts = {"images": images.fingerprint, "model": subject.identity()}
    if drew(subject.model, images):
        return cache.tensors("latents", parts | {"known": True}, known)["latents"], 0
    return cache.tensors("latents", parts, compute)["latents"], encoded


def drew(model: GenerativeModel, images: ImageSet) -> bool:
    """Return whether a model itself drew the images, so that it knows their latents."""
    return (
        isinstance(images, DrawnSet)
        and isinstance(model, DrawingModel)
        and model.drawing == images.drawing
    )


def reconstruct_split(
    subject: Subject, images: ImageSet, latents: Tensor, cache: Cache, batch_size: int
) -> Tensor:
    """Return the model's own reconstructions of a split, (N, 3, S, S) float32 in [0, 1]."""

    def compute() -> dict[str, Tensor]:
        what = f"{subject.model.name} decodes its own latents"
        batches = latents.split(images_per_call(batch_size, subject.model.device))
        x = in_batches(subject.model.decode, batches, len(latents), what)
        require_finite(x, images.ids, f"decoder {subject.model.name} returned images")
        return {"images": x}

    parts = {"images": images.fingerprint, "model": subject.identity(decoding=True)}
    return cache.tensors("reconstructions", parts, compute)["images"]


def require_finite(values: Tensor, ids: tuple[str, ...], what: str) -> None:
    """Check that every item is finite.

    Raises:
        ValueError: Some are not; the message counts them and names the first ids.
    """
    bad = ~values.flatten(1).isfinite().all(1)
    if bool(bad.any()):
        names = [ids[int(i)] for i in bad.nonzero().flatten()[:3]]
        raise ValueError(
            f"{what} with values that are not finite for {int(bad.sum())} of {len(values)} images "
            f"(ids {', '.join(names)}): try dtype=float32, other weights, or a larger map.alpha"
        )
