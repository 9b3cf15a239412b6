"""A judge of mapped latents by the images that they decode to."""

import torch
from torch import Tensor

from stitching.compute.images import quantise
from stitching.data.base import ImageSet
from stitching.maps.judging import Judge, held_out
from stitching.metrics.pixel import squared_errors
from stitching.pipeline.encoding import FrozenModel, decode
from stitching.pipeline.finite import finite_rows


def image_judge(decoder: FrozenModel, images: ImageSet, batch_size: int) -> Judge:
    """Return the judge that decodes latents and compares pixels with the fit images, as in RMSE.

    Args:
        decoder: Model of the target space.
        images: Behind the training latents, in their order; `held_out` ones are read.
        batch_size: Images per forward pass.
    """
    places = held_out(len(images)).nonzero()[:, 0].tolist()
    truth = quantise(images.pick(places).images(slice(None)))[0]

    def errors(latents: Tensor) -> Tensor:
        decoded = decode(decoder.model, latents.cpu(), batch_size, "held-out")
        if not bool(finite_rows(decoded).all()):  # this penalty must not be chosen
            return torch.full((len(truth),), torch.inf)
        return squared_errors(truth, quantise(decoded)[0])[:, 0]

    return Judge(errors)
