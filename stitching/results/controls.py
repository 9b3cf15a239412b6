"""Controls: models without training that every result is compared with, and what each shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

#: What each control is, by the name of its YAML, in the order of tables.
CONTROLS = {
    "random": "latents that do not depend on the image: the floor",
    "mean": "one latent for all images: the gain of a map's intercept alone",
    "shuffled": "a trained encoder's latents of other images: the floor of its distribution",
    "thumbnail": "the image at a few pixels a side: coarse colours alone",
    "projection": "random sums of pixels: no structure beyond their distances",
    "pca": "principal components of the fit images: the best linear autoencoder",
    "pixels": "the image itself: all that a linear view of the pixels gives",
    "untrained": "a model's architecture at initialisation: the network without its training",
    "labels": "the image's labels alone, no pixels: the oracle of probes",
}


def is_control(kind: str) -> bool:
    """Return whether a model of this kind is a control, not a trained generative model."""
    return kind in CONTROLS


def controls_first(names: Iterable[str], kinds: Mapping[str, str]) -> list[str]:
    """Return names of models with the controls among them first, by the order of `CONTROLS`.

    Args:
        names: Names of models.
        kinds: The kind of each.
    """
    places = {kind: place for place, kind in enumerate(CONTROLS)}
    # Stable: models, and controls of one kind, stay in their order.
    return sorted(names, key=lambda name: places.get(kinds[name], len(places)))


def phrases(names: Iterable[str], kinds: Mapping[str, str]) -> dict[str, str]:
    """Return what the controls among models are, by name."""
    return {name: CONTROLS[kinds[name]] for name in names if is_control(kinds[name])}
