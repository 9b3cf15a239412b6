"""Folders of sweeps: which folders in them are cells, and which cells belong to the last start.

Measures and numpy are not needed for this, so looking at a sweep costs little.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from stitching.records.plan import Job, SweepPlan, read_sweep

# ENCODER-to-DECODER_JOBNUM
_CELL_NAME = re.compile(r"(?P<encoder>.+?)-to-(?P<decoder>.+?)(?:_\d+)?")


class InFolder(Protocol):
    """A cell in the folder of a sweep."""

    @property
    def path(self) -> Path:
        """Its folder."""

    @property
    def sweep(self) -> object:
        """Id of the start of a sweep that wrote it."""

    @property
    def state(self) -> str:
        """Its state; "done" where it has finished."""

    @property
    def written(self) -> float:
        """When it was written last, in ns."""


C = TypeVar("C", bound=InFolder)


def models_of(name: str) -> tuple[str, str]:
    """Return encoder and decoder in the name of a cell's folder; "" twice for another name."""
    found = _CELL_NAME.fullmatch(name)
    return (found["encoder"], found["decoder"]) if found else ("", "")


def job_number(name: str) -> float:
    """Return the number of a job at the end of its folder's name; infinity without a number."""
    number = name.rpartition("_")[2]
    return int(number) if number.isdecimal() else math.inf


def is_job(name: str) -> bool:
    """Return whether a folder's name is ENCODER-to-DECODER_NUMBER, as sweeps name their cells."""
    return any(models_of(name)) and job_number(name) < math.inf


def cell_folders(folder: Path) -> list[Path]:
    """Return the folders of cells in the order of their jobs; a cell's folder gives itself."""

    def is_cell(path: str) -> bool:
        names = ("status.json", "metrics.json")
        return any(os.path.isfile(os.path.join(path, name)) for name in names)

    if is_cell(str(folder)):
        return [folder]
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if is_cell(entry.path)]
    return [folder / name for name in sorted(names, key=lambda x: (job_number(x), x))]


def mtime_ns(path: Path | str) -> int:
    """Return when a file was last written, in ns; 0 if it has been removed meanwhile."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def no_cells(folder: Path) -> ValueError:
    """Return the error of a folder without cells, which names sweeps below it."""
    below = sorted({str(path.parent.parent) for path in folder.glob("*/*/status.json")})
    hint = f"give one of its sweeps, {', '.join(below)}" if below else "give that of a sweep"
    return ValueError(f"no cells in the folder {folder}: {hint}")


def read_plan(folder: Path) -> tuple[SweepPlan | None, list[str]]:
    """Return the contents of `sweep.json`, and a note if the file is damaged.

    Raises:
        FileNotFoundError: No such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"not a folder: {folder}")
    try:
        return read_sweep(folder), []
    except ValueError as error:
        return None, [str(error)]


def of_last_start(plan: SweepPlan | None, cells: Sequence[C]) -> tuple[object, list[C], list[C]]:
    """Return the id of the last start of a sweep, its cells, and all others.

    Args:
        plan: Of that start; without a plan the last start is the one that was written to last.
        cells: All cells in the folder, at least one if there is no plan.
    """
    last = plan.id if plan else max(cells, key=lambda cell: cell.written).sweep
    ours = [plan.owns(x.sweep, x.state) if plan else x.sweep == last for x in cells]
    own = [cell for cell, yes in zip(cells, ours, strict=True) if yes]
    others = [cell for cell, yes in zip(cells, ours, strict=True) if not yes]
    return last, own, others


def by_job(jobs: Sequence[Job], cells: Sequence[C]) -> Iterator[tuple[Job | None, C | None]]:
    """Yield planned jobs, each with its cell or None, and then each other cell without a job.

    The plan names models by their options; a setting such as `decoder.name` gives the folder
    another name. Then the number at its end identifies the job.
    """
    left = {cell.path.name: cell for cell in cells}
    numbered = {job_number(name): name for name in left}
    names = [
        job.folder if job.folder in left else numbered.get(job.number, job.folder) for job in jobs
    ]
    for job, name in zip(jobs, names, strict=True):
        yield job, left.pop(name, None)
    for cell in left.values():
        yield None, cell
