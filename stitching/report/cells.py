"""Read the files of cells: what they hold, and why some of them do not count."""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile

from stitching.report.differences import Numbers, Quantity

__all__ = ["BASELINES", "Cell", "family", "read_cells"]

#: Models that are no trained generative models: a floor or a ceiling of a table.
BASELINES = ("random", "mean", "pixels", "pca", "untrained")

# ENCODER-to-DECODER_JOBNUM
_CELL_NAME = re.compile(r"(?P<encoder>.+?)-to-(?P<decoder>.+?)(?:_(?P<number>\d+))?")

_PROBED = ("probe/", "factor/", "class/")


def family(name: str) -> str:
    """Return the kind of a model from its name: `nf` of `nf-celeba64` and of `nf-5000`."""
    return name.partition("-")[0]


@dataclass(frozen=True, eq=False)
class Cell:
    """One cell, as its files tell.

    Attributes:
        path: Its folder.
        encoder: Name of the model that encodes; "" where nothing tells.
        decoder: Name of the model that decodes.
        state: "done", "failed", "unfinished" or "invalid".
        reason: Why it is not done.
        sweep: Which start of a sweep it belongs to.
        written: When its files were written last, in ns.
        values: Contents of `metrics.json` and `resources.json`.
    """

    path: Path
    encoder: str
    decoder: str
    state: str
    reason: str
    sweep: object
    written: float
    values: Mapping[str, Any]

    @property
    def protocol(self) -> str:
        """Label of the protocol it was measured by; "" in cells that do not say."""
        return str(self.values.get("protocol") or "")

    @property
    def diagonal(self) -> bool:
        """Whether it is a model's own reconstruction."""
        return self.encoder == self.decoder

    @cached_property
    def config(self) -> dict[str, Any]:
        """Contents of `config.yaml`; empty where there is none."""
        import yaml

        path = self.path / "config.yaml"
        if not path.is_file():
            return {}
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        found: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), loader) or {}
        return found

    def number(self, key: str) -> float | None:
        """Return a finite number; None for all else."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        return float(value) if math.isfinite(value) else None

    def interval(self, key: str) -> tuple[float, float] | None:
        """Return the ends of a measure's 95 % interval, as the cell wrote them."""
        low, high = self.number(f"{key}.low"), self.number(f"{key}.high")
        return None if low is None or high is None else (low, high)

    def quantity(self, key: str) -> Quantity:
        """Return a measure with its draws, where the cell kept them."""
        if key not in self._quantities:
            draws = self._draws(key)
            # What probes are asked about differs between ways of choosing it, not only in number.
            asked = self.values.get("protocol/probe_ids") if key.startswith(_PROBED) else None
            ids, n = self.values.get("data/test_ids"), self.values.get("n_test")
            known = draws is not None and ids is not None
            items = (ids, n, asked, len(draws)) if known and draws is not None else None
            self._quantities[key] = Quantity(self.number(key), draws, items)
        return self._quantities[key]

    @cached_property
    def _quantities(self) -> dict[str, Quantity]:
        return {}

    def _draws(self, key: str) -> Numbers | None:
        path = self.path / "resamples.npz"
        if not path.is_file():
            return None
        found = _opened(path, path.stat().st_mtime_ns)
        return found[key].astype(np.float64) if key in found else None


@lru_cache(maxsize=64)  # a grid's: to open a file takes longer than to read 30 measures from it
def _opened(path: Path, written: int) -> NpzFile:
    """Return an open file of draws, which closes when it leaves the cache.

    Args:
        path: The file.
        written: When, in ns: a file that has been replaced is opened again.
    """
    found: NpzFile = np.load(path, allow_pickle=False)
    return found


def read_cells(folder: Path) -> tuple[list[Cell], list[str]]:
    """Read the cells of a folder, in order of their job numbers.

    Args:
        folder: Of a sweep, or of a single cell.

    Returns:
        The cells of the sweep that was written to last, and what was left out, one line each.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No cell in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"not a folder: {folder}")
    cells = [_read_cell(path) for path in _cell_folders(folder)]
    last = max(cells, key=lambda cell: cell.written).sweep
    stale = ", ".join(cell.path.name for cell in cells if cell.sweep != last)
    notes = [f"left out, written by another sweep than the last one ({last}): {stale}"]
    return [cell for cell in cells if cell.sweep == last], notes if stale else []


def _cell_folders(folder: Path) -> list[Path]:
    def is_cell(path: Path) -> bool:
        return (path / "status.json").is_file() or (path / "metrics.json").is_file()

    def order(path: Path) -> tuple[float, str]:
        name = _CELL_NAME.fullmatch(path.name)
        return (int(name["number"]) if name and name["number"] else math.inf, path.name)

    if is_cell(folder):
        return [folder]
    found = [path for path in folder.iterdir() if is_cell(path)]
    if not found:
        below = sorted({str(path.parent.parent) for path in folder.glob("*/*/status.json")})
        hint = f"give one of its sweeps, {', '.join(below)}" if below else "give that of a sweep"
        raise ValueError(f"no cells in the folder {folder}: {hint}")
    return sorted(found, key=order)


def _read_cell(path: Path) -> Cell:
    name = _CELL_NAME.fullmatch(path.name)
    values: dict[str, Any] = {}
    status: dict[str, Any] = {}
    state, reason = "done", ""
    for file, target in (
        ("metrics.json", values),
        ("resources.json", values),
        ("status.json", status),
    ):
        try:
            target.update(json.loads((path / file).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            state, reason = "invalid", f"{file} cannot be read ({type(error).__name__}: {error})"
    if status.get("state") == "failed":
        state, reason = "failed", f"{status.get('error', 'unknown')} (see {path / 'error.txt'})"
    elif status and status.get("state") != "done":
        state, reason = "unfinished", f"its status is {status.get('state')!r}"
    elif state == "done" and not {"encoder", "decoder"} <= values.keys():
        state, reason = "invalid", "metrics.json does not name encoder and decoder"
    elif state == "done" and not _whole(path / "resamples.npz"):
        state, reason = "invalid", "resamples.npz cannot be read"
    return Cell(
        path=path,
        encoder=str(values.get("encoder", name["encoder"] if name else "")),
        decoder=str(values.get("decoder", name["decoder"] if name else "")),
        state=state,
        reason=reason,
        sweep=status.get("sweep", values.get("sweep")),
        written=max(file.stat().st_mtime_ns for file in path.glob("*.json")),
        values=values | {"folder": path.name},
    )


def _whole(path: Path) -> bool:
    """Whether a file of draws can be read; cells of before there were any have none."""
    return not path.exists() or zipfile.is_zipfile(path)
