"""Generative models: one family per module."""
