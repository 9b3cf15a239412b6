"""What every image metric promises: features of one image, then a score of two sets of them.

The split lets a sweep compute the reference images' features once and reuse them in every
cell. Metrics know tensors only: no configuration, no models, no folders.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from stitching.batching import in_fixed_batches
from stitching.images import to_unit

#: Images sent through a feature network at once. Fixed here, not by the caller, so that memory
#: stays bounded whatever the caller's batch size.
CHUNK = 32

#: Elements converted to float64 at once when squares are summed (32 MiB each side).
_SUM_ELEMENTS = 2**22


class MetricUnavailable(RuntimeError):
    """A metric cannot be computed here, for the reason given; other metrics are unaffected."""


@dataclass(frozen=True)
class WeightFile:
    """A weight file that was found.

    Attributes:
        path: Where it lies.
        sha256: Checksum of its bytes, 64 hexadecimal digits.
        source: How it was found; holds no machine's path, so it may be stored with results.
    """

    path: Path
    sha256: str
    source: str


class ImageMetric(ABC):
    """A measure of how far stitched images are from their reference images.

    Attributes:
        name: Short name; the score's key is ``image/<name>``.
        minimum: Fewest images per side that define the score.
        smallest_image: Fewest pixels a side that images may have.
        unavailable: Why the metric cannot be used here (weights that could not be had), or None.
            `identity`, `features` and `compute` then raise `MetricUnavailable`.
    """

    name: str
    minimum: int = 1
    smallest_image: int = 1
    unavailable: str | None = None

    device: torch.device = torch.device("cpu")
    _network: nn.Module | None = None
    #: Images per pass on the CPU; other devices take `CHUNK`.
    _cpu_chunk: int = CHUNK

    @property
    @abstractmethod
    def identity(self) -> str:
        """Text that names all that determines the features: a cache key."""

    @property
    def provenance(self) -> dict[str, str]:
        """Weight files behind the score, as flat result keys: file name, source, sha256."""
        return {}

    def to(self, device: torch.device | str) -> Self:
        """Move the feature network to a device and return the metric."""
        self.device = torch.device(device)
        if self._network is not None:
            self._network.to(self.device)
        return self

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Describe each image by a vector that depends on this image alone.

        Args:
            x: Shape (n, 3, H, W), float in [0, 1] or uint8, on any device.

        Returns:
            Float32 tensor (n, F) on the CPU.

        Raises:
            MetricUnavailable: The weights could not be had.
            ValueError: No image, one smaller than `smallest_image`, a value that is not finite
                (the rows are named) or outside [0, 1].
        """
        self._require_usable()
        if x.ndim == 4:
            require_finite(x, f"image/{self.name}: the image batch")
        x = to_unit(x)
        if len(x) < 1:
            raise ValueError(f"image/{self.name} needs at least 1 image, got 0")
        if min(x.shape[2:]) < self.smallest_image:
            raise ValueError(
                f"image/{self.name} needs images of at least {self.smallest_image} x "
                f"{self.smallest_image} pixels, got {x.shape[2]} x {x.shape[3]}: "
                f"use larger images or leave this metric out"
            )
        chunk = self._cpu_chunk if self.device.type == "cpu" else CHUNK

        def extract(part: Tensor) -> Tensor:
            # Modes hold for one thread. A metric stays in float32 under any autocast.
            with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
                return self._extract(part.to(self.device)).cpu()

        return in_fixed_batches(extract, x, chunk, parallel=self.device.type == "cpu")

    def compute(self, reference: Tensor, stitched: Tensor) -> dict[str, float | int]:
        """Score stitched images against their references.

        Args:
            reference: Features (N, F) of the reference images.
            stitched: Features (N, F) of the stitched images, row i from the same item as
                reference row i.

        Returns:
            Flat result keys, the score under ``image/<name>``.

        Raises:
            MetricUnavailable: The weights could not be had, or N is below `minimum`.
            ValueError: Shapes differ, or a value is not finite (the rows are named).
        """
        self._require_usable()
        if reference.ndim != 2 or reference.shape != stitched.shape:
            raise ValueError(
                f"image/{self.name} needs two feature sets of one shape (N, F), got "
                f"{tuple(reference.shape)} for the references and {tuple(stitched.shape)} for "
                f"the stitched images: measure both on the same items"
            )
        if len(reference) < self.minimum:
            raise MetricUnavailable(
                f"image/{self.name} needs at least {self.minimum} images per side, "
                f"got {len(reference)}"
            )
        require_finite(reference, f"image/{self.name}: the reference features")
        require_finite(stitched, f"image/{self.name}: the stitched features")
        return self._score(reference, stitched)

    @abstractmethod
    def _extract(self, x: Tensor) -> Tensor:
        """Return float32 features (n, F) of float32 images in [0, 1], on x's device."""

    @abstractmethod
    def _score(self, reference: Tensor, stitched: Tensor) -> dict[str, float | int]:
        """Score two checked feature sets of one shape."""

    def _require_usable(self) -> None:
        if self.unavailable is not None:
            raise MetricUnavailable(self.unavailable)


