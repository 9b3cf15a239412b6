"""The VAE of DiffuseVAE (its first stage), whose layers are written as strings.

Names and semantics follow kpandey008/DiffuseVAE, so that its checkpoints load strictly.
Source: Pandey et al. (2022), arXiv 2201.00308; the blocks are those of Child (2021),
arXiv 2011.10650.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stitching.models.trainable import Trainable
from stitching.weights.containers import WeightFile
from stitching.weights.loading import merge_options

#: Width of the encoder's first convolution; the public code has no option for it.
STEM = 64

#: The options that are written as strings.
STRINGS = ("enc_block_str", "dec_block_str", "enc_channel_str", "dec_channel_str")


class Layer(NamedTuple):
    """One token of a layer string.

    Attributes:
        resolution: Side of the input in pixels.
        kind: `x` residual blocks, `d` a block and average pooling, `u` nearest upsampling,
            `t` a change of width.
        number: Of blocks; factor of pooling or upsampling; resolution of the new width.
    """

    resolution: int
    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.resolution}{self.kind}{self.number}"


def parse_layers(text: str, option: str, kinds: str) -> list[Layer]:
    """Return the layers of a string such as `64x7,64d2,64t32`; a bare number is one block.

    Raises:
        ValueError: It is not of this form, or holds a kind that is not in `kinds`.
    """
    layers = []
    for token in _tokens(text, option):
        match = re.fullmatch(rf"(\d+)(?:([{kinds}])(\d+))?", token)
        if match is None or int(match[1]) < 1 or int(match[3] or 1) < 1:
            forms = ", ".join(f"8{kind}2" for kind in kinds)
            raise ValueError(f"{option} has {token!r}: each layer is written like one of {forms}")
        layers.append(Layer(int(match[1]), match[2] or "x", int(match[3] or 1)))
    return layers


def parse_channels(text: str, option: str) -> dict[int, int]:
    """Return widths by resolution from a string such as `64:64,32:128,1:512`.

    Raises:
        ValueError: It is not of this form.
    """
    channels = {}
    for token in _tokens(text, option):
        match = re.fullmatch(r"(\d+):(\d+)", token)
        if match is None or int(match[2]) < 2:
            raise ValueError(
                f"{option} has {token!r}: write resolution:channels, such as 32:128, with 2 "
                "channels at least"
            )
        channels[int(match[1])] = int(match[2])
    return channels


def _tokens(text: str, option: str) -> list[str]:
    if not isinstance(text, str):
        raise ValueError(
            f"{option} must be a string, such as those in conf/model/vae-celeba64.yaml, got "
            f"{text!r}"
        )
    return str(_plain(text)).split(",")


class ResidualBlock(nn.Module):
    """Four convolutions, each after a GELU, with a skip; then average pooling, if any.

    Args:
        channels: Width in and out; inside it is half.
        kernel: Size of the two convolutions in the middle.
        pool: Factor of the pooling.
    """

    def __init__(self, channels: int, kernel: int, pool: int = 1) -> None:
        super().__init__()
        inner = channels // 2
        self.c1 = nn.Conv2d(channels, inner, 1)
        self.c2 = nn.Conv2d(inner, inner, kernel, padding=kernel // 2)
        self.c3 = nn.Conv2d(inner, inner, kernel, padding=kernel // 2)
        self.c4 = nn.Conv2d(inner, channels, 1)
        self.gelu = nn.GELU()
        self.pool = nn.AvgPool2d(pool) if pool > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, C, S, S) to (N, C, S / pool, S / pool)."""
        h = x
        for layer in (self.c1, self.c2, self.c3, self.c4):
            h = layer(self.gelu(h))
        out: Tensor = self.pool(x + h)
        return out


