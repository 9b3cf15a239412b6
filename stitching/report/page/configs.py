"""Configurations of many cells, kept and parsed once for each section that differs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from stitching.results.cell import CellRecord

__all__ = ["Configs"]


class Configs:
    """The `config.yaml` of each cell, as places in a pool of sections.

    A sweep of ten thousand cells has a few hundred different sections, and parsing YAML takes
    longer than reading it.

    Attributes:
        texts: The pool: sections as they stand in the files.
        leaves: What each section sets, such as `{"map.alpha": None}`.
        of: For each cell's folder the places of its sections, in the order of its file.
    """

    def __init__(self, cells: Sequence[CellRecord]) -> None:
        self.texts: list[str] = []
        self.leaves: list[dict[str, object]] = []
        self.of: dict[Path, tuple[int, ...]] = {}
        self._places: dict[str, int] = {}
        known: dict[tuple[str, ...], tuple[int, ...]] = {}
        for cell in cells:
            blocks = cell.blocks
            if blocks not in known:
                known[blocks] = tuple([self._place(block) for block in blocks])
            self.of[cell.path] = known[blocks]

    def _place(self, section: str) -> int:
        if section not in self._places:
            self._places[section] = len(self.texts)
            self.texts.append(section)
            self.leaves.append(_leaves(section))
        return self._places[section]

    def settings(self, cell: CellRecord) -> dict[str, object]:
        """Return all that a cell's configuration sets, by dotted names; empty without a file."""
        return {
            name: value
            for place in self.of.get(cell.path, ())
            for name, value in self.leaves[place].items()
        }

    def common(self) -> list[int]:
        """Return the sections that most cells have, one for each beginning."""
        counts = Counter(chain.from_iterable(self.of.values()))
        found: dict[str, int] = {}
        for place, _ in counts.most_common():
            found.setdefault(self.texts[place].partition(":")[0], place)
        return sorted(found.values())

    def differing(self, cells: Sequence[CellRecord]) -> set[str]:
        """Return names of settings in which these cells differ."""
        sets = {self.of.get(cell.path, ()) for cell in cells}
        shared = set[int].intersection(*(set(places) for places in sets)) if sets else set()
        parts: list[Mapping[str, object]] = []
        for places in sets:
            own = [place for place in places if place not in shared]
            parts.append({k: v for place in own for k, v in self.leaves[place].items()})
        names = {name for part in parts for name in part}
        return {name for name in names if len({repr(part.get(name)) for part in parts}) > 1}


def _leaves(section: str) -> dict[str, object]:
    """Return what a section sets; nothing where it is no mapping: its text is shown anyway."""
    import yaml

    try:
        found = yaml.load(section, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return {}
    return dict(_flat(found)) if isinstance(found, dict) else {}


def _flat(node: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in node.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{name}.")
        elif isinstance(value, (str, int, bool)) or value is None:
            yield name, value
        else:  # a list, a date, or a number that JSON may not know
            yield name, json.dumps(value, ensure_ascii=False, default=str)
