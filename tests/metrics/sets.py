"""Feature sets and images that several files draw their tests from."""

import torch

from stitching.metrics.base import FeatureSpace
from stitching.metrics.resampling import Resamples


class Given(FeatureSpace):
    """Stands for a space whose features the test makes up."""

    name = "given"
    identity = "given"

    def _extract(self, x):
        return x.float().mean(dim=(2, 3))


def normal(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def correlated(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return normal(n, d, seed) @ normal(d, d, seed + 100) + normal(1, d, seed + 200)


def byte_images(n: int, seed: int, low: int = 0, high: int = 256, side: int = 32) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, (n, 3, side, side), dtype=torch.uint8, generator=g)


def noisy(x: torch.Tensor, amount: float, seed: int = 9) -> torch.Tensor:
    """Bytes with noise of a standard deviation on the 0-1 scale."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    return (x + 255 * amount * noise).clamp(0, 255).round().to(torch.uint8)


def no_resamples(n: int) -> Resamples:
    return Resamples(n, 0, 0)