def stack(
    layers: Sequence[Layer], channels: Mapping[int, int], option: str, end: int
) -> nn.Sequential:
    """Return the modules of a layer string; their numbers are part of the weights' names.

    channels are widths by resolution, option names the string in messages, and end is the
    resolution of the output.

    Raises:
        ValueError: A layer does not follow from the one before it, or `end` is not reached.
    """
    size = layers[0].resolution
    width = _width(channels, size, option)
    children: list[nn.Module] = []
    for layer in layers:
        expected = _width(channels, layer.resolution, option)
        # A change of width names the resolution before the pooling that precedes it.
        if width != expected or (layer.kind != "t" and layer.resolution != size):
            raise ValueError(
                f"{option}: layer {layer} needs {expected} channels at resolution "
                f"{layer.resolution}, but what comes before it leaves {width} at {size}"
            )
        if layer.kind == "t":
            after = _width(channels, layer.number, option)
            children.append(nn.Conv2d(width, after, 1, bias=False))
            width = after
        elif layer.kind == "u":
            children.append(nn.Upsample(scale_factor=layer.number, mode="nearest"))
            size *= layer.number
        else:
            pool = layer.number if layer.kind == "d" else 1
            if size % pool:
                raise ValueError(f"{option}: layer {layer} cannot divide {size} by {pool}")
            repeats = 1 if layer.kind == "d" else layer.number
            kernel = 3 if size > 1 else 1
            children += [ResidualBlock(width, kernel, pool) for _ in range(repeats)]
            size //= pool
    if size != end:
        raise ValueError(f"{option} ends at resolution {size} but must end at {end}")
    return nn.Sequential(*children)


def _width(channels: Mapping[int, int], resolution: int, option: str) -> int:
    try:
        return channels[resolution]
    except KeyError:
        raise ValueError(
            f"{option} comes to resolution {resolution}, for which "
            f"{option.replace('block', 'channel')} has no width: it has {sorted(channels)}"
        ) from None


