"""The blocks of `config.yaml`, one for each top-level key, parsed one by one.

To parse ten thousand files of YAML takes a minute. Those of one sweep consist of the same few
blocks, so each distinct block is parsed once.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

# In a block mapping a line that starts with a letter starts the next key.
_NEXT_KEY = re.compile(r"\n(?=[A-Za-z_])")


def read_blocks(path: Path) -> tuple[str, ...]:
    """Return the text of a file of settings in blocks that can be parsed one by one.

    Returns:
        One block for each top-level key; the whole text where blocks may depend on each other;
        nothing where there is no file.
    """
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        return ()
    if "&" in text or "*" in text:  # an anchor may be used in another block
        return (text,)
    return tuple(map(sys.intern, _NEXT_KEY.split(text.removesuffix("\n"))))


def merged(blocks: tuple[str, ...]) -> dict[str, Any]:
    """Return settings of all blocks; what lies below the top is shared, and never changed."""
    return {key: value for block in blocks for key, value in _parsed(block).items()}


@lru_cache(maxsize=8192)
def settings_of(block: str) -> dict[str, Any]:
    """Return the settings in a block by dotted names; shared, and never changed."""
    return dict(_flat(_parsed(block)))


@lru_cache(maxsize=8192)  # blocks of a large sweep: two for each model, few others
def _parsed(block: str) -> dict[str, Any]:
    """Return the content of a block; empty if it is no mapping, or no YAML."""
    import yaml

    try:
        found = yaml.load(block, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _flat(node: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
