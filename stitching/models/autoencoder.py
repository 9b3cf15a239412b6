"""Autoencoders of the diffusers library, built from the `config.json` beside their weights."""

import inspect
import logging
import math
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from stitching.models.base import GenerativeModel
from stitching.models.codebook import Codebook
from stitching.weights.containers import WeightFile

log = logging.getLogger(__name__)

#: Class by class: the option whose length is the number of levels, each half the size of the one
#: above, and where `encode` puts the latent.
_KINDS = {
    "AutoencoderKL": ("block_out_channels", "latent_dist.mean"),
    "AsymmetricAutoencoderKL": ("down_block_out_channels", "latent_dist.mean"),
    "AutoencoderTiny": ("num_encoder_blocks", "latents"),
    "AutoencoderDC": ("encoder_block_out_channels", "latent"),
    "VQModel": ("block_out_channels", "latents"),
}
#: Written by these classes into their `config.json` and taken by none of their constructors.
_RECORDS = frozenset({"block_out_channels", "force_upcast"})
#: Names of the layers of an attention block in files of old versions, and now.
_RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
#: Pixels per pass through a network on the CPU: those of the 16 images of 64 x 64 that the base
#: class hands over. Larger working sizes then need no more memory, and no more time per pixel.
_PASS_PIXELS = 16 * 64 * 64


