"""Training of the packaged models."""
