"""Controls: models without training, which show what a stitch is worth.

Each keeps a part of an image that needs no learning: its coarse colours, random sums of its
pixels, or its labels alone. What a trained encoder adds to them is its own.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from stitching.compute.seeding import item_noise
from stitching.models.base import GenerativeModel
from stitching.models.baseline import EncoderOnly


class Thumbnail(GenerativeModel):
    """The image shrunk to `size` x `size` by area averages, and back by bilinear interpolation.

    A value is the mean colour of its part of the image. Where `size` does not divide the image,
    pixels on a border count for either side by their share of the area.

    Args:
        name: Name of the option.
        image_size: Height and width of the images.
        size: Height and width of the thumbnail; the latent has 3 size^2 values in [0, 1].

    Raises:
        ValueError: `size` is not in 1..image_size.
    """

    thread_safe = True

    def __init__(self, name: str, image_size: int, size: int = 4) -> None:
        if not 1 <= size <= image_size:
            raise ValueError(
                f"{name}.size must lie in 1..{image_size} (pixels of a side of the image), got "
                f"{size}"
            )
        super().__init__(name, image_size, (3, size, size))
        self.size = size

    def _encode(self, x: Tensor) -> Tensor:
        shares = _area_shares(self.image_size, self.size).to(x)
        return shares @ x @ shares.T

    def _decode(self, z: Tensor) -> Tensor:
        size = (self.image_size, self.image_size)
        return functional.interpolate(z, size, mode="bilinear", align_corners=False)

    def _prior(self, noise: Tensor) -> Tensor:
        raise TypeError(f"model {self.name} has no prior to draw images from")


@lru_cache(maxsize=8)
def _area_shares(pixels: int, cells: int) -> Tensor:
    """Return the share of each of `pixels` in the mean of each of `cells`, (cells, pixels)."""
    edges = torch.linspace(0, pixels, cells + 1, dtype=torch.float64)[:, None]
    left = torch.arange(pixels, dtype=torch.float64)
    overlap = torch.minimum(edges[1:], left + 1) - torch.maximum(edges[:-1], left)
    return overlap.clamp(0) * (cells / pixels)


class RandomProjection(GenerativeModel):
    """A fixed random projection of the pixels, z = R (x - 1/2), which keeps their distances.

    The entries of R are N(0, 1 / latent_dim), so that |z_1 - z_2|^2 is |x_1 - x_2|^2 on average.
    Row i depends on (seed, i) alone. Decoding is the pseudo-inverse, x = R' (R R')^-1 z + 1/2:
    the image nearest to grey with these latents.

    Args:
        name: Name of the option.
        image_size: Height and width of the images.
        latent_dim: Rows of R. It takes latent_dim x (pixel values) x 4 bytes.
        seed: Of R, at least 0.

    Raises:
        ValueError: `latent_dim` is not in 1..(pixel values of an image), or seed < 0.

    Source: Johnson and Lindenstrauss (1984), doi:10.1090/conm/026/737400; Dasgupta and Gupta
        (2003), doi:10.1002/rsa.10073
    """

    thread_safe = True
    learned = False

    def __init__(self, name: str, image_size: int, latent_dim: int = 512, seed: int = 0) -> None:
        pixels = 3 * image_size**2
        if not 1 <= latent_dim <= pixels:
            raise ValueError(
                f"{name}.latent_dim must lie in 1..{pixels} (pixel values of an image), got "
                f"{latent_dim}"
            )
        if seed < 0:
            raise ValueError(f"{name}.seed must be >= 0, got {seed}")
        super().__init__(name, image_size, (latent_dim,), value_range=(-0.5, 0.5))
        rows = item_noise(seed, range(latent_dim), (pixels,)) / latent_dim**0.5
        # A parameter: the base class takes device and precision from it.
        self.projection = nn.Parameter(rows, requires_grad=False)

    def _encode(self, x: Tensor) -> Tensor:
        z: Tensor = x.flatten(1) @ self.projection.T
        return z

    def _decode(self, z: Tensor) -> Tensor:
        exact = torch.cholesky_solve(z.T.double(), self._gram_factor).T.to(z.dtype)
        x: Tensor = exact @ self.projection
        return x.view(-1, 3, self.image_size, self.image_size)

    @cached_property
    def _gram_factor(self) -> Tensor:
        """Cholesky factor of R R' in float64, computed when an image is decoded first."""
        rows = self.projection.detach().double()
        factor: Tensor = torch.linalg.cholesky(rows @ rows.T)
        return factor

    def _prior(self, noise: Tensor) -> Tensor:
        raise TypeError(f"model {self.name} has no prior to draw images from")


class Labels(EncoderOnly):
    """The labels of an image as its latent, whatever its pixels: the oracle of probes.

    Attributes are 0 or 1, factors their values, classes one value for each name. `set_labels`
    comes first, with the labels of the fit images.

    Args:
        name: Name of the option.
        image_size: Height and width of the images, which are not read.
        standardise: Whether to shift and scale each label to mean 0 and variance 1 over the fit
            images, so that a ridge penalty treats all alike. A label that does not vary is 0.
    """

    can_encode = False  # not from pixels
    learned = False

    def __init__(self, name: str, image_size: int, standardise: bool = True) -> None:
        super().__init__(name, image_size, (0,))
        self.standardise = standardise
        self.names: tuple[str, ...] = ()
        self.mean = nn.Parameter(torch.empty(0), requires_grad=False)
        self.scale = nn.Parameter(torch.empty(0), requires_grad=False)

    def set_labels(self, columns: Mapping[str, NDArray[np.float64]]) -> None:
        """Set names and statistics of the labels.

        Args:
            columns: Labels of the fit images by name, shape (N,) each; at least one.
        """
        self.names = tuple(columns)
        table = np.stack([columns[name] for name in self.names], 1)
        mean, spread = table.mean(0), table.std(0)
        scale = np.where(spread > 0, spread, 1.0)
        if not self.standardise:
            mean, scale = np.zeros_like(mean), np.ones_like(scale)
        self.mean, self.scale = (
            nn.Parameter(torch.from_numpy(x).to(self.mean), requires_grad=False)
            for x in (mean, scale)
        )
        self.latent_shape = (len(self.names),)
        text = json.dumps([self.names, mean.tolist(), scale.tolist()])
        self.weights_hash = hashlib.sha256(text.encode()).hexdigest()

    def label_latents(self, columns: Mapping[str, NDArray[np.float64]]) -> Tensor:
        """Return the latents of images from their labels, shape (n, D), float32 on the CPU.

        Raises:
            ValueError: `set_labels` has not been called, or was with other labels.
        """
        if not self.names:
            raise ValueError(f"model {self.name} has no labels yet: run it in a cell, or as check")
        if tuple(columns) != self.names:
            raise ValueError(
                f"model {self.name} was set to the labels {_few(self.names)}, got "
                f"{_few(tuple(columns))}: fit and test images need the same labels"
            )
        table = torch.from_numpy(np.stack([columns[name] for name in self.names], 1))
        return ((table - self.mean.cpu().double()) / self.scale.cpu().double()).float()

    def _encode(self, x: Tensor) -> Tensor:
        raise TypeError(
            f"model {self.name} reads no pixels: its latents are the labels of a data set, which "
            "a cell looks up (encoder=labels)"
        )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f", ... ({len(names)})" if len(names) > 3 else "")
