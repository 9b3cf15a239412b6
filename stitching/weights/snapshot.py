"""Read snapshot pickles of NVIDIA's StyleGAN code without running code in them.

Such a pickle contains the Python source of its networks, which a plain unpickler executes. Here
every class it refers to is replaced by a stand-in that keeps data only, the source is ignored, and
any other reference is refused.
"""

import io
import pickle
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def read_snapshot(path: Path) -> dict[str, Any]:
    """Return the content of a snapshot, as plain containers and tensors.

    Args:
        path: A pickle of a dict such as `{"G": ..., "D": ..., "G_ema": ...}`.

    Returns:
        The same keys. A network becomes its state dict, names as published, with its options
        under `KEY_init_kwargs`; a value that is neither network nor plain is None.

    Raises:
        ValueError: It refers to another class or function, which is named, or it is damaged.
    """
    reader = _Reader(path)
    try:
        content = reader.load()
    except _Refused:
        raise
    except _DAMAGED as error:
        raise ValueError(
            f"{path} is not a readable snapshot ({error}): it may be damaged, a partial download, "
            "or made to run code"
        ) from error
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{path} is no snapshot of StyleGAN2 for PyTorch: it holds a "
            f"{type(content).__name__} instead of a dict with G_ema"
        )
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, _Network):
            found[str(key)] = value.state_dict()
            found[f"{key}_init_kwargs"] = _plain(value.state.get("_init_kwargs", {}))
        else:
            found[str(key)] = _plain(value)
    return found


class _Refused(ValueError):
    """The pickle refers to a name that is not allowed."""


#: Errors of unpickling bytes that are no pickle, or one that misuses the stand-ins.
_DAMAGED = (
    pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError,
    TypeError, AttributeError, ImportError, OverflowError, MemoryError, struct.error,
)  # fmt: skip


class _Dict(dict[Any, Any]):
    """Stands for OrderedDict and EasyDict; ignores attributes that a pickle sets."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        del state


class _Dtype:
    """Stands for `numpy.dtype`: keeps its code and byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: str, *flags: object) -> None:
        del flags
        self.code, self.order = str(code), "="

    def __setstate__(self, state: Sequence[object]) -> None:
        if state[1] in ("<", ">"):
            self.order = str(state[1])


class _Network:
    """Stands for a module of a network: its parameters, buffers and modules inside it."""

    __slots__ = ("state",)

    def __init__(self, state: Mapping[str, Any]) -> None:
        self.state = state

    def __setstate__(self, state: object) -> None:
        del state

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        hidden = self.state.get("_non_persistent_buffers_set", ())
        tensors = {
            **self.state.get("_parameters", {}),
            **{k: v for k, v in self.state.get("_buffers", {}).items() if k not in hidden},
        }
        found = {f"{prefix}{k}": v for k, v in tensors.items() if isinstance(v, Tensor)}
        for name, module in self.state.get("_modules", {}).items():
            if isinstance(module, _Network):
                found |= module.state_dict(f"{prefix}{name}.")
        return found


class _Function:
    """Stands for a function of the pickle, which the pickle cannot alter."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., object]) -> None:
        self._call = call

    def __call__(self, *args: object) -> object:
        return self._call(*args)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a pickle must not change functions")


def _network(meta: Mapping[str, Any]) -> _Network:
    # `module_src` is the source that the published loader would execute.
    if meta.get("type") != "class" or not isinstance(meta.get("state"), Mapping):
        raise pickle.UnpicklingError("a network without parameters")
    return _Network(meta["state"])


def _storage(data: bytes) -> Any:
    # Written by torch.save: a pickle inside the pickle.
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # Not torch's message, which advises to switch the check off.
        raise pickle.UnpicklingError("a storage that holds more than numbers") from None


def _tensor(
    storage: Any, offset: int, size: Sequence[int], stride: Sequence[int], *rest: object
) -> Tensor:
    del rest  # requires_grad, hooks, metadata
    if not isinstance(storage, torch.TypedStorage):
        raise pickle.UnpicklingError("a tensor without storage")
    flat = torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage)
    # `set_` would enlarge a storage that is too small; `as_strided` refuses.
    return flat.as_strided(tuple(size), tuple(stride), offset).clone()


def _parameter(data: Tensor, *rest: object) -> Tensor:
    del rest  # requires_grad, hooks
    return data


def _number(dtype: _Dtype, data: bytes) -> float | int | bool:
    kinds = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
    if dtype.code not in kinds:
        raise pickle.UnpicklingError(f"a number of type {dtype.code}")
    value: float | int | bool = np.frombuffer(data, dtype.order + dtype.code)[0].item()
    return value


#: The allowed references; the last is a set literal of Python 3.7.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Dict,
    ("dnnlib.util", "EasyDict"): _Dict,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "scalar"): _Function(_number),
    ("numpy._core.multiarray", "scalar"): _Function(_number),
    ("torch._utils", "_rebuild_parameter"): _Function(_parameter),
    ("torch._utils", "_rebuild_tensor_v2"): _Function(_tensor),
    ("torch.storage", "_load_from_bytes"): _Function(_storage),
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _Function(_network),
    ("builtins", "set"): set,
}


class _Reader(pickle.Unpickler):
    """An unpickler that accepts the stand-ins only."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.BytesIO(path.read_bytes()))
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _Refused(
                f"{self._path} was refused: loading it would run code ({module}.{name}), which a "
                "snapshot of StyleGAN2 for PyTorch does not need. Where you trust it, load it "
                "with the source tree it came from, save `G_ema.state_dict()` with "
                "safetensors.torch.save_file, and give that file as weights"
            ) from None


def _plain(value: object) -> Any:
    """Nested dicts and lists of tensors and plain values; networks become state dicts."""
    if isinstance(value, _Network):
        return value.state_dict()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, Tensor | str | int | float) else None
