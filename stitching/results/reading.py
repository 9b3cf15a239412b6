"""Reads the cells of a sweep's folder: their measures, and why some of them do not count.

A finished cell is valid if its JSON files can be parsed, its file of draws is complete, and all
files listed in `status.json` exist. Hashes are not computed: with half a megabyte per cell, ten
thousand cells would take a minute. They are checked where a cell is copied.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stitching.records.plan import Job, SweepPlan
from stitching.results.cell import CellRecord
from stitching.results.folders import (
    by_job,
    cell_folders,
    models_of,
    mtime_ns,
    no_cells,
    of_last_start,
    read_plan,
)
from stitching.results.frame import Packer, decoded

#: From so many cells on, several processes read them: to start these takes half a second, to
#: read a thousand cells as long.
_MANY, _PROCESSES, _CHUNK = 3000, 4, 250

#: Names that a line lists at most.
_LISTED = 20


def read_cells(folder: Path) -> tuple[list[CellRecord], list[str]]:
    """Read the cells of a folder, in the order of their jobs.

    Args:
        folder: Of a sweep, or of a single cell.

    Returns:
        The cells of the last start of a sweep, and what was left out, one line each. Where
        `sweep.json` names that start and its jobs, planned cells without files are among them,
        as "missing"; else it is the start that was written to last.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No cell in it, and none planned.
    """
    plan, notes = read_plan(folder)
    notes = [f"{note}: cells that never started have no names here" for note in notes]
    paths = cell_folders(folder)
    if not paths and not (plan and plan.jobs):
        raise no_cells(folder)
    last, cells, others = of_last_start(plan, _read_all(paths))
    if others:
        names = listed([cell.path.name for cell in others])
        notes.append(f"left out, written by another sweep than the last one ({last}): {names}")
    if plan and plan.jobs:
        cells = _planned(folder, plan, plan.jobs, cells, others)
    if not cells:
        raise ValueError("\n  ".join([f"no cells of the last sweep in {folder}", *notes]))
    return cells, notes


def listed(names: Sequence[str]) -> str:
    """Return names separated by commas, of very many the first ones and how many more."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _planned(
    folder: Path,
    plan: SweepPlan,
    jobs: Sequence[Job],
    cells: Sequence[CellRecord],
    others: Sequence[CellRecord],
) -> list[CellRecord]:
    """Return the cells of a plan in its order, also those without files, then all others."""
    by_name = {cell.path.name: cell for cell in others}

    def complete(job: Job | None, cell: CellRecord | None) -> CellRecord:
        if cell is None:
            assert job is not None
            reason = "it was not started"
            if job.folder in by_name:
                reason += f" (its folder holds a cell of the sweep {by_name[job.folder].sweep})"
            values = {"folder": job.folder}
            cell = CellRecord(folder / job.folder, "", "", "missing", reason, plan.id, 0, values)
        if job is None:
            return cell
        encoder, decoder = cell.encoder or job.encoder, cell.decoder or job.decoder
        return replace(
            cell, encoder=encoder, decoder=decoder, job=job.number, overrides=job.overrides
        )

    return [complete(job, cell) for job, cell in by_job(sorted(jobs), cells)]


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
    folder, (encoder, decoder) = str(path), models_of(path.name)
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
        encoder=str(values.get("encoder", encoder)),
        decoder=str(values.get("decoder", decoder)),
        state=state,
        reason=reason,
        sweep=status.get("sweep", values.get("sweep")),
        written=max(mtime_ns(os.path.join(folder, x)) for x in names if x.endswith(".json")),
        values=packer.pack(values | {"folder": path.name}),
        key=str(status.get("key") or "") if done else "",
        reused=str(status.get("reused") or ""),
    )


def _damage(
    path: Path, names: Sequence[str], values: dict[str, Any], status: dict[str, Any]
) -> str:
    """Return what is wrong with a cell whose status is "done"; "" if nothing is."""
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
