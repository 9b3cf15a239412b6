"""Latents that are looked up, not encoded: known to the model that drew the images, or labels."""

from collections.abc import Callable, Sequence

from torch import Tensor

from stitching.data.base import ImageSet
from stitching.data.drawn import DrawingModel, DrawnSet
from stitching.data.label_columns import LabelModel, label_columns
from stitching.models.base import GenerativeModel


def drew(model: GenerativeModel, images: ImageSet) -> bool:
    """Return whether a model itself drew the images, so that their latents are known."""
    return (
        isinstance(images, DrawnSet)
        and isinstance(model, DrawingModel)
        and model.drawing == images.drawing
    )


def looked_up_latents(
    model: GenerativeModel, images: ImageSet
) -> Callable[[Sequence[int]], Tensor] | None:
    """Return a function from places in a split to latents that need no encoding; None without.

    They are those that the model drew the images from, or the images' labels.
    """
    if isinstance(model, LabelModel):
        latents = model.label_latents(label_columns(images))
        return lambda places: latents[list(places)]
    if not drew(model, images):
        return None
    assert isinstance(images, DrawnSet)
    assert isinstance(model, DrawingModel)
    seed, indices = images.seed, images.indices
    return lambda places: model.known_latents(seed, [indices[i] for i in places])
