"""Devices and precisions."""

import re
import warnings
from typing import TYPE_CHECKING, Any

from stitching.records.words import nearest

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float64")

_NAMES = ("auto", "cpu", "cuda", "spread")
_ALLOWED = "use auto, cpu, cuda or cuda:N; in a sweep also spread"


def check_device_name(device: object) -> str:
    """Return the name of a device in lower case, also of one that this machine lacks.

    Raises:
        ValueError: It is not the name of a device.
    """
    name = str(device).lower()
    if not re.fullmatch(r"auto|spread|cpu(:0)?|cuda(:\d+)?", name):
        raise ValueError(f"device={device!r}: {_ALLOWED}{nearest(name, _NAMES)}")
    return name


def pick_device(device: str, job_number: int | None = None) -> "torch.device":
    """Return the device: `auto` is CUDA where there is one.

    Args:
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `spread`, in upper or lower case. `spread`: the
            jobs of a sweep take the CUDA devices of this machine in turn. Without CUDA, or
            outside a sweep, that is `auto`.
        job_number: Place of this job in its sweep, from 0; None outside a sweep.

    Raises:
        ValueError: Unknown, or not on this machine.
    """
    import torch

    device = check_device_name(device)
    if device == "spread" and job_number is not None and torch.cuda.is_available():
        return torch.device("cuda", job_number % torch.cuda.device_count())
    if device in ("auto", "spread"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = torch.device(device)
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={device!r}: {torch.cuda.device_count()} CUDA devices here; use device=cpu"
        )
    return chosen


class SlowDtypeWarning(UserWarning):
    """The chosen precision is slow on this machine."""


def check_dtype(dtype: str) -> str:
    """Return dtype if it is one of `DTYPES`.

    Raises:
        ValueError: It is not.
    """
    if dtype not in DTYPES:
        raise ValueError(
            f"dtype={dtype!r}: use one of {', '.join(DTYPES)}{nearest(str(dtype), DTYPES)}"
        )
    return dtype


def warn_of_slow_dtype(device: "torch.device", dtype: str) -> None:
    """Warn of bfloat16 on a processor without instructions for it: ten times slower there."""
    import torch

    # Older releases of torch lack this function.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    if device.type != "cpu" or dtype != "bfloat16" or not capabilities:
        return
    if not any(value for name, value in capabilities.items() if name.endswith("bf16")):
        warnings.warn(
            "dtype=bfloat16: this processor has no bfloat16 instructions, so it is emulated, "
            "about ten times slower than dtype=float32",
            SlowDtypeWarning,
            stacklevel=2,
        )
