"""Affine maps from one latent space to another, fitted on paired latents.

A map predicts the target latent of an image from its source latent, `z_tgt ~ z_src @ W.T + b`.
`Ridge` and `OLS` are solved from one eigendecomposition of the source, which does not depend on
the target: make it once per encoder and pass it to every `fit`.

    factorisation = factorise(source)
    for target in targets:
        mapped = Ridge().fit(source, target, factorisation).predict(test_source)

Steps that amplify errors are float64 (see `Factorisation`); predictions are float32, or float64 if
the training target was. No test item enters a fit.
"""

from stitching.maps.base import Map, load_map
from stitching.maps.conv1x1 import Conv1x1
from stitching.maps.diagonal import Diagonal
from stitching.maps.factorisation import Factorisation, factorise
from stitching.maps.facts import Summary
from stitching.maps.groups import UndeterminedRefit, leave_groups_out
from stitching.maps.identity import Identity
from stitching.maps.mlp import MLP
from stitching.maps.procrustes import Procrustes
from stitching.maps.reduced_rank import ReducedRank
from stitching.maps.relative import Relative
from stitching.maps.ridge import OLS, PenaltyEdgeWarning, Ridge
from stitching.maps.selection import leave_one_out
from stitching.maps.spectral import InterpolationWarning, SpectralMap

__all__ = [
    "MLP",
    "OLS",
    "Conv1x1",
    "Diagonal",
    "Factorisation",
    "Identity",
    "InterpolationWarning",
    "Map",
    "PenaltyEdgeWarning",
    "Procrustes",
    "ReducedRank",
    "Relative",
    "Ridge",
    "SpectralMap",
    "Summary",
    "UndeterminedRefit",
    "factorise",
    "leave_groups_out",
    "leave_one_out",
    "load_map",
]
