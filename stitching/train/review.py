"""What trained weights do to images: a sheet of pictures, and errors of reconstructions."""

import io
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from stitching.compute.images import to_uint8, to_unit
from stitching.models.base import GenerativeModel
from stitching.models.pca import PCA
from stitching.report.drawing.pictures import rows_of_pictures

#: Images on a sheet.
N_SHOWN = 10

#: Images that errors are measured on, at most.
N_MEASURED = 128

#: Images that principal components are fitted to, at most: seconds of work.
_N_COMPONENTS_FROM = 2000

#: Error of test images over that of training images, above which the weights overfit.
_OVERFITTED = 1.25


class Errors(NamedTuple):
    """RMSE of reconstructions on the 0-1 scale; None where it is not known.

    Attributes:
        seen: Of training images.
        unseen: Of test images.
        components: Of test images, by as many principal components of the training images as the
            model's latent has values, or as there are.
        n_components: How many these are.
        n_unseen: Number of test images.
    """

    seen: float
    unseen: float | None = None
    components: float | None = None
    n_components: int | None = None
    n_unseen: int = 0

    @property
    def card(self) -> dict[str, str]:
        """Entries of the card of weights."""
        named = {"rmse_train": self.seen, "rmse_test": self.unseen, "rmse_pca": self.components}
        return {key: f"{value:.4f}" for key, value in named.items() if value is not None}

    def __str__(self) -> str:
        if self.unseen is None:
            return f"reconstructions: RMSE {self.seen:.3f} of training images; no test images"
        text = (
            f"reconstructions: RMSE {self.unseen:.3f} of {self.n_unseen} test images, "
            f"{self.seen:.3f} of training images; {self.n_components} principal components: "
            f"{self.components:.3f} of test images"
        )
        if self.unseen > _OVERFITTED * self.seen:
            text += ". The weights overfit: more images help, longer training does not"
        return text


@dataclass(frozen=True, eq=False)
class Review:
    """Images that weights are reviewed by.

    Attributes:
        seen: Training images, (N, 3, S, S) uint8.
        unseen: Test images, (n, 3, S, S) uint8; n may be 0.
    """

    seen: Tensor
    unseen: Tensor

    def sheet(self, model: GenerativeModel) -> bytes:
        """Return a PNG: images, test images if there are any, their reconstructions, samples.

        A model without an encoder has samples alone, one without a prior no samples.
        """
        images = (self.unseen if len(self.unseen) else self.seen)[:N_SHOWN]
        rows = {}
        if model.can_encode:
            rows["test image" if len(self.unseen) else "training image"] = images
            rows["reconstruction"] = _reconstructed(model, images)
        try:
            rows["sample"] = to_uint8(model.sample(N_SHOWN).cpu())
        except TypeError:  # without a prior
            pass
        arrays = {name: x.permute(0, 2, 3, 1).numpy() for name, x in rows.items()}
        file = io.BytesIO()
        rows_of_pictures(arrays).save(file, "png")
        return file.getvalue()

    def errors(self, model: GenerativeModel) -> Errors | None:
        """Return the errors of reconstructions; None of a model without an encoder."""
        if not model.can_encode:
            return None
        seen = _rmse(model, self.seen[:N_MEASURED])
        if not len(self.unseen):
            return Errors(seen)
        unseen = self.unseen[:N_MEASURED]
        step = -(-len(self.seen) // _N_COMPONENTS_FROM)
        components = PCA("pca", model.image_size, match=model.latent_dim)
        components.fit_images(self.seen[::step])
        return Errors(
            seen, _rmse(model, unseen), _rmse(components, unseen), components.latent_dim,
            len(unseen),
        )  # fmt: skip


def _rmse(model: GenerativeModel, images: Tensor) -> float:
    error = _reconstructed(model, images).double() - images.double()
    return float(error.square().mean().sqrt()) / 255


def _reconstructed(model: GenerativeModel, images: Tensor) -> Tensor:
    return to_uint8(model.decode(model.encode(to_unit(images))).cpu())
