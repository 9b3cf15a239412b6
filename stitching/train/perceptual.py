"""LPIPS as a term of a training objective."""

import torch
from torch import Tensor

from stitching.metrics.lpips import LPIPSActivations

#: Side in pixels of the crops that are compared.
_CROP = 32


class PerceptualLoss:
    """LPIPS with the VGG trunk, on a random crop, times a weight.

    Unlike squared error, it penalises faint texture on smooth areas. The trunk is not that of the
    measure `image/lpips`, and its convolutions have no strides, whose pattern would be visible.

    Args:
        weight: Factor on the distance.
        device: Device of the images.

    Raises:
        ValueError: Weights of the trunk are not available, or a file is damaged.

    Source: Zhang et al. (2018), see `stitching.metrics.lpips`; in the training of autoencoders
    Esser et al. (2021), arXiv 2012.09841.
    """

    def __init__(self, weight: float, device: torch.device) -> None:
        space = LPIPSActivations("vgg", None)
        if space.network is None:
            raise ValueError(
                f"training.lpips={weight} needs the weights of a VGG network: "
                f"{space.unavailable}; or set training.lpips=0"
            )
        self.weight, self._network = weight, space.network.to(device)

    def __call__(self, made: Tensor, real: Tensor) -> Tensor:
        """Return the weighted mean distance of images, (N, 3, S, S) in [0, 1] both.

        The crop's place is drawn from torch's global generator.
        """
        size = min(_CROP, made.shape[2])
        top, left = torch.randint(0, made.shape[2] - size + 1, (2,)).tolist()
        window = (..., slice(top, top + size), slice(left, left + size))
        with torch.no_grad():
            wanted = self._network(real[window].float())
        found: Tensor = self._network(made[window].float())
        distance: Tensor = (found - wanted).square().sum(1).mean()
        return self.weight * distance
