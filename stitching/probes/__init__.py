"""Linear probes: predictions of attributes, classes and factors from a model's latents.

A probe is fitted on a model's own latents. Where the probe of the target model predicts the same
from a true and from a mapped latent, the map has kept the information that the probe uses
(`stitching.metrics.attributes`). Binary attributes have three kinds, logistic regression, ridge
and Lasso; classes have `SoftmaxProbes`, continuous factors `FactorProbes`.

    probes = LogisticProbes()
    coordinates = probes.coordinates(latents)  # once per model; other kinds share it
    usable, missing = probes.usable(labels)
    fitted = probes.fit(coordinates, usable)  # FittedProbe by attribute
    controls = probes.fit_controls(coordinates, usable, fitted, seed=0)
    predictions = fitted["Smiling"].scores(test_latents) > 0
"""

from stitching.probes.attributes import AttributeProbes
from stitching.probes.base import Probes
from stitching.probes.convergence import ProbeConvergenceWarning
from stitching.probes.coordinates import Coordinates
from stitching.probes.factors import FactorProbes
from stitching.probes.fitted import FittedProbe
from stitching.probes.labels import Labels, balanced_split, checked_labels, control_labels
from stitching.probes.lasso import LassoProbes
from stitching.probes.logistic import LogisticProbes
from stitching.probes.ridge import RidgeProbes
from stitching.probes.softmax import SoftmaxProbes

__all__ = [
    "AttributeProbes",
    "Coordinates",
    "FactorProbes",
    "FittedProbe",
    "Labels",
    "LassoProbes",
    "LogisticProbes",
    "ProbeConvergenceWarning",
    "Probes",
    "RidgeProbes",
    "SoftmaxProbes",
    "balanced_split",
    "checked_labels",
    "control_labels",
]
