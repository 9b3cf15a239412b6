"""Latents of two classes whose predictions are known."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def two_clouds(
    n_yes: int, n_no: int, width: int = 5, gap: float = 2.0, seed: int = 0
) -> tuple[Tensor, NDArray[np.bool_]]:
    """Two Gaussian clouds `gap` standard deviations apart along the first axis."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n_yes + n_no) < n_yes)
    latents = rng.standard_normal((n_yes + n_no, width))
    latents[:, 0] += gap * labels
    return torch.from_numpy(latents).float(), labels


def standardised(latents: Tensor) -> NDArray[np.float64]:
    """Zero mean and unit variance by numpy; constant columns are 0."""
    x = latents.double().numpy()
    deviation, constant = x - x.mean(0), np.ptp(x, 0) == 0
    return np.where(constant, 0, deviation) / np.where(constant, 1, x.std(0))
