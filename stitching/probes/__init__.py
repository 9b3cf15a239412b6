"""Linear probes: what can be read off a latent by a straight cut, or by a straight line?

A probe is trained on a model's own latents. Where the probe of the target model says the same of
a true and of a mapped latent, the map has kept what the probe reads
(`stitching.metrics.consistency`). Binary attributes have three kinds, logistic regression, ridge
and Lasso; classes have `SoftmaxProbes`, continuous factors `FactorProbes`.

    probes = LogisticProbes()
    seen = probes.coordinates(latents)  # once per model; other kinds share it
    usable, missing = probes.usable(labels)
    fitted = probes.fit(seen, usable)               # FittedProbe by attribute
    controls = probes.fit_controls(seen, usable, fitted, seed=0)
    predictions = fitted["Smiling"].scores(test_latents) > 0
"""

from stitching.probes.attributes import AttributeProbes
from stitching.probes.base import ProbeConvergenceWarning, Probes
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
