"""Inception features, which FID and KID are defined on.

Source: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna (2016), doi:10.1109/CVPR.2016.308; in its use
for FID, Heusel et al. (2017), arXiv 1706.08500.
"""

import functools
import io
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from stitching.metrics.spaces import NetworkSpace, find_weights, resize_text
from stitching.weights.pretrained import (
    LocatedFile,
    PublishedFile,
    load_frozen,
    read_state,
    require_packages,
)

#: The TensorFlow Inception of 2015 that FID is defined on, converted to PyTorch: torch-fidelity
#: (and so torchmetrics) and pytorch-fid publish the same bytes under two names.
INCEPTION = PublishedFile(
    names=(
        "weights-inception-2015-12-05-6726825d.pth",
        "pt_inception-2015-12-05-6726825d.pth",
    ),
    url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth",
    sha256="6726825d",
)

#: Widths of the layers that may be taken.
FEATURES = (64, 192, 768, 2048)


class Inception(NetworkSpace):
    """One layer of torchmetrics' Inception, averaged over positions.

    Images are resized to 299 x 299 by torchmetrics' antialiased bilinear filter. The filter of
    TensorFlow 1, which torch-fidelity and pytorch-fid imitate, gives other numbers.
    """

    name = "inception"
    resize = resize_text(299)
    # Keras documents it as the smallest input of this network.
    made_for = 75
    # At 299 pixels 4 images stay in the caches and take less than half the time that 32 take.
    _cpu_chunk = 4

    def __init__(self, feature: int, weights: str | Path | None) -> None:
        """Load the network.

        Args:
            feature: Width of the layer: 64, 192, 768 or 2048.
            weights: Inception file in torch-fidelity's layout. None takes torch hub's cache,
                else a download.

        Raises:
            FileNotFoundError: `weights` does not exist.
            ValueError: `feature` is none of the four, or the file is damaged, partial or of
                another network.
        """
        if feature not in FEATURES:
            raise ValueError(f"inception.feature must be 64, 192, 768 or 2048, got {feature!r}")
        self.network_name = f"Inception-v3 (TensorFlow, 2015), layer of {feature} features"
        self._feature = feature
        self._weights = weights
        super().__init__()

    @property
    def _settings(self) -> str:
        return f"{self._feature}"

    def _load(self) -> tuple[nn.Module, Mapping[str, LocatedFile]]:
        require_packages("torchmetrics", "torch_fidelity")
        file = find_weights(self._weights, INCEPTION)
        return _network(file, self._feature), {"weights": file}

    def _extract(self, x: Tensor) -> Tensor:
        assert self._network is not None
        return cast(Tensor, self._network(x))


@functools.lru_cache(maxsize=4)
def _network(file: LocatedFile, feature: int) -> nn.Module:
    """Build torchmetrics' Inception from the file's names and shapes, on the meta device.

    Its own loader would unpickle anything in the file, and draw 24 million initial values.
    """
    from torchmetrics.image.fid import NoTrainInceptionV3

    state = read_state(file)
    outline = io.BytesIO()
    torch.save({key: value.to("meta") for key, value in state.items()}, outline)
    outline.seek(0)
    try:
        with torch.device("meta"):
            network = NoTrainInceptionV3(
                name="inception-v3-compat",
                features_list=[str(feature)],
                # Passed on to torch.load, which takes an open file as well as a path.
                feature_extractor_weights_path=cast(str, outline),
            )
    except RuntimeError as error:
        faults = textwrap.shorten(str(error), 300)
        raise ValueError(f"{file.path} does not fit torchmetrics' Inception: {faults}") from error
    return load_frozen(network, state, file)
