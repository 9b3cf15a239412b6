from stitching.api import load_images as load_images
from stitching.api import load_model as load_model
from stitching.maps import load_map as load_map

__version__: str
__all__ = ["__version__", "load_images", "load_map", "load_model"]
