"""Paired latents, solutions by hand and a stand-in for latents in files, for the maps' tests."""

import warnings

import numpy as np
import torch

from stitching.maps import (
    OLS,
    Identity,
    InterpolationWarning,
    PenaltyEdgeWarning,
    ReducedRank,
    Ridge,
)
from stitching.maps.conv1x1 import Conv1x1
from stitching.maps.diagonal import Diagonal
from stitching.maps.mlp import MLP
from stitching.maps.procrustes import Procrustes
from stitching.maps.relative import Relative

#: Widths around N = 30: primal, square, dual.
WIDTHS = [1, 7, 29, 30, 31, 80]

#: Every map, in the forms that differ in what they keep, fit to latents of `SHAPES`.
EVERY_MAP = {
    "conv1x1": lambda: Conv1x1(alpha=0.5),
    "diagonal": Diagonal,
    "identity": Identity,
    "mlp": lambda: MLP(hidden=4, epochs=3),
    "ols": OLS,
    "procrustes": Procrustes,
    "reduced_rank": lambda: ReducedRank(2),
    "reduced_rank, full": lambda: ReducedRank(None, alpha=0.5),
    "relative": lambda: Relative(n_anchors=6),
    "ridge": lambda: Ridge(alpha=0.5),
    "ridge, chosen": Ridge,
    "ridge, leaving one out": lambda: Ridge(selection="loo"),
    "ridge, folds": lambda: Ridge(selection="kfold"),
    "ridge, per target": lambda: Ridge(alpha_per_target=True),
    "ridge, streamed": lambda: Ridge(chunk=7),
}

#: Shapes of latents by their widths: fewer and more columns than 30 items.
SHAPES = {8: (2, 2, 2), 40: (10, 2, 2)}


def make(kind, width):
    """An unfitted map of `EVERY_MAP` between latents of one shape."""
    made = EVERY_MAP[kind]()
    made.set_shapes(SHAPES[width], SHAPES[width])
    return made


def paired(n, d_source, d_target=4, noise=3.0, seed=0):
    """Source (n, d_source) and target (n, d_target) with a linear relation and noise, float64."""
    rng = torch.Generator().manual_seed(seed)
    # Scales from 1 to 0.1: a spectrum that the penalty acts on unevenly, as in latents.
    scales = torch.logspace(0, -1, d_source, dtype=torch.float64)
    source = torch.randn(n, d_source, generator=rng, dtype=torch.float64) * scales + 0.7
    weight = torch.randn(d_source, d_target, generator=rng, dtype=torch.float64)
    errors = torch.randn(n, d_target, generator=rng, dtype=torch.float64)
    return source, source @ weight - 1.3 + noise * errors


def fit_quietly(latent_map, source, target, factorisation=None):
    """Fit without the warnings that are expected of degenerate or tiny problems."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InterpolationWarning)
        warnings.simplefilter("ignore", PenaltyEdgeWarning)
        return latent_map.fit(source, target, factorisation)


def relative(actual, expected):
    """Largest difference, as a part of the largest expected value."""
    actual, expected = torch.as_tensor(actual), torch.as_tensor(expected)
    assert actual.shape == expected.shape
    return float((actual - expected).abs().max() / expected.abs().max())


def hat_matrix(source, alpha):
    """Ridge smoother with free intercept, formed explicitly from the normal equations."""
    n, width = source.shape
    design = torch.cat([torch.ones(n, 1, dtype=torch.float64), source], 1)
    penalty = alpha * torch.eye(width + 1, dtype=torch.float64)
    penalty[0, 0] = 0
    return design @ torch.linalg.solve(design.T @ design + penalty, design.T)


def gcv_by_hand(source, target, alpha):
    """(RSS / N) / (trace(I - H) / N)^2 of each target, from the hat matrix."""
    n = source.shape[0]
    residual = torch.eye(n, dtype=torch.float64) - hat_matrix(source, alpha)
    return (residual @ target).square().mean(0) / (residual.trace() / n) ** 2


def solve(source, target, alpha):
    """W (D_t, D_s) and b of ridge regression: least squares with a row for every penalty."""
    source, target = source.double(), target.double()
    x, y = source - source.mean(0), target - target.mean(0)
    rows = np.sqrt(alpha) * torch.eye(x.shape[1], dtype=torch.float64)
    design = torch.cat([x, rows])
    goal = torch.cat([y, y.new_zeros(len(rows), y.shape[1])])
    weight = torch.linalg.pinv(design, rtol=1e-11) @ goal
    return weight.T, target.mean(0) - source.mean(0) @ weight


def refit_errors(source, target, alpha, held_out):
    """Squared error of every element of a target, each predicted by a fit without its fold."""
    errors = torch.full_like(target, torch.nan)
    for fold in held_out:
        keep = torch.ones(len(source), dtype=torch.bool)
        keep[fold] = False
        weight, bias = solve(source[keep], target[keep], alpha)
        errors[fold] = (source[fold] @ weight.T + bias - target[fold]).square()
    return errors


class Streamed:
    """A matrix that is read by slices of rows, as one in files, and records their sizes."""

    def __init__(self, x):
        self._x = x
        self.shape, self.dtype, self.device = x.shape, x.dtype, x.device
        #: Rows of every slice that was read.
        self.read_sizes = []

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        part = self._x[rows].clone()
        self.read_sizes.append(len(part))
        return part
