"""Labels of images as columns of numbers, for a model whose latents they are."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stitching.data.base import ImageData, ImageSet

#: Labels by name, shape (N,) each.
Columns = Mapping[str, NDArray[np.float64]]


@runtime_checkable
class LabelModel(Protocol):
    """A model whose latents are labels of images, not a function of their pixels."""

    name: str

    def set_labels(self, columns: Columns) -> None:
        """Set the labels, from those of the fit images."""

    def label_latents(self, columns: Columns) -> Tensor:
        """Return the latents (n, D) of images with these labels."""


def label_columns(images: ImageSet) -> dict[str, NDArray[np.float64]]:
    """Return all labels of a split by name: attributes, factors, and one column per class name.

    Attributes and classes are 0 or 1; names are `Male`, `factor/pose` and `class/Hair/Blond`.
    """
    columns = {key: values.astype(np.float64) for key, values in images.attributes.items()}
    columns |= {f"factor/{k}": values.astype(np.float64) for k, values in images.factors.items()}
    for key, found in images.classes.items():
        for place, name in enumerate(found.names):
            columns[f"class/{key}/{name}"] = (found.values == place).astype(np.float64)
    return columns


def set_labels(role: str, model: LabelModel, data: ImageData) -> None:
    """Set the labels of a model to those of the fit images of a data set.

    Raises:
        ValueError: The data set has no labels, or its splits have different ones.
    """
    train, test = (label_columns(data.split(split)) for split in ("train", "test"))
    if not train:
        raise ValueError(
            f"{role}={model.name} needs labels, but data={data.name} has none: give data with "
            "attributes, factors or classes (data.attributes=TABLE.csv, data.classes=folders), or "
            f"another {role}"
        )
    if [*train] != [*test]:
        apart = sorted({*train} ^ {*test})
        raise ValueError(
            f"{role}={model.name}: fit and test images of data={data.name} have different labels "
            f"({', '.join(apart[:3])})"
        )
    model.set_labels(train)
