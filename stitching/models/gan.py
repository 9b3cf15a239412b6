"""StyleGAN2 as a model of the pipeline: a decoder with known latents of the images it draws."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from stitching.compute.batching import in_fixed_batches
from stitching.compute.images import to_uint8
from stitching.compute.seeding import item_noise
from stitching.models.base import CPU_BATCH
from stitching.models.stylegan2 import Generator, Noise
from stitching.models.trainable import Trainable
from stitching.weights.containers import WeightFile
from stitching.weights.loading import merge_options

SPACES = ("z", "w", "w+", "style")
#: Settings of published networks that cannot be read from tensors and of which `Generator`
#: implements one value.
_FIXED = {
    "mapping_kwargs": {"activation": "lrelu", "lr_multiplier": 0.01},
    "synthesis_kwargs": {"activation": "lrelu", "architecture": "skip", "use_noise": True},
}


class GAN(Trainable):
    """A StyleGAN2 generator.

    It has no encoder. As source or target of a map it needs images that it drew itself, whose
    latents are known (`data=drawn`). Decoding is deterministic: layers use the stored noise, or
    none.

    Args:
        name: Name of the option.
        image_size: A power of two, at least 8.
        z_dim: Width of z.
        w_dim: Width of w.
        mapping_layers: Dense layers from z to w. This and the next two are read from a published
            weight file where they are null.
        channel_base: At r pixels there are min(channel_base / r, channel_max) channels.
        channel_max: Largest number of channels.
        conv_clamp: Outputs of layers are limited to [-conv_clamp, conv_clamp]; null: not, or as
            in a published snapshot.
        space: Latents are `z`; `w` (one for all layers); `w+` (one per layer); or `style` (the
            outputs of all affine layers).
        truncation: Factor on the distance of w to its mean, for drawn images and for `z`.
        noise: `const` or `none`.
        ema: Whether to take the averaged weights (G_ema) of a published snapshot, else raw ones
            (G).
        value_range: Range of the generator's pixels.

    Raises:
        ValueError: An option is out of range, or null without a file to read it from.

    Source: Karras et al. (2020), arXiv 1912.04958; style space: Wu et al. (2021),
    arXiv 2011.12799.
    """

    can_encode = False
    thread_safe = True

    def __init__(
        self,
        name: str,
        image_size: int,
        z_dim: int,
        w_dim: int,
        mapping_layers: int | None,
        channel_base: int | None,
        channel_max: int | None,
        conv_clamp: float | None,
        space: str,
        truncation: float,
        noise: Noise,
        ema: bool,
        value_range: Sequence[float],
    ) -> None:
        if space not in SPACES:
            raise ValueError(f"space={space!r} of {name}: use one of {', '.join(SPACES)}")
        if noise not in ("const", "none"):
            raise ValueError(f"noise={noise!r} of {name}: use const or none")
        if mapping_layers is None or channel_base is None or channel_max is None:
            raise ValueError(
                f"model {name}: mapping_layers, channel_base and channel_max may be null only "
                "where weights is a published file to read them from"
            )
        generator = Generator(
            z_dim, w_dim, image_size, mapping_layers, channel_base, channel_max, conv_clamp
        )
        synthesis = generator.synthesis
        shape = {
            "z": (z_dim,),
            "w": (w_dim,),
            "w+": (synthesis.num_ws, w_dim),
            "style": (sum(synthesis.style_sizes),),
        }[space]
        super().__init__(name, image_size, shape, value_range)
        self.generator = generator
        self.z_dim, self.space, self.truncation = z_dim, space, float(truncation)
        self.noise: Noise = noise
        self.ema = ema
        self._drawing = {
            "value_range": self.value_range,
            "conv_clamp": None if conv_clamp is None else float(conv_clamp),
            "truncation": self.truncation,
            "noise": noise,
            "ema": ema,
        }

    @property
    def drawing(self) -> str:
        """Settings that determine the image of an index, besides seed and code, as JSON."""
        # Shapes follow from the weights; the image does not depend on the space.
        return json.dumps({"weights": self.weights_hash, **self._drawing}, sort_keys=True)

    @torch.inference_mode()
    def known_latents(self, seed: int, indices: Sequence[int]) -> Tensor:
        """Return the latents of drawn images, each a function of (seed, index) alone.

        Returns:
            Shape (n, D), float32 (float64 for a model in float64), in the model's `space`.
        """
        z = item_noise(seed, indices, (self.z_dim,)).to(self.device, self._dtype())
        if len(z) == 0:
            return z.new_empty(0, self.latent_dim)
        # Not under autocast: known latents are exact.
        return in_fixed_batches(self._prior, z, CPU_BATCH).flatten(1)

    def draw(self, seed: int, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Draw images from the prior, each a function of (seed, index) alone.

        Returns:
            Their `known_latents`, and images, shape (n, 3, S, S), uint8.

        Raises:
            ValueError: An image is not finite.
        """
        latents = self.known_latents(seed, indices)
        # StyleGAN2's bytes are floor(127.5 x + 128), clipped: 255 (x + 1) / 2 rounded half up.
        return latents, to_uint8(self.decode(latents))

    def sample(
        self, n: int, seed: int = 0, temperature: float = 1.0, fitted: bool = True
    ) -> Tensor:
        """Draw new images, see `GenerativeModel.sample`; the temperature must be 1."""
        del fitted  # there is only one prior
        if temperature != 1:
            raise ValueError(
                f"model {self.name}: temperature={temperature} has no effect on z, which is "
                "normalised; set truncation instead"
            )
        return self.decode(self.known_latents(seed, range(n)))

    def training_loss(self, x: Tensor, progress: float) -> NoReturn:
        """Raise a TypeError: `AdversarialTrainer` computes the losses of both networks."""
        raise TypeError(f"model {self.name} is trained against a discriminator, by no own loss")

    def _encode(self, x: Tensor) -> Tensor:
        raise TypeError(
            f"model {self.name} has no encoder: its latents are known only for images it drew, "
            "by .draw(seed, indices) or data=drawn data.model=..."
        )

    def _decode(self, z: Tensor) -> Tensor:
        synthesis = self.generator.synthesis
        if self.space == "style":
            return synthesis.from_styles(z, self.noise)
        if self.space == "z":
            z = self.generator.mapping(z, self.truncation)
        elif self.space == "w":
            z = z.unsqueeze(1).expand(-1, synthesis.num_ws, -1)
        out: Tensor = synthesis(z, self.noise)
        return out

    def _prior(self, noise: Tensor) -> Tensor:
        if self.space == "z":
            return noise
        ws: Tensor = self.generator.mapping(noise, self.truncation)
        if self.space == "w":
            return ws[:, 0]
        return ws if self.space == "w+" else self.generator.synthesis.styles(ws)

    @classmethod
    def complete_options(cls, options: dict[str, Any], file: WeightFile) -> dict[str, Any]:
        """Return the options with sizes from the tensors and `conv_clamp` from a snapshot."""
        tensors, settings = _published(file, options["ema"])
        if any(name.startswith("mapping.embed.") for name in tensors):
            raise ValueError(
                f"{file.path} is a class-conditional generator, which is not supported: use an "
                "unconditional one (c_dim 0)"
            )
        _check_settings(file, settings)
        channels = {
            int(name.split(".")[1][1:]): value.shape[0]
            for name, value in tensors.items()
            if name.startswith("synthesis.b") and name.endswith(".conv1.weight")
        }
        layers = [name for name in tensors if name.startswith("mapping.fc")]
        first = tensors.get("mapping.fc0.weight")
        if first is None or not channels:
            raise ValueError(
                f"{file.path} is no StyleGAN2 generator: there are no mapping.fc0.weight and "
                f"synthesis.b4.conv1.weight but {', '.join(list(tensors)[:3]) or 'no tensors'}"
            )
        found = {
            "image_size": max(channels),
            "z_dim": first.shape[1],
            "w_dim": first.shape[0],
            "mapping_layers": sum(name.endswith(".weight") for name in layers),
        }
        if "conv_clamp" in settings.get("synthesis_kwargs", {}):
            found["conv_clamp"] = settings["synthesis_kwargs"]["conv_clamp"]
        return _with_channels(merge_options(options, found, file.path), channels, file)

    def state_from(self, file: WeightFile) -> dict[str, Tensor]:
        """Return the generator's tensors of the weight set that `ema` chooses."""
        tensors, _ = _published(file, self.ema)
        return {f"generator.{name}": value for name, value in tensors.items()}


