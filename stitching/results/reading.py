"""Read the files of cells: what they hold, and why some of them do not count.

A finished cell is whole if its JSON files can be parsed, its file of draws has its end, and all
files that `status.json` names exist. Their hashes are not computed: with half a megabyte per
cell, ten thousand cells would take a minute. Who copies a cell checks them.
"""

from __future__ import annotations

import math
import os
import re
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stitching.records.plan import Job, SweepPlan, folders_of, job_number, read_sweep
from stitching.results.cell import BASELINES, CellRecord, family
from stitching.results.values import Packer, decoded

__all__ = ["BASELINES", "CellRecord", "family", "listed", "read_cells"]

# ENCODER-to-DECODER_JOBNUM
_CELL_NAME = re.compile(r"(?P<encoder>.+?)-to-(?P<decoder>.+?)(?:_(?P<number>\d+))?")

#: From so many cells on, several processes read them: to start these takes half a second, to
#: read a thousand cells as long.
_MANY, _PROCESSES, _CHUNK = 3000, 4, 250

#: Names that a line lists at most.
_LISTED = 20


def read_cells(folder: Path) -> tuple[list[CellRecord], list[str]]:
    """Read the cells of a folder, in order of their job numbers.

    Args:
        folder: Of a sweep, or of a single cell.

    Returns:
        The cells of the last start of a sweep, and what was left out, one line each. Where
        `sweep.json` tells which start that is and what it planned, planned cells that left no
        files are among them, as "missing"; else it is the one that was written to last.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No cell in it, and none planned.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"not a folder: {folder}")
    sweep, notes = None, []
    try:
        sweep = read_sweep(folder)
    except ValueError as error:
        notes = [f"{error}: cells that never started have no names here"]
    cells = _read_all(_cell_folders(folder, planned=bool(sweep and sweep.jobs)))
    last = sweep.id if sweep else max(cells, key=lambda cell: cell.written).sweep
    ours = sweep.owns if sweep else lambda of, _: of == last
    stale = [cell for cell in cells if not ours(cell.sweep, cell.state)]
    if stale:
        names = listed([cell.path.name for cell in stale])
        notes.append(f"left out, written by another sweep than the last one ({last}): {names}")
    cells = [cell for cell in cells if ours(cell.sweep, cell.state)]
    if sweep and sweep.jobs:
        cells = _planned(folder, sweep, cells, stale)
    if not cells:
        raise ValueError("\n  ".join([f"no cells of the last sweep in {folder}", *notes]))
    return cells, notes


def listed(names: Sequence[str]) -> str:
    """Return names separated by commas, of very many the first ones and how many more."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _planned(
    folder: Path, sweep: SweepPlan, cells: Sequence[CellRecord], stale: Sequence[CellRecord]
) -> list[CellRecord]:
    """Return the cells of a plan in its order, also those that left no files, then all others."""
    by_name = {cell.path.name: cell for cell in cells}
    others = {cell.path.name: cell for cell in stale}
    jobs = sorted(sweep.jobs or ())

    def planned(job: Job, name: str) -> CellRecord:
        found = by_name.pop(name, None)
        if found is None:
            reason = "it was not started"
            if name in others:
                reason += f" (its folder holds a cell of the sweep {others[name].sweep})"
            values = Packer().pack({"folder": name})
            path = folder / job.folder
            found = CellRecord(
                path, job.encoder, job.decoder, "missing", reason, sweep.id, 0, values
            )
        names = found.encoder or job.encoder, found.decoder or job.decoder
        return replace(
            found, encoder=names[0], decoder=names[1], job=job.number, overrides=job.overrides
        )

    places = folders_of(jobs, set(by_name))
    return [*map(planned, jobs, places), *by_name.values()]


