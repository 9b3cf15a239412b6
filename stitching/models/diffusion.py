"""Diffusion models: diffusers' `UNet2DModel`, encoded by DDIM inversion, decoded by DDIM.

Checkpoints of ermongroup/ddim load by their own names.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from stitching.models.ddim import DDIM, PixelDiffusion
from stitching.weights.containers import WeightFile
from stitching.weights.loading import merge_options

log = logging.getLogger(__name__)


class Diffusion(PixelDiffusion):
    """A pixel diffusion model on a U-Net; see `PixelDiffusion` for its latent.

    Args:
        name: Name of the option.
        image_size: A multiple of `patch_size` times 2 to the number of levels less one.
        patch_size: The U-Net works on patches of this side, folded into channels.
        block_out_channels: Widths of the U-Net's levels.
        layers_per_block: Residual blocks per level.
        norm_num_groups: Groups of the normalisation layers.
        n_train_steps: T of the schedule the network was trained with.
        beta_start: First beta of the linear schedule.
        beta_end: Last beta.
        n_steps: Steps of inversion and decoding.
        prediction: `epsilon` or `v`.
        inversion_iterations: Evaluations per inversion step.
        clip_x0: Whether predicted clean images are clamped while decoding.
        value_range: Range of pixels in the network.
        sigma_data: If given, the U-Net predicts the clean image where the noise is wider than
            this, and a correction to the noisy image where it is narrower; `prediction` must be
            `v`, which is derived from it. If None, the U-Net's output is the prediction itself.
        attention_levels: Levels with self-attention of one head, counted from 0 at full
            resolution; the middle always has it.
        freq_shift: Offset in the spacing of the time embedding's frequencies.
        flip_sin_to_cos: Whether the time embedding has cosines before sines.
        downsample_padding: Zeros around the input of downsampling; 0: at the right and bottom
            alone.
        norm_eps: Added to the variance in normalisation layers.
        dropout: Share of activations dropped while training.
        prior_rank: Rank of the density that samples are drawn from; None: standard normal.
        ema: Whether to take the averaged weights of a published checkpoint, else the raw ones.

    Raises:
        ValueError: The options do not fit each other.

    Source of the preconditioning: Karras et al. (2022), arXiv 2206.00364.
    """

    thread_safe = True

    def __init__(
        self,
        name: str,
        image_size: int,
        patch_size: int,
        block_out_channels: Sequence[int],
        layers_per_block: int,
        norm_num_groups: int,
        n_train_steps: int,
        beta_start: float,
        beta_end: float,
        n_steps: int,
        prediction: str,
        inversion_iterations: int,
        clip_x0: bool,
        value_range: Sequence[float],
        sigma_data: float | None = None,
        attention_levels: Sequence[int] = (),
        freq_shift: int = 0,
        flip_sin_to_cos: bool = True,
        downsample_padding: int = 1,
        norm_eps: float = 1e-5,
        dropout: float = 0.0,
        prior_rank: int | None = None,
        ema: bool = True,
    ) -> None:
        if sigma_data is not None and (prediction != "v" or sigma_data <= 0):
            raise ValueError(
                f"model {name}: sigma_data must be > 0 and needs prediction=v, got "
                f"sigma_data={sigma_data} and prediction={prediction}"
            )
        levels = len(block_out_channels)
        if unknown := sorted(set(attention_levels) - set(range(levels))):
            raise ValueError(
                f"model {name}: attention_levels must lie in 0..{levels - 1}, one per width in "
                f"block_out_channels, got {unknown}"
            )
        multiple = patch_size * 2 ** (levels - 1)
        ddim = DDIM(n_train_steps, beta_start, beta_end, n_steps, prediction, inversion_iterations)
        super().__init__(name, image_size, value_range, multiple, ddim, clip_x0, prior_rank)
        # diffusers takes seconds to import.
        from diffusers import UNet2DModel

        self.patch_size = patch_size
        self.sigma_data = sigma_data
        self.ema = ema
        self.n_levels = levels
        attends = [level in attention_levels for level in range(levels)]
        unet: Any = UNet2DModel(
            sample_size=image_size // patch_size,
            in_channels=3 * patch_size**2,
            out_channels=3 * patch_size**2,
            down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
            up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in attends[::-1]),
            block_out_channels=tuple(block_out_channels),
            layers_per_block=layers_per_block,
            norm_num_groups=norm_num_groups,
            attention_head_dim=None,
            freq_shift=freq_shift,
            flip_sin_to_cos=flip_sin_to_cos,
            downsample_padding=downsample_padding,
            norm_eps=norm_eps,
            dropout=dropout,
        )
        self.unet: nn.Module = unet.to(memory_format=torch.channels_last)

    @classmethod
    def complete_options(cls, options: dict[str, Any], file: WeightFile) -> dict[str, Any]:
        """Return the options with the U-Net's widths and depths from the file."""
        state = _weight_set(file, options.get("ema", True))
        if not _is_public(state):
            return options
        widths = {
            int(name.split(".")[1]): len(value)
            for name, value in state.items()
            if name.startswith("down.") and name.endswith(".block.0.conv1.weight")
        }
        attention = {
            int(n.split(".")[1]) for n in state if n.startswith("down.") and ".attn." in n
        }
        depth = sum(n.startswith("down.0.block.") and n.endswith(".conv1.weight") for n in state)
        found = {
            "block_out_channels": [widths[level] for level in sorted(widths)],
            "layers_per_block": depth,
            "attention_levels": sorted(attention),
            **_PUBLIC,
        }
        # An option left out means levels without attention.
        return merge_options({"attention_levels": [], **options}, found, file.path)

    def state_from(self, file: WeightFile) -> dict[str, Tensor]:
        """Return the weight set that `ema` chooses, under diffusers' names."""
        state = _weight_set(file, self.ema)
        if isinstance(file.content, list | tuple):
            which = "averaged (EMA)" if self.ema else "raw"
        elif _is_public(state):
            which = "the only"
        else:
            return state
        log.info("model %s: %s weights of %s", self.name, which, file.path)
        if not _is_public(state):
            return state
        return dict(_renamed(name, value, self.n_levels) for name, value in state.items())

    def network(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the prediction of epsilon or v, shape (N, 3, S, S), in x's dtype."""
        patches = functional.pixel_unshuffle(x, self.patch_size)
        out = self.unet(patches.contiguous(memory_format=torch.channels_last), t).sample
        out = functional.pixel_shuffle(out, self.patch_size).to(x.dtype)
        if self.sigma_data is None:
            return out
        # x0 = c_skip x + c_out F, written as v = (sqrt(a) x - x0) / sigma without the division.
        a = self.ddim.alphas_cumprod.to(x.device)[t][:, None, None, None]
        total = a * self.sigma_data**2 + (1 - a)
        skip = (a * (1 - a)).sqrt() * (1 - self.sigma_data**2) / total
        return skip.to(x.dtype) * x - (1 / total.sqrt()).to(x.dtype) * out


#: Constants in the code of ermongroup/ddim. Names and shapes of tensors do not depend on most of
#: them, so loading would not notice another value.
_PUBLIC = {
    "patch_size": 1,
    "norm_num_groups": 32,
    "norm_eps": 1e-6,
    "freq_shift": 1,
    "flip_sin_to_cos": False,
    "downsample_padding": 0,
    "prediction": "epsilon",
}


def _is_public(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of ermongroup/ddim; the project's own begin with `unet.`."""
    return "temb.dense.0.weight" in state


def _weight_set(file: WeightFile, ema: bool) -> dict[str, Tensor]:
    """The averaged or the raw weights of a checkpoint.

    Training writes a list: weights, optimiser, epoch, step and, if it averaged, averaged weights.
    """
    if isinstance(file.content, list | tuple):
        if not ema:
            return file.state_dict(0)
        if len(file.content) < 5:
            raise ValueError(
                f"{file.path} holds no averaged weights, which would be the fifth entry of its "
                f"list of {len(file.content)}: set ema=false to take the raw ones"
            )
        return file.state_dict(4)
    state = file.state_dict()
    if ema and _is_public(state):
        raise ValueError(
            f"{file.path} holds one weight set, averaged or not: set ema=false to take it as it is"
        )
    return state


#: Names in ermongroup/ddim, and in diffusers.
_ENDS = {
    "temb.dense.0": "time_embedding.linear_1",
    "temb.dense.1": "time_embedding.linear_2",
    "conv_in": "conv_in",
    "norm_out": "conv_norm_out",
    "conv_out": "conv_out",
}
_MIDDLE = {"block_1": "resnets.0", "attn_1": "attentions.0", "block_2": "resnets.1"}
_PARTS = {"block": "resnets", "attn": "attentions"}
_RESIDUAL = {"temb_proj": "time_emb_proj", "nin_shortcut": "conv_shortcut"}
_ATTENTION = {
    "norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0",
}  # fmt: skip


def _renamed(name: str, value: Tensor, levels: int) -> tuple[str, Tensor]:
    """Name and value as in this class; an unknown name stays, and strict loading reports it."""
    stem, _, kind = name.rpartition(".")
    if stem in _ENDS:
        return f"unet.{_ENDS[stem]}.{kind}", value
    place, layer = stem.rpartition(".")[::2]
    match place.split("."):
        case ["mid", part] if part in _MIDDLE:
            place = f"mid_block.{_MIDDLE[part]}"
        case ["down", level, part, number] if part in _PARTS:
            place = f"down_blocks.{level}.{_PARTS[part]}.{number}"
        case ["up", level, part, number] if part in _PARTS:
            place = f"up_blocks.{levels - 1 - int(level)}.{_PARTS[part]}.{number}"
        case ["down", level, "downsample"]:
            place = f"down_blocks.{level}.downsamplers.0"
        case ["up", level, "upsample"]:
            place = f"up_blocks.{levels - 1 - int(level)}.upsamplers.0"
        case _:
            return name, value
    if "attentions" in place:
        layer = _ATTENTION.get(layer, layer)
        # 1 x 1 convolutions there, linear layers here.
        value = value[:, :, 0, 0] if value.ndim == 4 else value
    return f"unet.{place}.{_RESIDUAL.get(layer, layer)}.{kind}", value
