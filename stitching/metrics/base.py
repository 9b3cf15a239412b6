"""Base classes of image measures: a feature space maps one image, a metric scores two sets.

The split lets a sweep compute the reference images' features once and reuse them in every
cell, and metrics of one space share them. Both take tensors only: no configuration, no folders.
"""

import logging
from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor

from stitching.compute.batching import in_fixed_batches
from stitching.compute.images import to_uint8
from stitching.compute.notes import log_once
from stitching.metrics.resampling import Resamples, Scores

log = logging.getLogger(__name__)

#: Images sent through a feature network at once. Fixed here, not by the caller, so that memory
#: stays bounded whatever the caller's batch size.
CHUNK = 32

#: Elements converted to float64 at once when squares are summed (32 MiB each side).
_SUM_ELEMENTS = 2**22


class MetricUnavailable(RuntimeError):
    """A metric cannot be computed here, for the reason given; other metrics are unaffected."""


class FeatureSpace(ABC):
    """A map from images to numbers, one image at a time.

    All spaces take the same pixels: bytes, by `stitching.compute.images.to_uint8`.

    Attributes:
        name: Short name, for messages and result keys.
        smallest_image: Fewest pixels a side that images may have.
        made_for: Pixels a side that the features are meant for: smaller images get a note.
        network_name: What computes the features, in words; "" for pixels.
        resize: How images are resized for the network, in words; "" where they are not.
        unavailable: Why the space cannot be used here (weights are missing), or None.
            `identity` and `features` then raise `MetricUnavailable`.
        dtype: Of the features: float32, or uint8 where they are pixels.
        device: Where features are computed.
    """

    name: str
    smallest_image: int = 1
    made_for: int = 1
    network_name: str = ""
    resize: str = ""
    unavailable: str | None = None
    dtype: torch.dtype = torch.float32
    device: torch.device = torch.device("cpu")

    #: Images per pass on the CPU; other devices take `CHUNK`.
    _cpu_chunk: int = CHUNK
    #: Whether `_extract` may run in several threads at once.
    _thread_safe: bool = True

    @property
    @abstractmethod
    def identity(self) -> str:
        """Cache key: text that names all that determines the features."""

    @property
    def provenance(self) -> dict[str, str]:
        """Weight files and checksums behind the features, as flat result keys."""
        return {}

    def to(self, device: torch.device | str) -> Self:
        """Compute on a device from here on; returns the space."""
        self.device = torch.device(device)
        return self

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Return the features of each image, which depend on this image alone.

        Args:
            x: Shape (n, 3, H, W), uint8, or float in [0, 1], on any device.

        Returns:
            Tensor (n, ...) on the CPU, of the space's `dtype`.

        Raises:
            MetricUnavailable: The weights are missing.
            ValueError: No image, one smaller than `smallest_image`, a value that is not finite
                (the rows are named) or outside [0, 1].
        """
        self.require_usable()
        if x.ndim == 4:
            require_finite(x, f"the images to be described by {self.name}")
        x = to_uint8(x)
        if len(x) < 1:
            raise ValueError(f"{self.name} features need at least 1 image, got 0")
        if min(x.shape[2:]) < self.smallest_image:
            raise ValueError(
                f"{self.name} features need images of at least {self.smallest_image} x "
                f"{self.smallest_image} pixels, got {x.shape[2]} x {x.shape[3]}: "
                f"use larger images or leave this metric out"
            )
        on_cpu = self.device.type == "cpu"

        def extract(part: Tensor) -> Tensor:
            # Modes hold for one thread. Features stay in float32 under any autocast.
            with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
                return self._extract(part.to(self.device)).cpu()

        chunk = self._cpu_chunk if on_cpu else CHUNK
        return in_fixed_batches(extract, x, chunk, parallel=on_cpu and self._thread_safe)

    def require_usable(self) -> None:
        """Raise `MetricUnavailable` with the reason if the space cannot be used."""
        if self.unavailable is not None:
            raise MetricUnavailable(self.unavailable)

    @abstractmethod
    def _extract(self, x: Tensor) -> Tensor:
        """Return features (n, ...) of uint8 images (n, 3, H, W) on the space's device."""


