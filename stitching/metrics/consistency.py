"""What the target's readouts say of mapped latents, beside what they say of its own.

Three kinds of label, one module each: yes or no, one of several classes, a number. Readouts are
fitted elsewhere; measures know their answers only.
"""

from stitching.metrics.attributes import AttributeAnswers, probe_scores
from stitching.metrics.classes import ClassAnswers, class_scores
from stitching.metrics.factors import FactorAnswers, factor_scores

__all__ = [
    "AttributeAnswers",
    "ClassAnswers",
    "FactorAnswers",
    "class_scores",
    "factor_scores",
    "probe_scores",
]
