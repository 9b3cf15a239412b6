"""Functions for use from Python, as `stitching.load_model` and `stitching.load_images`."""

from typing import TYPE_CHECKING

from stitching import config

if TYPE_CHECKING:
    from torch import Tensor

    from stitching.models.base import GenerativeModel


def load_model(
    name: str, *overrides: str, device: str = "auto", dtype: str = "float32"
) -> "GenerativeModel":
    """Load a frozen model by the name of its YAML file.

    Args:
        name: An option of `encoder=`, such as `vae`.
        overrides: Further settings, such as `"encoder.n_steps=50"` or `"zoo=my/weights"`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        dtype: `float32`, `bfloat16` (autocast) or `float64`.

    Returns:
        The model; `.encode(x)` takes (N, 3, S, S) in [0, 1] to (N, D), `.decode(z)` back. One
        that is fitted to images, such as `pca`, needs `.fit_images(x)` first.

    Raises:
        ValueError: Unknown name or option, or the weights do not fit.
        FileNotFoundError: The weight file is missing.
    """
    chosen = config.compose_config([f"encoder={name}", *overrides]).models["encoder"]
    if chosen.width is not None:
        raise ValueError(
            f"encoder.width={chosen.width} takes components over the fit images of a cell, which "
            "a model alone does not have: leave it out"
        )
    return config.build_model(chosen.node, device, dtype)


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
    """
    sizes = [f"data.n_{split}={n}"] if n is not None and split in ("train", "test") else []
    settings = config.compose_config([f"data={name}", *sizes, *overrides]).settings
    images = config.build_data(settings["data"], settings["cache"]).split(split)
    return images.images(slice(0, len(images) if n is None else n))
