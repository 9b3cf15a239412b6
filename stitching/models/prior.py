"""A density fitted to latents after training, to draw samples from."""

import torch
from torch import Tensor, nn

from stitching.compute.linalg import principal_components


class FittedPrior(nn.Module):
    """A Gaussian of limited rank, fitted to latents once the weights of a model are final.

    Latents of small models fill little of the prior of the training, and decoded draws from the
    rest are no faces. This density has the spread of the training latents along their strongest
    principal components, and none across them.

    Args:
        width: Number of values D in one latent.
        rank: Number of components R at most; there are no more than D.

    Raises:
        ValueError: The rank is out of range.

    Source: Ghosh et al. (2020), arXiv 1903.12436, on densities fitted afterwards.
    """

    mean: Tensor
    factor: Tensor

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"prior_rank must be null or >= 1, got {rank}")
        self.register_buffer("mean", torch.zeros(width))
        # Not fitted yet: the standard normal distribution in as many directions.
        self.register_buffer("factor", torch.eye(width, min(rank, width)))

    @property
    def rank(self) -> int:
        """Number of components R."""
        return self.factor.shape[1]

    @torch.no_grad()
    def fit(self, latents: Tensor) -> None:
        """Fit to latents, shape (N, D), N >= 2."""
        mean = latents.mean(0, dtype=torch.float64)
        components = principal_components(latents, mean, self.rank)
        width = (latents.double() @ components.T).std(0)
        self.mean.copy_(mean)
        self.factor.zero_()
        self.factor[:, : len(components)] = (components.T * width).to(self.factor)

    def forward(self, noise: Tensor) -> Tensor:
        """Standard normal noise to latents, (N, D) both; its first R columns count."""
        out: Tensor = self.mean + noise[:, : self.rank] @ self.factor.T
        return out
