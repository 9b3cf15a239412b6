"""Checks of a model against the contract of the pipeline: `python -m stitching.check`."""