class PretrainedMetric(ImageMetric):
    """An image metric whose features come from a pretrained network.

    Weights that cannot be had are a state, not an exception of the constructor: `unavailable`
    gives the reason. A file that exists but is damaged, partial or of another network raises.
    """

    _files: Mapping[str, WeightFile]

    def __init__(self) -> None:
        """Load the network; subclasses store their own options first.

        Raises:
            FileNotFoundError: A path given by the user does not exist.
            ValueError: A file does not hold what it should.
        """
        self._files = {}
        try:
            self._network, self._files = self._load()
        except MetricUnavailable as missing:
            self.unavailable = str(missing)

    @abstractmethod
    def _load(self) -> tuple[nn.Module, Mapping[str, WeightFile]]:
        """Return the frozen network and the files it came from, by label."""

    @property
    @abstractmethod
    def _settings(self) -> str:
        """All that determines the features beside the weight files."""

    @property
    def identity(self) -> str:
        """See `ImageMetric.identity`."""
        self._require_usable()
        hashes = " ".join(f"{label}={file.sha256[:16]}" for label, file in self._files.items())
        return f"{self.name} {self._settings} {hashes}"

    @property
    def provenance(self) -> dict[str, str]:
        """See `ImageMetric.provenance`."""
        result = {}
        for label, file in self._files.items():
            result[f"image/{self.name}_{label}"] = f"{file.path.name} ({file.source})"
            result[f"image/{self.name}_{label}_sha256"] = file.sha256
        return result


def require_finite(x: Tensor, what: str) -> None:
    """Raise unless every value is finite.

    Args:
        x: Shape (N, ...), any dtype.
        what: Name of the tensor for the message.

    Raises:
        ValueError: Names the rows (first axis) that hold NaN or an infinity.
    """
    if not x.is_floating_point() or x.numel() == 0:
        return
    rows = (~torch.isfinite(x).flatten(1).all(dim=1)).nonzero().flatten().tolist()
    if rows:
        shown = ", ".join(map(str, rows[:10])) + (", ..." if len(rows) > 10 else "")
        raise ValueError(
            f"{what} must be finite, but {len(rows)} of {len(x)} rows are not: rows {shown}"
        )


def sum_of_squares(a: Tensor, b: Tensor) -> float:
    """Sum (a - b)^2 over all elements of two (N, F) tensors, in float64, in chunks of rows.

    The difference is taken after the conversion: bytes would wrap round and float16 overflow.
    """
    rows = max(1, _SUM_ELEMENTS // max(1, a.shape[1]))
    total = 0.0
    for p, q in zip(torch.split(a.cpu(), rows), torch.split(b.cpu(), rows), strict=True):
        total += float((p.double() - q.double()).square().sum())
    return total
