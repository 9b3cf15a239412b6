"""Feature spaces of networks, and any torch module as one."""

import contextlib
import functools
import hashlib
import inspect
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stitching.compute.source import code_version
from stitching.metrics.base import FeatureSpace, MetricUnavailable
from stitching.weights.pretrained import (
    LocatedFile,
    PublishedFile,
    WeightsUnavailable,
    cached_file,
    downloaded_file,
    given_file,
    load_frozen,
    packaged_file,
    read_state,
)
from stitching.weights.state_dicts import plain_names, unwrapped


class NetworkSpace(FeatureSpace):
    """Features computed by a frozen network.

    Missing weights are a state, not an exception of the constructor: `unavailable` has the
    reason. A file that exists but is damaged, partial or of another network raises. Networks of
    the same files and settings are shared within a process.
    """

    _network: nn.Module | None = None
    _files: Mapping[str, LocatedFile]

    def __init__(self) -> None:
        """Load the network; subclasses store their own options first.

        Raises:
            FileNotFoundError: A path given by the user does not exist.
            ValueError: A file does not hold what it should.
        """
        self._files = {}
        try:
            self._network, self._files = self._load()
        except (MetricUnavailable, WeightsUnavailable) as missing:
            self.unavailable = str(missing)

    @abstractmethod
    def _load(self) -> tuple[nn.Module, Mapping[str, LocatedFile]]:
        """Return the frozen network and the files it came from, by label."""

    @property
    def network(self) -> nn.Module | None:
        """The frozen network; None where its weights are missing."""
        return self._network

    @property
    @abstractmethod
    def _settings(self) -> str:
        """What determines the features beside weight files and code."""

    @property
    def identity(self) -> str:
        """Cache key: name, settings, weight files, code, torch and kind of device."""
        self.require_usable()
        hashes = "".join(f" {label}={file.sha256[:16]}" for label, file in self._files.items())
        # Kernels round differently on another kind of device and in another release of torch.
        place = f"torch={torch.__version__} device={self.device.type}"
        return f"{self.name} {self._settings}{hashes} code={self._code[:16]} {place}"

    @property
    def provenance(self) -> dict[str, str]:
        """Weight files, ``image/<space>_<file>``, and their checksums, ``..._sha256``."""
        result = {}
        for label, file in self._files.items():
            result[f"image/{self.name}_{label}"] = f"{file.path.name} ({file.source})"
            result[f"image/{self.name}_{label}_sha256"] = file.sha256
        return result

    def features(self, x: Tensor) -> Tensor:
        """Return the features of each image, see `FeatureSpace.features`."""
        if self._network is not None:
            # Another space that shares the network may have moved it.
            self._network.to(self.device)
        return super().features(x)

    @functools.cached_property
    def _code(self) -> str:
        modules = [] if self._network is None else list(self._network.modules())
        return code_hash(type(self), *{type(module) for module in modules})


