"""Principal components: a linear autoencoder, as a baseline."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from stitching.compute.images import to_unit
from stitching.compute.linalg import principal_components
from stitching.models.base import GenerativeModel
from stitching.weights.loading import parameters_hash

#: Components where `n_components` is null and there are enough images: the width of the paper's
#: VAE latent.
DEFAULT_COMPONENTS = 512


class PCA(GenerativeModel):
    """Projection of images to their first principal components, and back.

    The latent is (x - mean) V, with V the orthonormal directions in which the fit images vary
    most, strongest first, not scaled by their spread. Each direction points to where its largest
    entry is positive.

    Args:
        name: Name of the option.
        image_size: Height and width of the images.
        n_components: Width of the latent. None: `DEFAULT_COMPONENTS`, or as many as the fit
            images have, at most one less than their number.

    Raises:
        ValueError: `n_components` is below 1 or larger than the number of pixel values.

    Source: Pearson (1901), doi:10.1080/14786440109462720
    """

    needs_fit = True
    thread_safe = True

    def __init__(self, name: str, image_size: int, n_components: int | None = None) -> None:
        pixels = 3 * image_size**2
        if n_components is not None and not 1 <= n_components <= pixels:
            raise ValueError(
                f"{name}.n_components must lie in 1..{pixels} (pixel values of an image) or be "
                f"null, got {n_components}"
            )
        super().__init__(name, image_size, (n_components or min(DEFAULT_COMPONENTS, pixels),))
        self.n_components = n_components
        # Parameters: the base class takes device and precision from them.
        self.mean = nn.Parameter(torch.zeros(pixels), requires_grad=False)
        self.components = nn.Parameter(torch.zeros(0, pixels), requires_grad=False)

    def check_fit(self, n_images: int) -> None:
        """Check that so many images can have `n_components`."""
        if n_images < 2:
            raise ValueError(f"model {self.name} needs at least 2 images to fit, got {n_images}")
        if self.n_components is not None and self.n_components > n_images - 1:
            raise ValueError(
                f"{self.name}.n_components={self.n_components}, but {n_images} images have "
                f"{n_images - 1} components at most: set it to null or lower, or raise "
                "data.n_train"
            )

    @torch.no_grad()
    def fit_images(self, images: Tensor | Iterable[Tensor]) -> None:
        """Compute the components of images in float64, see `GenerativeModel.fit_images`."""
        x = self._flat(images)
        self.check_fit(len(x))
        mean = x.mean(0, dtype=torch.float64)
        wanted = self.n_components or DEFAULT_COMPONENTS
        components = principal_components(x, mean, wanted)
        if self.n_components is not None and len(components) < wanted:
            raise ValueError(
                f"{self.name}.n_components={wanted}, but the {len(x)} images vary in "
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
