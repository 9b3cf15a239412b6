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

from stitching.models.codebook import Codebook
from stitching.weights.containers import WeightFile

log = logging.getLogger(__name__)

#: By class: the option whose length is the number of levels, each half the size of the one
#: above, and the attribute of the encoder's output that is the latent.
_KINDS = {
    "AutoencoderKL": ("block_out_channels", "latent_dist.mean"),
    "AsymmetricAutoencoderKL": ("down_block_out_channels", "latent_dist.mean"),
    "AutoencoderTiny": ("num_encoder_blocks", "latents"),
    "AutoencoderDC": ("encoder_block_out_channels", "latent"),
    "VQModel": ("block_out_channels", "latents"),
}
#: Entries of `config.json` that constructors do not take.
_RECORDS = frozenset({"block_out_channels", "force_upcast"})
#: Old and new names of the layers of an attention block.
_RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
#: Pixels per pass through a network on the CPU, those of 16 images of 64 x 64: bounds the memory
#: of larger working sizes.
_PASS_PIXELS = 16 * 64 * 64


class Autoencoder(Codebook):
    """An autoencoder of diffusers, as its `config.json` describes it.

    The latent is the posterior mean (`AutoencoderKL`, `AsymmetricAutoencoderKL`), the encoder's
    output (`AutoencoderTiny`, `AutoencoderDC`), or depends on `space` (`VQModel`). It has the
    unit scale that models in its space are trained at, z = (latent - shift) * scale; decoding
    inverts this. These models have no prior, so they draw no samples.

    Published autoencoders were trained on images of 256 pixels and more; an image of 64 pixels
    leaves 8 x 8 positions at a factor of 8. With a larger `working_size`, time and the latent's
    width grow with its square, and images are resized twice. On drawn faces of 64 pixels that
    alone, up to 256 and back, has an RMSE of 0.012 (bicubic) or 0.024 (bilinear) on [0, 1].

    Args:
        name: Name of the option.
        image_size: Height and width of the data's images.
        architecture: Contents of `config.json`; null: from the weights' folder.
        working_size: Height and width of the network's input, a multiple of its factor; null:
            `image_size`. Images are resized to it, and decoded images back.
        resize: `bicubic` or `bilinear`, antialiased as in Pillow; overshoots of bicubic are
            clamped to the value range.
        space: Of a `VQModel`: `quantized` (null; codebook vectors) or `continuous` (the encoder's
            output before quantisation). `decode` projects both to the codebook.
        scaling_factor: Overrides the scale in `architecture`. 1 with `shift_factor` 0 gives the
            raw latent.
        shift_factor: Overrides the shift in `architecture`.
        value_range: Range of pixels in the network.

    Raises:
        ValueError: There is no architecture or one of another class, `working_size` does not fit
            it, or another option is not one of those named here.

    Source: Rombach et al. (2022), arXiv 2112.10752, for the scale; the library's classes.
    """

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
            # Not persistent: published files do not contain them.
            self.register_buffer(key, column, persistent=False)
        if not bool((self.scale.isfinite() & (self.scale > 0)).all()):
            raise ValueError(f"{name}.scaling_factor must be > 0, got {scale}")
        import diffusers

        # Any: decorators of diffusers hide the types of its methods.
        self.network: Any = getattr(diffusers, kind)(**settings)

    @classmethod
    def complete_options(cls, options: dict[str, Any], file: WeightFile) -> dict[str, Any]:
        """Return the options with `architecture` from the file's `config.json`."""
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
        """Return the state dict under the model's names, old names of attention mapped."""
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
        """Return measures of the codes of a `VQModel`; of other classes nothing."""
        return {} if self.space is None else super().diagnostics(true, mapped)

    def _encode(self, x: Tensor) -> Tensor:
        z = self._encoded(x, _KINDS[self.kind][1])
        if self.space == "quantized":
            z = self.quantize(z)[0]
        return (z - self.shift) * self.scale

    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._encode(x), self._encoded(x, "latent_dist.std") * self.scale

    def _encoded(self, x: Tensor, wanted: str) -> Tensor:
        """One attribute of the encoder's output."""
        # Clamped, because resizing overshoots.
        x = self._resized(x, self.working_size).clamp(*self.value_range)
        part_of = attrgetter(wanted)
        return self._in_passes(lambda part: part_of(self.network.encode(part)), x)

    def _decode(self, z: Tensor) -> Tensor:
        z = self._from_unit_scale(z)
        options = {}
        if self.space is not None:
            z, options = self.quantize(z)[0], {"force_not_quantize": True}
        x = self._in_passes(lambda part: self.network.decode(part, **options).sample, z)
        # Resizing has no kernels for half precision on some devices.
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
        # A power of two divides the base class's batches of 16: all passes have one size, so that
        # rounding does not depend on the batch.
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
    import diffusers  # takes seconds

    return inspect.signature(getattr(diffusers, kind)).parameters


def _with_defaults(name: str, kind: str, architecture: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a class, with defaults for those that the architecture lacks."""
    known = _parameters(kind)
    given = {key: value for key, value in architecture.items() if not key.startswith("_")}
    if unknown := sorted(given.keys() - known.keys()):
        raise ValueError(f"{name}.architecture: {kind} of diffusers has no option {unknown[0]}")
    if kind == "VQModel":
        # Else its decoder takes the numbers of codes instead of their vectors.
        given["lookup_from_codebook"] = False
    return {key: parameter.default for key, parameter in known.items()} | given


def _settings(name: str, file: WeightFile) -> dict[str, Any]:
    """The entries of a `config.json` that the class takes, checked to be plain data."""
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
    """Whether a value holds nothing that Hydra would call (`_target_`) or resolve (`${...}`)."""
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
        # Codebook vectors are not scaled: the scale in many of these files is diffusers' default,
        # which models trained in their space mostly do not use.
        config = {}
    shifts = config.get("latents_mean") or [config.get("shift_factor") or 0.0]
    factor = config.get("scaling_factor")
    factor = 1.0 if factor is None else factor
    scales = [factor / std for std in config.get("latents_std") or [1.0]]
    return list(shifts) if shift is None else [shift], scales if scale is None else [scale]
