"""Weight files of the feature networks: find, verify, download in bounded time, load strictly.

No code in a file is run, see `stitching.weights.containers`; pickles of plain arrays are read by
an unpickler that accepts arrays and builtin containers only.
"""

import importlib.metadata
import importlib.util
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from stitching.weights.containers import read_weights
from stitching.weights.download import DownloadError, Network, remembered_sha256
from stitching.weights.loading import load_strictly

#: Seconds per process, over all attempts, until the network counts as unavailable. A download
#: that has begun may take longer.
NETWORK_BUDGET_S = 10.0

Module = TypeVar("Module", bound=nn.Module)
FloatArray = npt.NDArray[np.floating[Any]]


class WeightsUnavailable(RuntimeError):
    """Published weights are not on this machine and cannot be downloaded."""


@dataclass(frozen=True)
class LocatedFile:
    """A weight file of a feature network, not read yet.

    Attributes:
        path: The file.
        sha256: Checksum of its bytes, 64 hexadecimal digits.
        source: How it was found, without a machine's path, to be stored with results.
    """

    path: Path
    sha256: str
    source: str


@dataclass(frozen=True)
class PublishedFile:
    """A weight file with a public address, kept in torch hub's cache.

    Attributes:
        names: Its file names in the cache; a download is stored under the first.
        url: Address to download it from.
        sha256: Leading digits of its checksum, as in torch hub's file names.
    """

    names: tuple[str, ...]
    url: str
    sha256: str


def require_packages(*packages: str) -> None:
    """Check that packages are installed, without importing them.

    Raises:
        WeightsUnavailable: Names the first that is not.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise WeightsUnavailable(
                f"the package {package.replace('_', '-')} is not installed: pip install it"
            )


def given_file(path: str | Path) -> LocatedFile:
    """Return the weight file at a path that a user set.

    Raises:
        FileNotFoundError: There is no such file.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"no weight file at {file}: correct the metric's `weights`")
    return LocatedFile(file, remembered_sha256(file), "given path")


def cached_file(public: PublishedFile) -> LocatedFile | None:
    """Return a published file from torch hub's cache, or None, without network access.

    Raises:
        ValueError: The file there has another checksum.
    """
    for name in public.names:
        path = _cache_folder() / name
        if path.is_file():
            return _verified(path, public.sha256, "torch hub cache")
    return None


def packaged_file(package: str, relative: str, sha256: str) -> LocatedFile | None:
    """Return a data file of an installed package without importing the package, or None.

    `sha256` are leading digits of the checksum that it must have.

    Raises:
        ValueError: The file has another checksum.
    """
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder) / relative
        if path.is_file():
            return _verified(path, sha256, f"{package} {importlib.metadata.version(package)}")
    return None


def downloaded_file(public: PublishedFile) -> LocatedFile:
    """Download a published file into torch hub's cache.

    Raises:
        WeightsUnavailable: The download failed; names the reason, the cache and the file. Within
            one process a failed address is not tried again.
    """
    folder = _cache_folder()
    wanted = folder / public.names[0]
    try:
        sha256 = _network.fetch(public.url, wanted, public.sha256, NETWORK_BUDGET_S)
    except DownloadError as error:
        raise WeightsUnavailable(
            f"{wanted.name} is not in torch hub's cache ({folder}) and cannot be downloaded "
            f"from {public.url} ({error}): put the file there, or give its path as the "
            f"metric's `weights`"
        ) from error
    return LocatedFile(wanted, sha256, "torch hub cache")


def read_state(file: LocatedFile) -> dict[str, Tensor]:
    """Read the tensors of a safetensors or torch file onto the CPU, by name.

    Raises:
        ValueError: It is damaged, or holds anything beside named tensors.
    """
    return read_weights(file.path).state_dict()


def read_arrays(file: LocatedFile) -> dict[str, FloatArray]:
    """Read a pickle of nested dictionaries of float arrays.

    Returns:
        The arrays by path, the keys of the nested dictionaries joined by "/".

    Raises:
        ValueError: It is damaged, or refers to anything but arrays and builtin containers.
    """
    try:
        with file.path.open("rb") as stream:
            tree = _ArrayUnpickler(stream).load()
        return dict(_leaves(tree, ""))
    except Exception as error:  # a damaged pickle can raise anything
        raise ValueError(
            f"{file.path} is damaged or no pickle of plain arrays ({error}): replace it"
        ) from error


def load_frozen(module: Module, state: Mapping[str, Tensor], file: LocatedFile) -> Module:
    """Load every tensor of a module strictly, freeze it and return it.

    The module may be on the meta device, which spares drawing initial values.

    Raises:
        ValueError: A tensor is missing, unexpected, of another shape, or not finite.
    """
    load_strictly(module, state, file.path, type(module).__name__, assign=True)
    return module.requires_grad_(False).eval()


#: One per process, as the budget.
_network = Network()


def _cache_folder() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _verified(path: Path, expected: str, source: str) -> LocatedFile:
    found = remembered_sha256(path)
    if not found.startswith(expected):
        raise ValueError(
            f"{path} is damaged or another file: its sha256 starts with "
            f"{found[: len(expected)]} instead of {expected}; delete or replace it"
        )
    return LocatedFile(path, found, source)


class _PickledType:
    """Stands for numpy.dtype in a pickle; accepts floating point types only."""

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        if code not in ("f2", "f4", "f8"):
            raise pickle.UnpicklingError(f"array type {code!r} is not a floating point type")
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        if order not in ("<", ">"):
            raise pickle.UnpicklingError(f"byte order {order!r} is not known")
        self.code = order + self.code


class _PickledArray:
    """Stands for numpy.ndarray in a pickle; rebuilt from its raw bytes."""

    array: FloatArray

    def __setstate__(self, state: tuple[int, tuple[int, ...], _PickledType, bool, bytes]) -> None:
        _, shape, kind, fortran, raw = state
        flat = np.frombuffer(raw, dtype=kind.code)
        self.array = flat.reshape(shape, order="F" if fortran else "C")


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickler that builds arrays and builtin containers and refuses every other name."""

    def find_class(self, module: str, name: str) -> object:
        if module == "numpy" and name in ("ndarray", "dtype"):
            return _PickledArray if name == "ndarray" else _PickledType
        # numpy 1 and numpy 2 keep the function in different modules.
        if module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            if name == "_reconstruct":
                return lambda kind, shape, code: _PickledArray()
        raise pickle.UnpicklingError(f"it refers to {module}.{name}")


def _leaves(tree: object, path: str) -> Iterator[tuple[str, FloatArray]]:
    """Walk nested dictionaries down to the arrays."""
    if isinstance(tree, _PickledArray):
        yield path, tree.array
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{path}/{key}" if path else str(key))
    else:
        raise pickle.UnpicklingError(f"{path or 'the top level'} is a {type(tree).__name__}")
