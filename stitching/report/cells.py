"""Read the files of cells: which of them count, what they hold, and why others do not."""

from __future__ import annotations

import json
import logging
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stitching.report.measures import MEASURES

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

_SETTING_KEYS = ("data", "map", "alpha", "n_train", "n_test", "seed", "folder", "sweep")

# What describes a run and not its result: repeats of a cell may differ in it.
_RUN_KEYS = ("folder", "sweep", "time/", "memory/", "count/")

# ENCODER-to-DECODER_JOBNUM
_CELL_NAME = re.compile(r"(?P<encoder>.+?)-to-(?P<decoder>.+?)(?:_(?P<number>\d+))?")


@dataclass
class Grid:
    """The cells of a sweep.

    Attributes:
        folder: Where they lie.
        frame: One row per finished cell: `encoder`, `decoder`, measures, the rest. Numbers are
            raw; one that is NaN or infinite reads "invalid".
        encoders: In order of appearance, failed cells included.
        decoders: Likewise.
        paths: Folder of each pair that has finished, the first of repeats.
        absent: Why a pair has no row: "failed", "unfinished", "invalid" or "missing".
        notes: Whatever was left out, and failures, one line each.
    """

    folder: Path
    frame: pd.DataFrame
    encoders: list[str] = field(default_factory=list)
    decoders: list[str] = field(default_factory=list)
    paths: dict[tuple[str, str], Path] = field(default_factory=dict)
    absent: dict[tuple[str, str], str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Cell:
    path: Path
    encoder: str
    decoder: str
    state: str
    reason: str
    sweep: object
    written: float
    values: dict[str, object]


def collect(folder: str | Path) -> pd.DataFrame:
    """Return one row per finished cell of a sweep; log what is left out.

    Args:
        folder: As `read_grid`.

    Raises:
        FileNotFoundError, ValueError: As `read_grid`.
    """
    grid = read_grid(folder)
    for note in grid.notes:
        log.warning("%s", note)
    return grid.frame


def read_grid(folder: str | Path) -> Grid:
    """Read the cells of a sweep.

    A cell counts as finished if its `status.json` says so and its files are whole. Where the
    folder holds cells of several sweeps, the one written to last counts.

    Args:
        folder: Of the sweep, or of a single cell.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No cell in it, or none that is finished.
    """
    import pandas as pd

    folder = Path(folder)
    folder = folder if folder.name else folder.resolve()  # "." has no name
    if not folder.is_dir():
        raise FileNotFoundError(f"not a folder: {folder}")
    grid = Grid(folder, pd.DataFrame())
    done = []
    for cell in _of_last_sweep([_read_cell(path) for path in _cell_folders(folder)], grid):
        if cell.encoder and cell.encoder not in grid.encoders:
            grid.encoders.append(cell.encoder)
        if cell.decoder and cell.decoder not in grid.decoders:
            grid.decoders.append(cell.decoder)
        if cell.state == "done":
            done.append(cell)
        else:
            grid.absent[cell.encoder, cell.decoder] = cell.state
            grid.notes.append(f"{cell.path.name} {cell.state}: {cell.reason}")
    if not done:
        raise ValueError("\n  ".join([f"no finished cell in {folder}", *grid.notes]))
    _note_pairs(done, grid)
    done.sort(key=lambda c: (grid.encoders.index(c.encoder), grid.decoders.index(c.decoder)))
    rows = [{key: _visible(value) for key, value in cell.values.items()} for cell in done]
    present = {key for row in rows for key in row}
    first = ("encoder", "decoder", *(measure.key for measure in MEASURES), *_SETTING_KEYS)
    order = [key for key in first if key in present]
    order += sorted(present.difference(order))
    grid.frame = pd.DataFrame(rows, columns=order)
    return grid


def _cell_folders(folder: Path) -> list[Path]:
    """Return the folders of cells in order of their job numbers."""

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


def _read_cell(path: Path) -> _Cell:
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
    return _Cell(
        path=path,
        encoder=str(values.get("encoder", name["encoder"] if name else "")),
        decoder=str(values.get("decoder", name["decoder"] if name else "")),
        state=state,
        reason=reason,
        sweep=status.get("sweep", values.get("sweep")),
        written=max(file.stat().st_mtime_ns for file in path.glob("*.json")),
        values=values | {"folder": path.name},
    )


def _of_last_sweep(cells: list[_Cell], grid: Grid) -> list[_Cell]:
    """Leave out the cells of earlier sweeps into the same folder."""
    last = max(cells, key=lambda cell: cell.written).sweep
    stale = [cell.path.name for cell in cells if cell.sweep != last]
    if stale:
        grid.notes.append(
            f"left out, written by another sweep than the last one ({last}): {', '.join(stale)}"
        )
    return [cell for cell in cells if cell.sweep == last]


def _note_pairs(done: list[_Cell], grid: Grid) -> None:
    """Enter pairs of models without a finished cell, and those with more than one."""
    folders: dict[tuple[str, str], list[Path]] = {}
    for cell in done:
        folders.setdefault((cell.encoder, cell.decoder), []).append(cell.path)
    for pair in [(e, d) for e in grid.encoders for d in grid.decoders]:
        if pair in folders:
            grid.paths[pair] = folders[pair][0]
            grid.absent.pop(pair, None)
            if len(folders[pair]) > 1:
                names = ", ".join(path.name for path in folders[pair])
                grid.notes.append(f"repeats, of which tables show one: {names}")
        elif pair not in grid.absent:
            grid.absent[pair] = "missing"
            grid.notes.append(f"{'-to-'.join(pair)} missing: it was not started")


def _visible(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return "invalid"  # NaN would be an empty field, like what was not measured
    return value


def pivot(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    """Return one measure as a table, encoders by decoders in order of appearance.

    Identical repeats of a cell count once; nothing is averaged.

    Raises:
        KeyError: No such column.
        ValueError: Cells of one encoder and decoder differ in their results.
    """
    if key not in frame:
        raise KeyError(f"no column {key!r} in the grid")
    pair = ["encoder", "decoder"]
    results = [column for column in frame if not str(column).startswith(_RUN_KEYS)]
    for names, group in frame[frame.duplicated(pair, keep=False)].groupby(pair, sort=False):
        counts = group[results].astype(str).nunique(dropna=False).to_dict()
        differ = [str(column) for column, count in counts.items() if count > 1]
        if differ:
            raise ValueError(
                f"{len(group)} cells for {' to '.join(map(str, names))} differ in "
                f"{', '.join(differ[:5])}: {', '.join(group['folder'].astype(str))}; sweep one "
                "setting per folder"
            )
    once = frame.drop_duplicates(pair)
    table = once.pivot(index="encoder", columns="decoder", values=key)
    return table.reindex(index=once["encoder"].unique(), columns=once["decoder"].unique())
