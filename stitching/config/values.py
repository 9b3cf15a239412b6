"""Checks single values of a cell that are no arguments of a class."""

from collections.abc import Callable, Mapping
from typing import Any

from stitching.compute.devices import check_device_name, check_dtype


def _whole(least: int) -> tuple[Callable[[Any], bool], str]:
    return lambda x: type(x) is int and x >= least, f"a whole number >= {least}"


_SWITCH = (lambda x: isinstance(x, bool), "true or false")
_TEXT = (lambda x: x is None or isinstance(x, str), "text or null")

_ALLOWED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "seed": _whole(0),
    "batch_size": _whole(1),
    "picture": _whole(0),
    "zoo": (lambda x: isinstance(x, str), "zoo:NAME or a folder"),
    "cache": _TEXT,
    "via": _TEXT,
    "round_trip": _SWITCH,
    "geometry": _SWITCH,
    "controls": _SWITCH,
    "resume": _SWITCH,
    "export_map": _SWITCH,
    "validation": (
        lambda x: x is None or (type(x) is float and 0 < x < 1),
        "null, or a share of the fit images between 0 and 1",
    ),
}  # fmt: skip


def check_values(plain: Mapping[str, Any]) -> None:
    """Check the values of a cell's configuration; missing keys are skipped.

    Raises:
        ValueError: A value is not allowed; the message names its key.
    """
    for key, (fits, allowed) in _ALLOWED.items():
        if key in plain and not fits(plain[key]):
            raise ValueError(f"{key} must be {allowed}, got {plain[key]!r}")
    check_device_name(plain["device"])
    check_dtype(plain["dtype"])
