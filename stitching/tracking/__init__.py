"""Experiment tracking: one run per cell, on Weights & Biases or nowhere.

The files that a cell writes are the record; a tracker holds a copy of them. So a tracker may be
switched off, and a tracker that fails is a warning: it neither stops the computation nor delays
it beyond the stated time. What is wrong with the *arguments* is an error for every tracker.
"""

from stitching.tracking.base import NoTracker, Scalar, Tracker
from stitching.tracking.weights_and_biases import WandbTracker

__all__ = ["NoTracker", "Scalar", "Tracker", "WandbTracker"]