class TorchModule(NetworkSpace):
    """Features of any torch module that takes images.

    Images are resized by an antialiased bilinear filter and normalised, (x - mean) / std on the
    0-1 scale. Feature maps (n, D, h, w) are averaged over positions. Results:
    ``image/<name>_module``, its class, and ``image/<name>_module_sha256``, of its parameters and
    buffers.
    """

    # A user's module may keep state between calls.
    _thread_safe = False

    def __init__(
        self,
        module: nn.Module,
        name: str,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        layer: str | None = None,
        weights: str | Path | None = None,
    ) -> None:
        """Check the module on one gray image.

        Args:
            module: Takes float32 images (n, 3, size, size), returns (n, D) or (n, D, h, w). It
                is put into evaluation mode and frozen.
            name: Of the space, letters, digits and underscores.
            size: Side in pixels that images are resized to.
            mean: Of the three channels, as the network was trained.
            std: Of the three channels, positive.
            layer: Name of the submodule whose output to take (``dict(module.named_modules())``
                lists them), or None for the module's own.
            weights: File with all of the module's tensors, of torch or safetensors, or None to
                take the module as it is. One that draws its weights when it is built gives
                other numbers in every run.

        Raises:
            FileNotFoundError: `weights` does not exist.
            ValueError: An option is wrong, the file does not fit the module, or the module
                returns another shape.
        """
        if not re.fullmatch(r"\w+", name):
            raise ValueError(
                f"a feature space's name must consist of letters, digits and underscores, "
                f"got {name!r}"
            )
        if size < 1:
            raise ValueError(f"{name}.size must be >= 1, got {size}")
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(
                f"{name}.mean and {name}.std need one number for each of 3 channels, std > 0, "
                f"got {list(mean)} and {list(std)}"
            )
        if layer is not None and layer not in dict(module.named_modules()):
            raise ValueError(
                f"{name}.layer={layer!r} is no submodule of {type(module).__name__}: use one of "
                f"{', '.join(list(dict(module.named_children())))} or a name inside them"
            )
        self.name = name
        self.network_name = type(module).__name__ + (f", layer {layer}" if layer else "")
        self.resize = resize_text(size)
        self._module, self._layer, self._weights = module, layer, weights
        self._size, self._mean, self._std = size, tuple(mean), tuple(std)
        super().__init__()
        self._parameters_hash = _hash_of_state(module)
        if layer is not None:
            module.get_submodule(layer).register_forward_hook(self._keep)
        self._check_output()

    @property
    def _settings(self) -> str:
        kind = f"{type(self._module).__module__}.{type(self._module).__qualname__}"
        settings = f"size={self._size} mean={self._mean} std={self._std} layer={self._layer}"
        return f"{kind} {settings} module={self._parameters_hash}"

    @property
    def provenance(self) -> dict[str, str]:
        """Class and parameters' checksum of the module, beside its weight files."""
        key = f"image/{self.name}_module"
        layer = "" if self._layer is None else f", layer {self._layer}"
        return super().provenance | {
            key: f"{type(self._module).__qualname__}{layer}",
            f"{key}_sha256": self._parameters_hash,
        }

    def _load(self) -> tuple[nn.Module, Mapping[str, LocatedFile]]:
        if self._weights is None:
            return self._module.requires_grad_(False).eval(), {}
        file = given_file(self._weights)
        own = self._module.state_dict()
        names = {plain: name for name, plain in plain_names(own).items()}
        state = {names.get(key, key): v for key, v in unwrapped(read_state(file)).items()}
        for key, value in own.items():
            if key.endswith("num_batches_tracked"):
                # Older files lack this counter, and evaluation does not use it.
                state.setdefault(key, value)
        return load_frozen(self._module, state, file), {"weights": file}

    def _extract(self, x: Tensor) -> Tensor:
        mean, std = (x.new_tensor(v, dtype=torch.float32) for v in (self._mean, self._std))
        pixels = (resized(x, self._size) / 255 - mean[:, None, None]) / std[:, None, None]
        output = self._module(pixels)
        if self._layer is not None:
            output = self._kept
        return self._averaged(output, len(x))

    def _keep(self, module: nn.Module, inputs: Any, output: Any) -> None:
        del module, inputs
        self._kept = output

    def _averaged(self, output: Any, n: int) -> Tensor:
        if isinstance(output, Tensor) and output.ndim in (2, 4) and len(output) == n:
            features: Tensor = output.float()
            return features if features.ndim == 2 else features.mean(dim=(2, 3))
        found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(
            f"the feature space {self.name} must get a tensor (n, D) or (n, D, h, w) for "
            f"n = {n} images, got {found}: name a `layer` whose output has such a shape"
        )

    def _check_output(self) -> None:
        gray = torch.full((2, 3, self._size, self._size), 128, dtype=torch.uint8)
        try:
            self.features(gray)
        except RuntimeError as error:
            raise ValueError(
                f"{type(self._module).__name__} does not take images (n, 3, {self._size}, "
                f"{self._size}): {error}"
            ) from error


def find_weights(
    path: str | Path | None, public: PublishedFile, package: tuple[str, str, str] | None = None
) -> LocatedFile:
    """Return the first weight file of: given path, hub cache, package, download.

    The package comes before the download because it needs no network.

    Args:
        path: Path given by the user; None to search.
        public: The published file.
        package: Import name, path inside the package, and checksum of a file with the same
            numbers.

    Raises:
        FileNotFoundError: `path` does not exist.
        WeightsUnavailable: There is no such file; the message lists what was tried.
    """
    if path is not None:
        return given_file(path)
    found = cached_file(public)
    if found is None and package is not None:
        found = packaged_file(*package)
    return found or downloaded_file(public)


def require_packaged(package: str, relative: str, sha256: str) -> LocatedFile:
    """Return a data file of an installed package.

    Raises:
        WeightsUnavailable: The package has no such file.
        ValueError: The file has another checksum.
    """
    file = packaged_file(package, relative, sha256)
    if file is None:
        name = package.replace("_", "-")
        raise WeightsUnavailable(f"the package {name} lacks {relative}: reinstall it")
    return file


def resize_text(size: int) -> str:
    """Return how `resized` resizes, for results."""
    return f"bilinear, antialiased, half-pixel centres, to {size} x {size}"


def resized(x: Tensor, size: int) -> Tensor:
    """Return bytes (n, 3, H, W) as float32 of `size` x `size`, on the same 0-255 scale."""
    shape = (size, size)
    pixels: Tensor = nn.functional.interpolate(x.float(), shape, mode="bilinear", antialias=True)
    return pixels


def code_hash(*classes: type) -> str:
    """Return `code_version` of classes, without those typed in at a prompt, which have no file."""
    return code_version(*(b for cls in classes for b in cls.__mro__ if _has_file(b)))


def _has_file(cls: type) -> bool:
    with contextlib.suppress(TypeError):
        return inspect.getsourcefile(cls) is not None
    return False


def _hash_of_state(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