class ImageMetric(ABC):
    """A measure of how far stitched images are from their reference images.

    Attributes:
        name: Short name; the score's key is ``image/<name>``.
        minimum: Fewest images per side that define the score.
        space: Features that images are compared by.
    """

    name: str
    minimum: int = 1
    space: FeatureSpace

    @property
    def unavailable(self) -> str | None:
        """Why the metric cannot be used here, or None."""
        return self.space.unavailable

    @property
    def smallest_image(self) -> int:
        """Fewest pixels a side that images may have."""
        return self.space.smallest_image

    def facts(self, image_size: int) -> dict[str, str]:
        """Return facts recorded beside the score, as flat result keys.

        These are the space's `provenance`; ``image/<name>_network`` and ``image/<name>_resize``;
        and ``image/<name>_note`` where the images are smaller than the network was made for,
        which is logged once too.

        Args:
            image_size: Pixels a side.
        """
        space, found = self.space, {}
        if space.network_name:
            found["network"] = space.network_name
            found["resize"] = space.resize or "none: images as they are"
        if image_size < space.made_for:
            found["note"] = (
                f"images of {image_size} pixels are smaller than the {space.made_for} that "
                f"{space.network_name or space.name} was made for"
            )
            if not space.resize:
                log_once(log, logging.WARNING, "image/%s: %s", self.name, str(found["note"]))
        return space.provenance | {f"image/{self.name}_{k}": text for k, text in found.items()}

    def to(self, device: torch.device | str) -> Self:
        """Compute features on a device from here on; returns the metric."""
        self.space.to(device)
        return self

    def compute(self, reference: Tensor, stitched: Tensor, resamples: Resamples) -> Scores:
        """Score stitched images against their references.

        Args:
            reference: Features (N, ...) of the reference images.
            stitched: Features (N, ...) of the stitched images, row i from the same item as
                reference row i.
            resamples: Of these N items.

        Returns:
            Flat result keys, the score under ``image/<name>``.

        Raises:
            MetricUnavailable: The weights are missing, or N is below `minimum`.
            ValueError: Shapes or numbers of items differ, or a value is not finite (the rows are
                named).
            TypeError: Features are numbers of another kind than the space's.
        """
        self.space.require_usable()
        for side in (reference, stitched):
            if side.is_floating_point() != self.space.dtype.is_floating_point:
                raise TypeError(
                    f"image/{self.name} needs {self.space.name} features of type "
                    f"{self.space.dtype}, got {side.dtype}: take them from its `features`"
                )
        if reference.ndim < 2 or reference.shape != stitched.shape:
            raise ValueError(
                f"image/{self.name} needs two feature sets of one shape (N, ...), got "
                f"{tuple(reference.shape)} for the references and {tuple(stitched.shape)} for "
                f"the stitched images: measure both on the same items"
            )
        if len(reference) < self.minimum:
            raise MetricUnavailable(
                f"image/{self.name} needs at least {self.minimum} images per side, "
                f"got {len(reference)}"
            )
        if resamples.n_items != len(reference):
            raise ValueError(
                f"image/{self.name} got features of {len(reference)} items but resamples of "
                f"{resamples.n_items}: make the resamples for the items that are measured"
            )
        require_finite(reference, f"image/{self.name}: the reference features")
        require_finite(stitched, f"image/{self.name}: the stitched features")
        return self._score(reference, stitched, resamples)

    @abstractmethod
    def _score(self, reference: Tensor, stitched: Tensor, resamples: Resamples) -> Scores:
        """Score two checked feature sets of one shape."""


class FeatureMetric(ImageMetric):
    """An image metric of any feature space.

    Args:
        space: Features; each image's are flattened.
        name: Of the metric; results are ``image/<name>``.
    """

    def __init__(self, space: FeatureSpace, name: str) -> None:
        self.space = space
        self.name = name


def require_finite(x: Tensor, what: str) -> None:
    """Check that every value of a tensor (N, ...) is finite.

    Raises:
        ValueError: Names `what`, and the rows (first axis) that hold NaN or an infinity.
    """
    if not x.is_floating_point() or bool(x.sum().isfinite()):  # the usual case, in one fast pass
        return
    rows = (~torch.isfinite(x).flatten(1).all(dim=1)).nonzero().flatten().tolist()
    if rows:
        shown = ", ".join(map(str, rows[:10])) + (", ..." if len(rows) > 10 else "")
        raise ValueError(
            f"{what} must be finite, but {len(rows)} of {len(x)} rows are not: rows {shown}"
        )


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Return the sum of (a - b)^2 over each row of two (N, ...) tensors, in float64.

    The difference is taken after the conversion: bytes would wrap round and float16 overflow.

    Returns:
        Shape (N,), float64, on the CPU.
    """
    a, b = a.flatten(1), b.flatten(1)
    rows = max(1, _SUM_ELEMENTS // max(1, a.shape[1]))
    sums = [
        (p.cpu().double() - q.cpu().double()).square().sum(dim=1)
        for p, q in zip(a.split(rows), b.split(rows), strict=True)
    ]
    return torch.cat(sums)
