"""A sweep as a whole: its cells, whether it still runs, and how long that may take.

It runs while its starting process lives on the machine that looks, or while a cell is alive. It
is finished when it says so, or when no planned cell is left to do. Of a sweep that was started on
another machine and shows no sign of life nothing is known: its jobs may wait in a queue.
Otherwise it is dead.
"""

import shlex
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from stitching.records.plan import Job, folders_of, job_number, read_json, read_sweep
from stitching.records.plan import SweepPlan as Manifest
from stitching.status.cells import Cell, Entry, moment
from stitching.status.machine import Machine

SweepState = Literal["running", "finished", "interrupted", "dead", "unknown"]


@dataclass(frozen=True, eq=False)
class Sweep:
    """A sweep, as its files tell at one moment.

    Attributes:
        folder: Of the sweep, or of a single cell.
        name: Its id; of a sweep that has none the folder's name.
        manifest: What the starting process wrote down; None where there is nothing.
        cells: Planned cells, in order; of a sweep that does not say what it plans, those that
            there are.
        machine: That looked, and when.
        planned: Number of planned cells; None where nobody knows.
        notes: What else a reader should know.
    """

    folder: Path
    name: str
    manifest: Manifest | None
    cells: Sequence[Cell]
    machine: Machine
    planned: int | None
    notes: Sequence[str] = field(default_factory=tuple)

    @cached_property
    def counts(self) -> dict[str, int]:
        """Number of cells by state, in the order done, reused, failed, ...; reused ones are done.

        Those planned are all of them but reused ones.
        """
        found: Counter[str] = Counter(cell.state for cell in self.cells)
        states = ("failed", "interrupted", "running", "dead", "missing")
        reused = sum(cell.reused for cell in self.cells if cell.state == "done")
        return {"done": found["done"], "reused": reused} | {s: found[s] for s in states}

    @property
    def complete(self) -> bool:
        """Whether every planned cell is done."""
        return self.counts["done"] == len(self.cells) > 0 and self.state == "finished"

    @cached_property
    def state(self) -> SweepState:
        """What can be said of the sweep."""
        if self.counts["running"]:
            return "running"
        left = sum(self.counts[state] for state in ("missing", "dead", "interrupted"))
        if self.counts["interrupted"] and self.single:
            return "interrupted"
        if self.manifest is None or self.single:
            return "dead" if left else "finished"
        if self.manifest.finished is not None:
            return "finished"
        if self.manifest.interrupted is not None:
            return "interrupted" if left else "finished"
        here, pid = self.host == self.machine.host, self.manifest.pid
        if here and pid is not None and self.machine.runs(pid, self._begun):
            return "running"
        if not left and self.planned is not None:
            return "finished"
        return "dead" if here or not self.host else "unknown"

    @property
    def single(self) -> bool:
        """Whether this is one cell looked at by itself."""
        return len(self.cells) == 1 and self.cells[0].folder == "."

    @property
    def host(self) -> str:
        """Machine that it was started on; "" where nothing tells."""
        return self.manifest.host if self.manifest else ""

    @property
    def started(self) -> float | None:
        """Unix time in s at which it was started, or else its first cell."""
        cells = (cell.started for cell in self.cells if cell.started is not None)
        return self._begun if self._begun is not None else min(cells, default=None)

    @property
    def ended(self) -> float | None:
        """Unix time in s of its end; of one that died, of its last sign of life."""
        if self.state == "running":
            return None
        finished = moment(self.manifest.finished) if self.manifest else None
        return finished if finished is not None else max(self._signs(), default=None)

    @property
    def elapsed_s(self) -> float | None:
        """Seconds from its start until now, or until its end."""
        end = self.machine.now if self.state == "running" else self.ended
        return None if self.started is None or end is None else max(end - self.started, 0.0)

    @property
    def rate_per_h(self) -> float | None:
        """Cells that were computed per hour; None before the first one is."""
        n, elapsed = len(self._durations), self.elapsed_s
        return 3600 * n / elapsed if n and elapsed else None

    @property
    def left_s(self) -> float | None:
        """About how many seconds are left; None where nothing tells.

        Every cell is taken to last as long as the median of those computed, and as many to run
        at once as do now.
        """
        if self.state != "running" or self.planned is None or not self._durations:
            return None
        typical = statistics.median(self._durations)
        running = [cell for cell in self.cells if cell.state == "running"]
        spent = [self.machine.now - (cell.started or self.machine.now) for cell in running]
        work = typical * self.counts["missing"] + sum(max(typical - s, 0.0) for s in spent)
        return work / max(len(running), 1)

    def commands(self) -> list[str]:
        """Return commands that go on with it, any of which will do; none if nothing is to do."""
        if self.complete or self.state == "running" or self.single:
            return []
        folder = str(self.folder.absolute())
        commands = [f"make resume DIR={shlex.quote(folder)}"]
        if self.manifest is not None and self.manifest.command:
            given = self.manifest.command
            words = [word for word in given if not word.startswith("hydra.sweep.dir=")]
            python = ["python"] if given[0].endswith(".py") else []
            line = shlex.join([*python, *words, f"hydra.sweep.dir={folder}"])
            place = self.manifest.cwd
            commands.append(f"cd {shlex.quote(place)} && {line}" if place else line)
        return commands

    @cached_property
    def _durations(self) -> list[float]:
        return [cell.seconds for cell in self.cells if cell.seconds is not None]

    @property
    def _begun(self) -> float | None:
        return moment(self.manifest.started) if self.manifest and not self.single else None

    def _signs(self) -> Iterator[float]:
        """Yield the moments at which cells showed that they lived."""
        for cell in self.cells:
            yield from (t for t in (cell.started, cell.finished) if t is not None)
            if cell.age_s is not None:
                yield self.machine.now - cell.age_s


