"""Measures of a stitched pair: latent scores, and image metrics behind one interface.

Importing this package loads nothing heavy; each metric lives in a module of its own.
"""