class Autoencoder(Codebook, GenerativeModel):
    """An autoencoder of diffusers, as its `config.json` describes it.

    The latent is the posterior mean (`AutoencoderKL`, `AsymmetricAutoencoderKL`), the encoder's
    output (`AutoencoderTiny`, `AutoencoderDC`), or what `space` says (`VQModel`). It is brought to
    the unit scale that models in its space are trained at, z = (latent - shift) * scale, and
    decoding undoes this. These models have no prior, so they draw no samples, and no training
    objective in this project.

    Published autoencoders were trained on pictures of 256 pixels and more. On smaller images they
    see everything at an unfamiliar size and keep few positions: 8 x 8 for a factor of 8 at 64
    pixels. A larger `working_size` has its price: time and the latent's width grow with its
    square, and the images go through two resizings. On drawn faces of 64 pixels these alone, up to
    256 and back, leave an RMSE of 0.012 (bicubic) or 0.024 (bilinear) on the 0-1 scale.

    Args:
        name: See `GenerativeModel`.
        image_size: Height and width of the data's images.
        architecture: Contents of `config.json`. Filled in from the weights' folder; needed here
            only for a bare weight file.
        working_size: Height and width the network works at, a multiple of its factor; null is
            `image_size`. Images are resized to it, and decoded images back.
        resize: How: `bicubic` or `bilinear`, always antialiased, as in Pillow. Where bicubic
            overshoots, values are clamped to the value range.
        space: For `VQModel` alone: `quantized` (null; codebook vectors) or `continuous` (the
            encoder's output before quantisation). `decode` projects to the codebook in both.
        scaling_factor: Scale in place of the one in `architecture`. 1 with `shift_factor` 0 gives
            the raw latent.
        shift_factor: Shift in place of the one in `architecture`.
        value_range: Range of pixels; all these classes take and return [-1, 1].

    Raises:
        ValueError: There is no architecture or one of another class, `working_size` does not fit
            it, or another option is not one of those named here.

    Source: Rombach et al. (2022), arXiv 2112.10752, for the scale; the library's classes.
    """

    # The library's classes keep nothing while encoding and decoding.
    thread_safe = True

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        name: str,
        image_size: int,
        architecture: Mapping[str, Any] | None = None,
        working_size: int | None = None,
        resize: str = "bicubic",
        space: str | None = None,
        scaling_factor: float | None = None,
        shift_factor: float | None = None,
        value_range: Sequence[float] = (-1.0, 1.0),
    ) -> None:
        if architecture is None:
            raise ValueError(
                f"model {name} has no architecture: set weights to a folder with config.json "
                "beside the weight file, or to a hub name such as org/name"
            )
        kind = _kind(name, architecture)
        settings = _with_defaults(name, kind, architecture)
        if resize not in ("bicubic", "bilinear"):
            raise ValueError(f"{name}.resize must be bicubic or bilinear, got {resize!r}")
        has_codes = kind == "VQModel"
        if space not in (("quantized", "continuous", None) if has_codes else (None,)):
            raise ValueError(
                f"{name}.space must be quantized or continuous, got {space!r}"
                if has_codes
                else f"{name}.space={space!r} is for VQModel alone, this is {kind}: set it to null"
            )
        factor = 2 ** (len(settings[_KINDS[kind][0]]) - 1)
        size = image_size if working_size is None else working_size
        if size < factor or size % factor:
            raise ValueError(
                f"model {name} works at multiples of {factor} pixels, got "
                f"{'data.image_size' if working_size is None else 'working_size'}={size}: set "
                f"working_size to a multiple of {factor}, such as {-(-size // factor) * factor}"
            )
        channels = settings.get("vq_embed_dim") or settings["latent_channels"]
        shape = (channels, size // factor, size // factor)
        super().__init__(name, image_size, shape, value_range)
        self.kind = kind
        self.has_posterior = _KINDS[kind][1] == "latent_dist.mean"
        self.working_size = size
        self.resize = resize
        self.space = (space or "quantized") if has_codes else None
        shift, scale = _normalisation(settings, kind, shift_factor, scaling_factor)
        for key, values in (("shift", shift), ("scale", scale)):
            column = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
            if len(column) not in (1, channels):
                raise ValueError(f"{name}: {len(column)} values of {key} for {channels} channels")
            # Not among the weights: strict loading would miss them in published files.
            self.register_buffer(key, column, persistent=False)
        if not bool((self.scale.isfinite() & (self.scale > 0)).all()):
            raise ValueError(f"{name}.scaling_factor must be > 0, got {scale}")
        import diffusers

        # The library hides its methods behind decorators that have no types.
        self.network: Any = getattr(diffusers, kind)(**settings)

    @classmethod
    def complete_options(cls, options: dict[str, Any], file: WeightFile) -> dict[str, Any]:
        """Return the options with `architecture` from the file's `config.json`.

        Raises:
            ValueError: Neither has an architecture, they contradict each other, or the file's
                holds something other than plain settings.
        """
        given = options.get("architecture")
        if not file.config:
            if given is None:
                raise ValueError(
                    f"{file.path} has no config.json: give the folder that holds both, or set "
                    f"{options['name']}.architecture to its contents"
                )
            return options
        found = _settings(options["name"], file)
        for key, value in (given or {}).items():
            if found.get(key) != value:
                raise ValueError(
                    f"{options['name']}.architecture.{key}={value!r} but config.json beside "
                    f"{file.path} has {found.get(key)!r}: leave architecture null"
                )
        return {**options, "architecture": found}

    def state_from(self, file: WeightFile) -> dict[str, Tensor]:
        """Return the model's state dict from the library's, old names of attention included."""
        own, state = self.state_dict().keys(), {}
        for name, value in file.state_dict().items():
            *path, layer, tensor = ("network", *name.split("."))
            renamed = ".".join((*path, _RENAMED.get(layer, layer), tensor))
            state[renamed if renamed in own else f"network.{name}"] = value
        return state

    @property
    def codebook(self) -> Tensor:
        """The vectors of a `VQModel`, shape (num_vq_embeddings, C)."""
        weight: Tensor = self.network.quantize.embedding.weight
        return weight

    def diagnostics(self, true: Tensor, mapped: Tensor) -> dict[str, float | int]:
        """Return figures on codes for a `VQModel`, see `Codebook.code_figures`; else nothing."""
        if self.space is None:
            return {}
        grids = [
            self._from_unit_scale(z.to(self.device).unflatten(1, self.latent_shape))
            for z in (true, mapped)
        ]
        return self.code_figures(*grids)

    def _encode(self, x: Tensor) -> Tensor:
        z = self._encoded(x, _KINDS[self.kind][1])
        if self.space == "quantized":
            z = self.quantize(z)[0]
        return (z - self.shift) * self.scale

    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._encode(x), self._encoded(x, "latent_dist.std") * self.scale

    def _encoded(self, x: Tensor, wanted: str) -> Tensor:
        """One part of what the library's `encode` returns."""
        # Clamped: there is nothing brighter than white in any image these models have seen.
        x = self._resized(x, self.working_size).clamp(*self.value_range)
        part_of = attrgetter(wanted)
        return self._in_passes(lambda part: part_of(self.network.encode(part)), x)

    def _decode(self, z: Tensor) -> Tensor:
        z = self._from_unit_scale(z)
        options = {}
        if self.space is not None:
            z, options = self.quantize(z)[0], {"force_not_quantize": True}
        x = self._in_passes(lambda part: self.network.decode(part, **options).sample, z)
        # Before resizing, which has no kernels for half precision on some devices.
        return self._resized(x.to(self._dtype()), self.image_size)

    def _prior(self, noise: Tensor) -> Tensor:
        raise TypeError(
            f"model {self.name} is an autoencoder without a prior: it cannot draw samples"
        )

    def _from_unit_scale(self, z: Tensor) -> Tensor:
        return z / self.scale + self.shift

    def _resized(self, x: Tensor, size: int) -> Tensor:
        if x.shape[-1] == size:
            return x
        return functional.interpolate(
            x, (size, size), mode=self.resize, align_corners=False, antialias=True
        )

    def _in_passes(self, function: Any, x: Tensor) -> Tensor:
        """Apply the network to parts of a batch, on the CPU."""
        if x.device.type != "cpu":
            return function(x)  # type: ignore[no-any-return]
        # A power of two divides the base class's batches of 16: all passes have one size, and
        # rounding does not depend on an image's place in them.
        limit = max(1, _PASS_PIXELS // self.working_size**2)
        return torch.cat([function(part) for part in x.split(1 << (limit.bit_length() - 1))])


def _kind(name: str, architecture: Mapping[str, Any]) -> str:
    kind = architecture.get("_class_name")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(
            f"model {name}: config.json describes {kind!r}, not one of {', '.join(_KINDS)}"
        )
    return kind


def _parameters(kind: str) -> Mapping[str, inspect.Parameter]:
    # The library takes seconds to import, and only a few families need it.
    import diffusers

    return inspect.signature(getattr(diffusers, kind)).parameters


def _with_defaults(name: str, kind: str, architecture: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a class, those that the architecture leaves out included."""
    known = _parameters(kind)
    given = {key: value for key, value in architecture.items() if not key.startswith("_")}
    if unknown := sorted(given.keys() - known.keys()):
        raise ValueError(f"{name}.architecture: {kind} of diffusers has no option {unknown[0]}")
    if kind == "VQModel":
        # Else its decoder would take the numbers of codes instead of their vectors.
        given["lookup_from_codebook"] = False
    return {key: parameter.default for key, parameter in known.items()} | given


def _settings(name: str, file: WeightFile) -> dict[str, Any]:
    """What of a `config.json` the class takes, checked to be plain data."""
    kind = _kind(name, file.config)
    known = _parameters(kind).keys()
    found = {key: value for key, value in file.config.items() if not key.startswith("_")}
    if unknown := sorted(found.keys() - known - _RECORDS):
        log.warning(
            "%s: %s of this version of diffusers has no option %s, which config.json beside %s "
            "sets: outputs may differ from those of the version it was made with",
            *(name, kind, ", ".join(unknown), file.path),
        )
    found = {key: value for key, value in found.items() if key in known}
    if bad := [key for key, value in found.items() if not _plain(value)]:
        raise ValueError(
            f"{file.path.parent / 'config.json'}: {bad[0]} must be a number, a text or a list of "
            f"these, got {found[bad[0]]!r}"
        )
    return {"_class_name": kind, **found}


def _plain(value: object) -> bool:
    """Whether a value is data and nothing else.

    The file comes from elsewhere, and Hydra calls what a nested `_target_` names and looks up
    what a text names between `${` and `}`.
    """
    if isinstance(value, list):
        return all(_plain(item) for item in value)
    if isinstance(value, str):
        return "${" not in value
    return value is None or (isinstance(value, int | float) and math.isfinite(value))


def _normalisation(
    config: Mapping[str, Any], kind: str, shift: float | None, scale: float | None
) -> tuple[list[float], list[float]]:
    """Shift and scale of the latent, one value or one per channel."""
    if kind == "VQModel":
        # Codebook vectors are the latent as they are. The library's default scale stands in
        # many of these files, while the models trained in their space mostly use none.
        config = {}
    if shift is not None:
        shifts = [shift]
    else:
        shifts = list(config.get("latents_mean") or [config.get("shift_factor") or 0.0])
    if scale is not None:
        return shifts, [scale]
    factor = config.get("scaling_factor")
    factor = 1.0 if factor is None else factor
    return shifts, [factor / std for std in config.get("latents_std") or [1.0]]
