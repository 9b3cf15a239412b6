"""Suggestions in error messages: ", did you mean NAME?"."""

from collections.abc import Iterable
from difflib import get_close_matches


def closest(wanted: str, known: Iterable[str]) -> str | None:
    """Return the known name most similar to `wanted`, whatever its case; None if none is."""
    names = {name.casefold(): name for name in known}
    found = get_close_matches(wanted.casefold(), names, n=1, cutoff=0.55)
    return names[found[0]] if found else None


def nearest(wanted: str, known: Iterable[str], prefix: str = "") -> str:
    """Return ", did you mean NAME?" for a message; empty if no name is close.

    Args:
        wanted: The unknown name.
        known: All known names.
        prefix: Text before the name, such as `map.`.
    """
    found = closest(wanted, known)
    return f", did you mean {prefix}{found}?" if found else ""


def nearest_key(wanted: str, known: Iterable[str]) -> str:
    """Return ", did you mean KEY?" for a key with dots.

    Preferred are keys with the same end, then similar ones beside it, then similar ones anywhere.
    """
    keys = list(known)
    parent, _, leaf = wanted.rpartition(".")
    same = [key for key in keys if key.rpartition(".")[2] == leaf]
    beside = [key for key in keys if key.rpartition(".")[0] == parent]
    close = same[0] if same else closest(wanted, beside) or closest(wanted, keys)
    leaves = {key.rpartition(".")[2]: key for key in reversed(keys)}
    by_leaf = closest(leaf, leaves)
    found = close or (leaves[by_leaf] if by_leaf else None)
    return f", did you mean {found}?" if found else ""
