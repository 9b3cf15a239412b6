"""Checks the options of a constructor before it is called."""

import inspect
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra.utils import get_object

from stitching.records.words import nearest

#: Keys of Hydra beside the arguments.
_HYDRA = frozenset({"_target_", "_args_", "_partial_", "_convert_", "_recursive_"})
_WORDS = {
    int: "a whole number", float: "a number", bool: "true or false", str: "text",
    types.NoneType: "null",
}  # fmt: skip


def check_arguments(node: Mapping[str, Any], where: str, also: Iterable[str] = ()) -> None:
    """Check names and types of the arguments for `_target_`, nested ones included.

    A constructor with `**kwargs` takes every name. Types are checked where the annotation consists
    of numbers, text, null and lists of these.

    Args:
        node: A resolved configuration.
        where: Its key, for messages.
        also: Further keys that the node may have, for suggestions.

    Raises:
        ValueError: An argument is unknown, or its value has another type.
    """
    for key, value in node.items():
        if isinstance(value, Mapping) and node.get("_recursive_", True):
            check_arguments(value, f"{where}.{key}")
    if not isinstance(node.get("_target_"), str):
        return
    try:
        call = get_object(node["_target_"])
        parameters = inspect.signature(call).parameters
    except Exception:  # a wrong _target_, or a call without a signature: its own error follows
        return
    own = [
        p.name for p in parameters.values() if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    hints = _hints(call)
    for key in node.keys() - _HYDRA:
        if key not in own and not open_ended:
            known = [*own, *also]
            prefix = f"{where}." if where else ""
            raise ValueError(
                f"{prefix}{key} is not an option of {getattr(call, '__name__', call)}"
                f"{nearest(key, known, prefix)}; there are {', '.join(known) or 'none'}"
            )
        if key in hints and not _fits(node[key], hints[key]):
            raise ValueError(f"{where}.{key} must be {_described(hints[key])}, got {node[key]!r}")


def _hints(call: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(call.__init__ if inspect.isclass(call) else call)
    except Exception:  # names that only a type checker imports
        return {}


def _arms(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return typing.get_args(hint)
    return (hint,)


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a plain value has an annotated type; True for types that are not plain."""
    arms = _arms(hint)
    # A constructor that takes nothing but null raises a message of its own.
    return arms == (types.NoneType,) or any(_fits_one(value, arm) for arm in arms)


def _fits_one(value: Any, arm: Any) -> bool:
    origin = typing.get_origin(arm)
    if arm in (bool, str, types.NoneType):
        return isinstance(value, arm)
    if arm in (int, float):
        allowed = int if arm is int else (int, float)
        return isinstance(value, allowed) and not isinstance(value, bool)
    if origin in (list, tuple, Sequence):
        if not isinstance(value, list | tuple):
            return False
        (first, *rest) = typing.get_args(arm)
        if origin is tuple and rest not in ([], [...]):
            return True
        return all(_fits(item, first) for item in value)
    return True


def _described(hint: Any) -> str:
    return " or ".join(_WORDS.get(arm, "a list") for arm in _arms(hint))
