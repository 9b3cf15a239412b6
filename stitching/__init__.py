"""Stitching: do generative image models share a latent space?

Nothing heavy is imported until one of the names below is used; `__init__.pyi` types them.
"""

from importlib import import_module

__version__ = "0.1.0"

#: Modules of the public names, imported on first use.
_HOMES = {
    "grid": "stitching.api",
    "load_data": "stitching.api",
    "load_images": "stitching.api",
    "load_map": "stitching.maps",
    "load_model": "stitching.api",
    "read": "stitching.api",
    "stitch": "stitching.api",
    "wrap": "stitching.api",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'stitching' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
