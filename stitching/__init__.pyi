from stitching.api import grid as grid
from stitching.api import load_data as load_data
from stitching.api import load_images as load_images
from stitching.api import load_model as load_model
from stitching.api import read as read
from stitching.api import stitch as stitch
from stitching.api import wrap as wrap
from stitching.maps import load_map as load_map

__version__: str
__all__ = [
    "__version__",
    "grid",
    "load_data",
    "load_images",
    "load_map",
    "load_model",
    "read",
    "stitch",
    "wrap",
]
