"""Images for use from Python: data sets by name, folders, arrays in memory."""

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from stitching import config
from stitching.api.options import compose, override
from stitching.config.labels import check_name

if TYPE_CHECKING:
    from torch import Tensor

    from stitching.data.base import ImageData

#: The configuration of each data set, as long as it exists.
_SETTINGS: "WeakKeyDictionary[ImageData, dict[str, Any]]" = WeakKeyDictionary()


def load_data(source: Any, *overrides: str, **options: Any) -> "ImageData":
    """Load a data set: by name, or images in memory.

    Args:
        source: `faces`, `celeba`, `folder` or `drawn`; or images in memory: an array or tensor
            (N, 3, S, S) or (N, S, S, 3), uint8 or float in [0, 1], or a list of PIL images.
        overrides: Further settings as on the command line, such as `"data.crop=face128"`.
        options: Those of the data set's YAML, such as `root="photos"`, `attributes="labels.csv"`,
            `n_train=1000`, `n_test=128`, `image_size=64`. For images in memory `n_train`,
            `n_test`, `attributes={"Smiling": [...]}`, `factors={...}`, `classes={"Hair": [...]}`,
            `ids`, `name`, and `test` (bool, which are test images) or `test_share`.

    Returns:
        The data set; `.split("test").images(slice(0, 8))` are images as in `load_images`.

    Raises:
        TypeError: Images in memory are of another type.
        ValueError: Unknown name or option, or the images cannot be used.
        FileNotFoundError: Files are missing.

    Example:
        >>> import numpy as np
        >>> import stitching as st
        >>> faces = st.load_data("faces", n_train=24, n_test=8, image_size=32)
        >>> len(faces.split("train")), len(faces.split("test"))
        (24, 8)
        >>> images = np.random.default_rng(0).random((40, 32, 32, 3))
        >>> bright = images.mean((1, 2, 3)) > 0.5
        >>> mine = st.load_data(images, n_test=5, attributes={"bright": bright})
        >>> mine.n_test, list(mine.split("test").attributes)
        (5, ['bright'])
    """
    if isinstance(source, str):
        given = [override(f"data.{key}", value) for key, value in options.items()]
        composed = compose(f"data={source}", *given, *overrides)
        data = config.build_data(composed.settings["data"], composed.settings["cache"])
        _SETTINGS[data] = composed.settings["data"]
    else:
        if overrides:
            raise ValueError(f"{overrides[0]}: images in memory take options as keywords")
        data = _in_memory(source, options)
    data.check()
    return data


def _in_memory(images: Any, options: dict[str, Any]) -> "ImageData":
    from stitching.data.memory import Memory

    name = options.get("name", "memory")
    # Fits only data of this name; that of a packaged one would be taken for it.
    check_name("data", name, choice="memory")
    try:
        data = Memory(images, **options)
    except TypeError as error:
        if "keyword argument" not in str(error):
            raise
        raise ValueError(f"{error}: see help(stitching.load_data)".partition("() ")[2]) from None
    sizes = {key: getattr(data, key) for key in ("n_train", "n_test", "image_size")}
    _SETTINGS[data] = {"name": name, "images": "in memory", **sizes}
    return data


def settings_of(data: Any) -> dict[str, Any]:
    """Return a data set as part of a cell's configuration.

    Raises:
        TypeError: It does not come from `load_data`.
    """
    from stitching.data.base import ImageData

    if not isinstance(data, ImageData) or data not in _SETTINGS:
        raise TypeError(f"data must come from st.load_data, got {type(data).__name__}")
    return _SETTINGS[data]


def load_images(name: str, *overrides: str, split: str = "test", n: int | None = None) -> "Tensor":
    """Load images of a data set.

    Args:
        name: An option of `data=`: `faces`, `celeba` or `folder`.
        overrides: Further settings, such as `"data.root=my/celeba"`.
        split: `train`, `test` or `pretrain`.
        n: The first n images; all of the split if None.

    Returns:
        Shape (n, 3, S, S), float32 in [0, 1].

    Raises:
        ValueError: Unknown name, option or split, or n is more than there are.
        FileNotFoundError: Files are missing.

    Example:
        >>> import stitching as st
        >>> st.load_images("faces", "data.image_size=32", n=2).shape
        torch.Size([2, 3, 32, 32])
    """
    sizes = [f"data.n_{split}={n}"] if n is not None and split in ("train", "test") else []
    settings = compose(f"data={name}", *sizes, *overrides).settings
    images = config.build_data(settings["data"], settings["cache"]).split(split)
    return images.images(slice(0, len(images) if n is None else n))