def look(folder: Path, machine: Machine | None = None) -> Sweep:
    """Read what a sweep is at.

    Args:
        folder: Of the sweep, or of one of its cells.
        machine: Where and when; by default here and now.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No cell in it, and no plan of cells.
    """
    machine = machine or Machine()
    if not folder.is_dir():
        raise FileNotFoundError(f"not a folder: {folder}")
    manifest, notes = _manifest(folder)
    if manifest is None and (folder / "status.json").exists():
        return _single(folder, machine)
    planned = manifest.jobs if manifest else None
    if planned is None:
        entries = _found(folder)
    else:
        assert manifest is not None
        places = folders_of(planned, _of_start(folder, planned, manifest.id))
        entries = [
            Entry.read(folder, place, (job.encoder, job.decoder))
            for job, place in zip(planned, places, strict=True)
        ]
    if not entries and manifest is None:
        below = sorted({str(path.parent.parent) for path in folder.glob("*/*/status.json")})
        hint = f"give one of its sweeps, {', '.join(below)}" if below else "give that of a sweep"
        raise ValueError(f"no cells in the folder {folder}: {hint}")
    sweep = manifest.id if manifest else _last_sweep(entries)
    cells, stale = [], 0
    overtaken = _overtaken(entries)
    for entry in entries:
        of, state = entry.status.get("sweep", sweep), str(entry.status.get("state"))
        other = not manifest.owns(of, state) if manifest else of != sweep
        stale += other
        if not other:
            cells.append(entry.cell(machine, left=entry.folder in overtaken))
        elif planned is not None:
            cells.append(entry.missing("has not begun; what lies there is of an earlier start"))
    if stale:
        notes.append(f"cells of an earlier start of a sweep in this folder: {stale}")
    if planned is None and manifest:
        notes.append("the sweeper decides as it goes: the number of cells to come is not known")
    count = len(planned) if planned is not None else None
    name = str(sweep or folder.absolute().name)
    return Sweep(folder, name, manifest, cells, machine, count, notes)


def _single(folder: Path, machine: Machine) -> Sweep:
    """Read one cell by itself, with what its sweep says of it."""
    name = folder.absolute().name
    above, notes = _manifest(folder.absolute().parent)
    jobs = {job.folder: (job.encoder, job.decoder) for job in (above and above.jobs) or ()}
    entry = Entry.read(folder, ".", jobs.get(name))
    sweep = str(entry.status.get("sweep") or name)
    manifest = above if above and above.id == sweep else None
    return Sweep(folder, sweep, manifest, [entry.cell(machine)], machine, 1, notes)


def _manifest(folder: Path) -> tuple[Manifest | None, list[str]]:
    """Return what the starting process wrote down, and a note where it cannot be read."""
    try:
        return read_sweep(folder), []
    except ValueError as error:
        return None, [str(error)]


def _of_start(folder: Path, planned: Sequence[Job], sweep: str) -> set[str]:
    """Return the folders that are planned, and others whose cells are of this start."""
    names = {path.name for path in folder.iterdir() if path.is_dir()}
    expected = {job.folder for job in planned}
    return (names & expected) | {
        name
        for name in names - expected
        if read_json(folder / name / "status.json").get("sweep") == sweep
    }


def _found(folder: Path) -> list[Entry]:
    """Return the cells that lie in a folder, in order of their job numbers."""

    def order(name: str) -> tuple[float, str]:
        number = job_number(name)
        return (float("inf") if number is None else number, name)

    names = sorted((path.name for path in folder.iterdir() if path.is_dir()), key=order)
    entries = (Entry.read(folder, name) for name in names)
    return [entry for entry in entries if entry.status]


def _last_sweep(entries: Sequence[Entry]) -> object:
    """Return the id of the sweep that wrote a status last."""

    def written(entry: Entry) -> float:
        try:
            return (entry.path / "status.json").stat().st_mtime
        except OSError:
            return 0.0

    ids = {entry.status.get("sweep") for entry in entries}
    return max(entries, key=written).status.get("sweep") if len(ids) > 1 else next(iter(ids), None)


def _overtaken(entries: Sequence[Entry]) -> set[str]:
    """Return the running cells whose process has begun another cell since: it runs one a time."""
    last: dict[tuple[str, int], tuple[float, str]] = {}
    running = []
    for entry in entries:
        process, started = entry.process(), moment(entry.status.get("started"))
        if process is None or started is None:
            continue
        last[process] = max(last.get(process, (0.0, "")), (started, entry.folder))
        if entry.status.get("state") == "running":
            running.append((process, started, entry.folder))
    return {folder for process, started, folder in running if last[process][0] > started}
