"""Python values as overrides of the configuration, and what they compose to."""

import copy
import functools
import os
from collections.abc import Mapping
from typing import Any

from stitching import config


def compose(*overrides: str) -> config.Composed:
    """Return the configuration of a cell; equal overrides are composed once, in 0.2 s.

    Raises:
        ValueError: An override does not fit, or a name belongs to another model.
    """
    return copy.deepcopy(_composed(overrides, _written()))


@functools.lru_cache(maxsize=128)
def _composed(overrides: tuple[str, ...], written: int) -> config.Composed:
    del written  # the files were changed if it differs
    return config.compose_config([*overrides])


def _written() -> int:
    """Return when a file of the configuration was written last, in ns."""
    return max(path.stat().st_mtime_ns for path in config.conf_dir().rglob("*"))


def override(key: str, value: Any) -> str:
    """Return an option as on the command line, such as `map.alpha=0.1`; texts are quoted.

    Raises:
        TypeError: The value is no number, text, path, bool, None, or list or dict of these.
    """
    return f"{key}={_text(key, value)}"


def _text(key: str, value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        # Backslashes count before a quote alone; a reference would be resolved.
        end = "\\" * (len(text) - len(text.rstrip("\\")))
        text = text.replace("\\'", "\\\\'").replace("'", "\\'").replace("${", "\\${")
        return f"'{text}{end}'"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{_text(key, v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_text(key, item) for item in value) + "]"
    raise TypeError(
        f"{key} must be a number, text, path, bool, None, or a list of these, got "
        f"{type(value).__name__}"
    )
