"""Configurations of cells, and which settings a sweep went over besides its models.

To parse ten thousand files of YAML takes a minute. Those of one sweep consist of the same few
blocks, one for each top-level key, so each distinct block is parsed once.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from stitching.results.cell import CellRecord

__all__ = ["merged", "read_blocks", "seeds_of", "swept_setting"]

#: Parts of a configuration that differ between the cells of any grid, or change no result.
_ROLES = ("encoder", "decoder", "tracker", "cache", "device", "batch_size")

# In a block mapping a line that starts with a letter starts the next key.
_NEXT_KEY = re.compile(r"\n(?=[A-Za-z_])")


def read_blocks(path: Path) -> tuple[str, ...]:
    """Return the text of a file of settings in pieces that can be parsed one by one.

    Returns:
        One piece for each top-level key; the whole text where pieces may depend on each other;
        nothing where there is no file.
    """
    try:
        with open(path, "rb") as file:
            text = file.read().decode()
    except FileNotFoundError:
        return ()
    if "&" in text or "*" in text:  # an anchor may be used in another block
        return (text,)
    return tuple(map(sys.intern, _NEXT_KEY.split(text.removesuffix("\n"))))


def merged(blocks: tuple[str, ...]) -> dict[str, Any]:
    """Return settings of all blocks; what lies below the top is shared, and never changed."""
    return {key: value for block in blocks for key, value in _parsed(block).items()}


@lru_cache(maxsize=8192)  # blocks of a large sweep: two for each model, few others
def _parsed(block: str) -> dict[str, Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[str, Any] = yaml.load(block, loader) or {}
    return found


@lru_cache(maxsize=8192)
def _flat_block(block: str) -> dict[str, Any]:
    return dict(_flat(_parsed(block)))


@lru_cache(maxsize=8192)
def _seeds(block: str) -> dict[str, object]:
    flat = _flat_block(block)
    return {key: value for key, value in flat.items() if key.rpartition(".")[2] == "seed"}


def swept_setting(folder: Path, frame: pd.DataFrame) -> tuple[str, list[float]] | None:
    """Return the one numeric setting in which cells differ, and its value in every cell.

    Args:
        folder: Of the sweep.
        frame: Its cells, with the column `folder`.

    Returns:
        The setting's name as on the command line, such as `data.n_train`, and values in the
        frame's order; None where there is no such setting, or more than one.
    """
    cells = [read_blocks(folder / name / "config.yaml") for name in frame["folder"]]
    if not all(cells):
        return None
    same = set(cells[0]).intersection(*cells[1:])
    settings = [
        {k: v for block in blocks if block not in same for k, v in _flat_block(block).items()}
        for blocks in cells
    ]
    keys = {key for found in settings for key in found}
    differing = [key for key in keys if len({str(found.get(key)) for found in settings}) > 1]
    if len(differing) != 1:
        return None
    values = [found.get(differing[0]) for found in settings]
    numbers = [float(v) for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    return (differing[0], numbers) if len(numbers) == len(values) else None


def seeds_of(cell: CellRecord) -> dict[str, object]:
    """Return the seeds of a cell by the names of their settings, such as `data.seed`."""
    found: dict[str, object] = {"seed": cell.values.get("seed")}
    for block in cell.blocks:
        found |= _seeds(block)
    return found


def _flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        name = f"{prefix}{key}"
        if not prefix and key in _ROLES:
            continue
        if isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        else:
            yield name, value
