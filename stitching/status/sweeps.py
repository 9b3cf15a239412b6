"""Progress of a sweep: its cells, whether it still runs, and how long that may take.

It is running while its starting process is alive on this machine, or while a cell is alive. It is
finished when `sweep.json` records its end, or when no planned cell is left. If it was started on
another machine and no cell is alive, its state is unknown: jobs may wait in a queue. Otherwise it
is dead.
"""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from stitching.records.plan import SweepPlan
from stitching.results.commands import to_resume
from stitching.results.folders import by_job, cell_folders, no_cells, of_last_start, read_plan
from stitching.status.cells import CellProgress, Entry, Machine, moment

SweepState = Literal["running", "finished", "interrupted", "dead", "unknown"]


@dataclass(frozen=True, eq=False)
class SweepProgress:
    """Progress of a sweep at one moment.

    Attributes:
        folder: Of the sweep, or of a single cell.
        name: Its id; of a sweep that has none the folder's name.
        plan: Contents of `sweep.json`; None without the file.
        cells: Planned cells, in order; without a planned list, those in the folder.
        machine: This machine, and the time.
        planned: Number of planned cells; None if it is not known.
        notes: Other facts, one line each.
    """

    folder: Path
    name: str
    plan: SweepPlan | None
    cells: Sequence[CellProgress]
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
        """The state, by the rules of this module."""
        if self.counts["running"]:
            return "running"
        left = sum(self.counts[state] for state in ("missing", "dead", "interrupted"))
        if self.counts["interrupted"] and self.single:
            return "interrupted"
        if self.plan is None or self.single:
            return "dead" if left else "finished"
        if self.plan.finished is not None:
            return "finished"
        if self.plan.interrupted is not None:
            return "interrupted" if left else "finished"
        here, pid = self.host == self.machine.host, self.plan.pid
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
        """Machine that it was started on; "" if it is not known."""
        return self.plan.host if self.plan else ""

    @property
    def started(self) -> float | None:
        """Unix time in s at which it was started, or else its first cell."""
        cells = (cell.started for cell in self.cells if cell.started is not None)
        return self._begun if self._begun is not None else min(cells, default=None)

    @property
    def ended(self) -> float | None:
        """Unix time in s of its end; of a dead sweep, of its last heartbeat."""
        if self.state == "running":
            return None
        finished = moment(self.plan.finished) if self.plan else None
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
        """Estimated seconds left; None without a plan or a computed cell.

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
        """Return command lines that continue the sweep, any of them; none if nothing is to do."""
        if self.complete or self.state == "running" or self.single:
            return []
        return to_resume(self.folder, self.plan)

    @cached_property
    def _durations(self) -> list[float]:
        return [cell.seconds for cell in self.cells if cell.seconds is not None]

    @property
    def _begun(self) -> float | None:
        return moment(self.plan.started) if self.plan and not self.single else None

    def _signs(self) -> Iterator[float]:
        """Yield the times at which cells are known to have been alive."""
        for cell in self.cells:
            yield from (t for t in (cell.started, cell.finished) if t is not None)
            if cell.age_s is not None:
                yield self.machine.now - cell.age_s


def look(folder: Path, machine: Machine | None = None) -> SweepProgress:
    """Read the progress of a sweep.

    Args:
        folder: Of the sweep, or of one of its cells.
        machine: Where and when; by default here and now.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No cell in it, and no plan of cells.
    """
    machine = machine or Machine()
    plan, notes = read_plan(folder)
    if plan is None and (folder / "status.json").exists():
        return _single(folder, machine)
    entries = [Entry.read(path, plan.id if plan else None) for path in cell_folders(folder)]
    jobs = plan.jobs if plan else None
    if jobs is None:
        entries = [entry for entry in entries if entry.status]
    if not entries and plan is None:
        raise no_cells(folder)
    sweep, own, others = of_last_start(plan, entries)
    overtaken = _overtaken(entries)
    cells, stale = [], {entry.path.name for entry in others}
    for job, entry in by_job(jobs or (), own):
        if entry is not None and (job is not None or jobs is None):
            cells.append(entry.progress(machine, job, left=entry.path in overtaken))
        elif job is not None:
            reason = "has not begun"
            if job.folder in stale:
                reason += "; what lies there is of an earlier start"
            models = job.encoder, job.decoder
            cells.append(CellProgress(job.folder, *models, "missing", reason))
    if stale:
        notes.append(f"cells of an earlier start of a sweep in this folder: {len(stale)}")
    if plan and jobs is None:
        notes.append("the sweeper decides as it goes: the number of cells to come is not known")
    count = len(jobs) if jobs is not None else None
    name = str(sweep or folder.absolute().name)
    return SweepProgress(folder, name, plan, cells, machine, count, notes)


def _single(folder: Path, machine: Machine) -> SweepProgress:
    """Read one cell by itself, with the plan of its sweep."""
    path = folder.absolute()
    above, notes = read_plan(path.parent)
    entry = Entry.read(path)
    job = next((job for job in (above and above.jobs) or () if job.folder == path.name), None)
    sweep = str(entry.sweep or path.name)
    plan = above if above and above.id == sweep else None
    cell = entry.progress(machine, job, folder=".")
    return SweepProgress(folder, sweep, plan, [cell], machine, 1, notes)


def _overtaken(entries: Sequence[Entry]) -> set[Path]:
    """Return the running cells whose process has begun another cell since: it runs one a time."""
    last: dict[tuple[str, int], float] = {}
    running = []
    for entry in entries:
        process, started = entry.process(), moment(entry.status.get("started"))
        if process is None or started is None:
            continue
        last[process] = max(last.get(process, 0.0), started)
        if entry.state == "running":
            running.append((process, started, entry.path))
    return {path for process, started, path in running if last[process] > started}