class Encoder(nn.Module):
    """Images to mean and log variance of the posterior."""

    def __init__(self, layers: Sequence[Layer], channels: Mapping[int, int]) -> None:
        super().__init__()
        top = layers[0].resolution
        if _width(channels, top, "enc_block_str") != STEM:
            raise ValueError(
                f"enc_channel_str must give {STEM} channels at resolution {top}, the fixed width "
                f"of the first convolution, got {channels[top]}"
            )
        self.in_conv = nn.Conv2d(3, STEM, 3, padding=1, bias=False)
        self.block_mod = stack(layers, channels, "enc_block_str", end=1)
        self.mu = nn.Conv2d(channels[1], channels[1], 1, bias=False)
        self.logvar = nn.Conv2d(channels[1], channels[1], 1, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Shape (N, 3, S, S) to two of shape (N, D, 1, 1)."""
        h = self.block_mod(self.in_conv(x))
        return self.mu(h), self.logvar(h)


class Decoder(nn.Module):
    """Latents to images in [0, 1]."""

    def __init__(self, layers: Sequence[Layer], channels: Mapping[int, int], size: int) -> None:
        super().__init__()
        if layers[0].resolution != 1:
            raise ValueError(f"dec_block_str must begin at resolution 1, got {layers[0]}")
        self.block_mod = stack(layers, channels, "dec_block_str", end=size)
        self.last_conv = nn.Conv2d(channels[size], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """Shape (N, D, 1, 1) to (N, 3, S, S)."""
        return torch.sigmoid(self.last_conv(self.block_mod(z)))


class DiffuseVAE(Trainable):
    """A Gaussian VAE of residual blocks; its latent is the posterior mean, or a draw from it.

    Args:
        name: Name of the option.
        image_size: Resolution at which the layer strings begin and end.
        enc_block_str: Layers of the encoder, see `Layer`; ends at resolution 1.
        dec_block_str: Layers of the decoder, from resolution 1.
        enc_channel_str: Widths of the encoder by resolution; the one at 1 is the latent's.
        dec_channel_str: Widths of the decoder.
        value_range: Must be [0, 1], because the decoder ends in a sigmoid.
        alpha: Weight of the KL term in training.

    Raises:
        ValueError: The strings are malformed or do not fit each other or `image_size`.
    """

    thread_safe = True

    def __init__(
        self,
        name: str,
        image_size: int,
        enc_block_str: str,
        dec_block_str: str,
        enc_channel_str: str,
        dec_channel_str: str,
        value_range: Sequence[float] = (0.0, 1.0),
        alpha: float = 1.0,
    ) -> None:
        down = parse_layers(enc_block_str, "enc_block_str", "xdt")
        up = parse_layers(dec_block_str, "dec_block_str", "xut")
        narrow = parse_channels(enc_channel_str, "enc_channel_str")
        wide = parse_channels(dec_channel_str, "dec_channel_str")
        if down[0].resolution != image_size:
            raise ValueError(
                f"model {name}: enc_block_str is for images of {down[0].resolution} pixels, got "
                f"image_size={image_size}: set data.image_size={down[0].resolution}"
            )
        if tuple(value_range) != (0, 1):
            raise ValueError(f"model {name}: value_range must be [0, 1], got {value_range}")
        if alpha < 0:
            raise ValueError(f"model {name}: alpha must be >= 0, got {alpha}")
        latent = _width(narrow, 1, "enc_block_str")
        if _width(wide, 1, "dec_block_str") != latent:
            raise ValueError(
                f"model {name}: enc_channel_str gives {latent} channels at resolution 1, "
                f"dec_channel_str {wide[1]}: make them equal, they are the latent"
            )
        super().__init__(name, image_size, (latent, 1, 1), value_range)
        self.alpha = alpha
        self.enc = Encoder(down, narrow)
        self.dec = Decoder(up, wide, image_size)
        for half in (self.enc, self.dec):
            blocks = [part for part in half.modules() if isinstance(part, ResidualBlock)]
            for block in blocks:
                # Without normalisation a sum of many blocks must start small (Child 2021).
                block.c4.weight.data.mul_(len(blocks) ** -0.5)

    @classmethod
    def complete_options(cls, options: dict[str, Any], file: WeightFile) -> dict[str, Any]:
        """Return the options with the strings of a Lightning file's `hyper_parameters`."""
        found: dict[str, Any] = {}
        content = file.content if isinstance(file.content, Mapping) else {}
        stored = content.get("hyper_parameters")
        if isinstance(stored, Mapping):
            found = {key: _plain(stored[key]) for key in STRINGS if key in stored}
            if "input_res" in stored:
                found["image_size"] = stored["input_res"]
        given = {key: _plain(options[key]) for key in STRINGS if key in options}
        options = merge_options({**options, **given}, found, file.path)
        if missing := [key for key in STRINGS if options.get(key) is None]:
            raise ValueError(
                f"{file.path} does not contain {', '.join(missing)}: set these options to the "
                "strings it was trained with"
            )
        return options

    def state_from(self, file: WeightFile) -> dict[str, Tensor]:
        """Return the state dict of a Lightning file, or of a file that is one."""
        lightning = isinstance(file.content, Mapping) and "state_dict" in file.content
        return file.state_dict("state_dict") if lightning else file.state_dict()

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance, each (N, D, 1, 1), of images (N, 3, S, S) in [0, 1]."""
        mean, log_variance = self.enc(x)
        return mean, log_variance

    def _encode(self, x: Tensor) -> Tensor:
        return self.posterior(x)[0]

    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.posterior(x)
        return mean, torch.exp(log_variance / 2)

    def _decode(self, z: Tensor) -> Tensor:
        out: Tensor = self.dec(z)
        return out

    def training_loss(self, x: Tensor, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Sum of squared errors plus alpha times the KL term, per image.

        The public code sums over the batch instead; Adam's steps do not depend on such a factor.
        """
        del progress
        mean, log_variance = (part.float() for part in self.posterior(x))
        z = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        error = (self.dec(z).float() - x).square().flatten(1).sum(1).mean()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).sum(1).mean()
        return error + self.alpha * kl, {
            "rmse": float((error.detach() / x[0].numel()).sqrt()),
            "kl_nats": float(kl.detach()),
        }


def _plain(text: Any) -> Any:
    """A string without blanks, which layer strings ignore."""
    return "".join(text.split()) if isinstance(text, str) else text
