"""Use from Python: `import stitching as st`. Each name is documented where it is defined."""

from stitching.api.cells import Cell, Images, stitch
from stitching.api.data import load_data, load_images
from stitching.api.grids import Grid, grid, read
from stitching.api.models import WrappedModel, load_model, wrap

__all__ = [
    "Cell", "Grid", "Images", "WrappedModel", "grid", "load_data", "load_images", "load_model",
    "read", "stitch", "wrap",
]  # fmt: skip