def _cell_folders(folder: Path, *, planned: bool) -> list[Path]:
    def is_cell(path: str) -> bool:
        names = ("status.json", "metrics.json")
        return any(os.path.isfile(os.path.join(path, name)) for name in names)

    def order(path: Path) -> tuple[float, str]:
        number = job_number(path.name)
        return (math.inf if number is None else number), path.name

    if is_cell(str(folder)):
        return [folder]
    with os.scandir(folder) as entries:
        found = [Path(folder, entry.name) for entry in entries if is_cell(entry.path)]
    if not found and not planned:
        below = sorted({str(path.parent.parent) for path in folder.glob("*/*/status.json")})
        hint = f"give one of its sweeps, {', '.join(below)}" if below else "give that of a sweep"
        raise ValueError(f"no cells in the folder {folder}: {hint}")
    return sorted(found, key=order)


def _read_all(paths: Sequence[Path]) -> list[CellRecord]:
    if len(paths) < _MANY:
        return _read_part(paths)
    from joblib import cpu_count
    from joblib.externals.loky import get_reusable_executor

    parts = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    others = max(1, min(_PROCESSES, cpu_count()) - 1)
    waiting = [get_reusable_executor(others).submit(_read_part, part) for part in reversed(parts)]
    # This process reads from the other end, while the others start and until all is taken.
    found = [
        _read_part(part) if future.cancel() else future.result()
        for part, future in zip(parts, reversed(waiting), strict=True)
    ]
    return [cell for cells in found for cell in cells]


def _read_part(paths: Sequence[Path]) -> list[CellRecord]:
    packer = Packer()
    return [_read_cell(path, packer) for path in paths]


def _read_cell(path: Path, packer: Packer) -> CellRecord:
    folder, name = str(path), _CELL_NAME.fullmatch(path.name)
    values: dict[str, Any] = {}
    status: dict[str, Any] = {}
    state, reason = "done", ""
    for file, target in (
        ("metrics.json", values),
        ("resources.json", values),
        ("status.json", status),
    ):
        try:
            with open(os.path.join(folder, file), "rb") as opened:
                target.update(decoded(opened.read()))
        except (OSError, ValueError, TypeError) as error:
            state, reason = "invalid", f"{file} cannot be read ({type(error).__name__}: {error})"
    names = os.listdir(folder)
    if status.get("state") == "failed":
        state, reason = "failed", f"{status.get('error', 'unknown')} (see {path / 'error.txt'})"
    elif status.get("state") == "interrupted":
        state, reason = "unfinished", "it was interrupted"
    elif status and status.get("state") != "done":
        state, reason = "unfinished", f"its status is {status.get('state')!r}"
    elif state == "done":
        reason = _damage(path, names, values, status)
        state = "invalid" if reason else "done"
    done = status.get("state") == "done"
    return CellRecord(
        path=path,
        encoder=str(values.get("encoder", name["encoder"] if name else "")),
        decoder=str(values.get("decoder", name["decoder"] if name else "")),
        state=state,
        reason=reason,
        sweep=status.get("sweep", values.get("sweep")),
        written=max(_mtime(os.path.join(folder, x)) for x in names if x.endswith(".json")),
        values=packer.pack(values | {"folder": path.name}),
        key=str(status.get("key") or "") if done else "",
        reused=str(status.get("reused") or ""),
    )


def _mtime(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:  # a file of progress goes when its cell ends
        return 0


def _damage(
    path: Path, names: Sequence[str], values: dict[str, Any], status: dict[str, Any]
) -> str:
    """Return why a cell that says it is done is none; "" for a whole one."""
    if not {"encoder", "decoder"} <= values.keys():
        return "metrics.json does not name encoder and decoder"
    files = status.get("files")
    for file, sha256 in files.items() if isinstance(files, dict) else ():
        if sha256 is not None and file not in names and not (path / file).exists():
            return f"{file} is gone"
    # Cells of before there were any draws have none.
    if "resamples.npz" in names and not zipfile.is_zipfile(path / "resamples.npz"):
        return "resamples.npz cannot be read"
    return ""