def _published(file: WeightFile, ema: bool) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """The generator's tensors, and the settings in a snapshot."""
    content = file.content
    if not isinstance(content, Mapping) or not {"G", "G_ema"} & content.keys():
        return file.state_dict(), {}
    key = "G_ema" if ema else "G"
    if not content.get(key):
        raise ValueError(
            f"{file.path} holds no {key}: set ema={'false' if ema else 'true'} to take the other "
            "set of weights, if it is there"
        )
    return file.state_dict(key), content.get(f"{key}_init_kwargs") or {}


def _check_settings(file: WeightFile, settings: Mapping[str, Any]) -> None:
    for group, fixed in _FIXED.items():
        for key, value in fixed.items():
            seen = settings.get(group, {}).get(key, value)
            if seen != value:
                raise ValueError(
                    f"{file.path} was made with {group}.{key}={seen!r}: only {value!r} "
                    "is supported"
                )


def _with_channels(
    options: dict[str, Any], channels: Mapping[int, int], file: WeightFile
) -> dict[str, Any]:
    """Fill in channel_base and channel_max where null, and compare them with the file."""
    largest = max(channels)
    # A maximum or base that binds nowhere cannot be read off: any value that gives the channels
    # of the file will do.
    base, most = options["channel_base"], options["channel_max"]
    base = channels[largest] * largest if base is None else base
    most = max(channels.values()) if most is None else most
    seen = [channels[size] for size in sorted(channels)]
    wanted = [min(base // size, most) for size in sorted(channels)]
    if wanted != seen:
        raise ValueError(
            f"{file.path} does not fit model {options['name']}: channel_base={base} and "
            f"channel_max={most} give {wanted} channels from 4 pixels on, the file has {seen}: "
            "set both to null to take those of the file"
        )
    return {**options, "channel_base": base, "channel_max": most}
