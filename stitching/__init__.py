"""Stitching: do generative image models share a latent space?

Nothing heavy is imported until one of the names below is used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stitching.api import load_images, load_model
    from stitching.maps import load_map

__version__ = "0.1.0"
__all__ = ["__version__", "load_images", "load_map", "load_model"]


def __getattr__(name: str) -> object:
    if name in ("load_images", "load_model"):
        from stitching import api

        return getattr(api, name)
    if name == "load_map":
        from stitching import maps

        return maps.load_map
    raise AttributeError(f"module 'stitching' has no attribute {name!r}")
