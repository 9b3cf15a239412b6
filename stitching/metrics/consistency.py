"""What the target's probe_suite say of mapped latents, beside what they say of its own.

Three kinds of label, one module each: yes or no, one of several classes, a number. ProbeSuite are
fitted elsewhere; measures know their predictions only.
"""

from stitching.metrics.attributes import AttributePredictions, probe_scores
from stitching.metrics.classes import ClassPredictions, class_scores
from stitching.metrics.factors import FactorPredictions, factor_scores

__all__ = [
    "AttributePredictions",
    "ClassPredictions",
    "FactorPredictions",
    "class_scores",
    "factor_scores",
    "probe_scores",
]
