"""Principal components: a linear autoencoder, a control."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from stitching.compute.images import to_unit
from stitching.compute.linalg import principal_components
from stitching.models.base import GenerativeModel
from stitching.weights.loading import parameters_hash

log = logging.getLogger(__name__)

#: Components where `width` is null and there are enough images: the width of the paper's VAE
#: latent.
DEFAULT_WIDTH = 512


class PCA(GenerativeModel):
    """Projection of images to their first principal components, and back.

    The latent is (x - mean) V, with V the orthonormal directions in which the fit images vary
    most, strongest first, not scaled by their spread. Each direction points to where its largest
    entry is positive.

    Args:
        name: Name of the option.
        image_size: Height and width of the images.
        width: Width of the latent. None: `DEFAULT_WIDTH`, or as many components as the fit images
            have, at most one less than their number. In a cell also "match".
        match: What a cell makes of `width: match`, the width of the other role's latents: so many
            components, or as many as there are.
        n_components: Earlier name of `width`.

    Raises:
        ValueError: `width` is below 1, larger than the number of pixel values, or a text.

    Source: Pearson (1901), doi:10.1080/14786440109462720
    """

    needs_fit = True
    thread_safe = True

    def __init__(
        self,
        name: str,
        image_size: int,
        width: int | str | None = None,
        match: int | None = None,
        n_components: int | None = None,
    ) -> None:
        pixels = 3 * image_size**2
        if n_components is not None:
            log.warning("%s.n_components is now called %s.width", name, name)
            width = n_components if width is None else width
        if width == "match":
            raise ValueError(
                f"{name}.width=match is as wide as the latents of the other role, which only a "
                "cell has: give a number, or null"
            )
        if width is not None and (isinstance(width, str) or not 1 <= width <= pixels):
            raise ValueError(
                f"{name}.width must lie in 1..{pixels} (pixel values of an image), or be match or "
                f"null, got {width}"
            )
        wanted = width or min(match or DEFAULT_WIDTH, pixels)
        super().__init__(name, image_size, (wanted,))
        self.width, self.wanted = width, wanted
        # Parameters: the base class takes device and precision from them.
        self.mean = nn.Parameter(torch.zeros(pixels), requires_grad=False)
        self.components = nn.Parameter(torch.zeros(0, pixels), requires_grad=False)

    def check_fit(self, n_images: int) -> None:
        """Check that so many images can have `width` components."""
        if n_images < 2:
            raise ValueError(f"model {self.name} needs at least 2 images to fit, got {n_images}")
        if self.width is not None and self.width > n_images - 1:
            raise ValueError(
                f"{self.name}.width={self.width}, but {n_images} images have {n_images - 1} "
                "components at most: set it to null or lower, or raise data.n_train"
            )

    @torch.no_grad()
    def fit_images(self, images: Tensor | Iterable[Tensor]) -> None:
        """Compute the components of images in float64, see `GenerativeModel.fit_images`."""
        x = self._flat(images)
        self.check_fit(len(x))
        mean = x.mean(0, dtype=torch.float64)
        components = principal_components(x, mean, self.wanted)
        if self.width is not None and len(components) < self.width:
            raise ValueError(
                f"{self.name}.width={self.width}, but the {len(x)} images vary in "
                f"{len(components)} directions only: set it to null or lower"
            )
        if len(components) == 0:
            raise ValueError(f"model {self.name} cannot be fitted: the images are all the same")
        self.load_state_dict({"mean": mean, "components": components})
        self.weights_hash = parameters_hash(self)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load a fitted state of any number of components."""
        components = state_dict.get("components")
        if isinstance(components, Tensor) and components.ndim == 2:
            room = self.components.new_zeros(components.shape)
            self.components = nn.Parameter(room, requires_grad=False)
            self.latent_shape = (len(components),)
        return super().load_state_dict(state_dict, strict, assign)

    def _flat(self, images: Tensor | Iterable[Tensor]) -> Tensor:
        batches = [to_unit(x) for x in ([images] if isinstance(images, Tensor) else images)]
        size = (self.image_size, self.image_size)
        for x in batches:
            if tuple(x.shape[-2:]) != size:
                raise ValueError(
                    f"model {self.name} is fitted to {size[0]} x {size[1]} images, got "
                    f"{x.shape[-2]} x {x.shape[-1]}: set data.image_size={self.image_size}"
                )
        if not batches:
            raise ValueError(f"model {self.name} needs at least 2 images to fit, got 0")
        return torch.cat([x.flatten(1) for x in batches])

    def _encode(self, x: Tensor) -> Tensor:
        z: Tensor = (x.flatten(1) - self.mean) @ self.components.T
        return z

    def _decode(self, z: Tensor) -> Tensor:
        x: Tensor = z @ self.components + self.mean
        return x.view(-1, 3, self.image_size, self.image_size)

    def _prior(self, noise: Tensor) -> Tensor:
        raise TypeError(f"model {self.name} has no prior to draw images from")
