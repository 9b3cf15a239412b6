"""Progress of one cell: its state, its last heartbeat, and whether its process is alive.

A cell whose status is "running" is alive

- on this machine, while its process is alive and has not begun another cell;
- on another machine, while its last heartbeat is no older than `DEAD_AFTER_S`. Clocks of the
  machines must agree that far, or the time stamps of the file system must.

Otherwise it is dead.
"""

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from stitching.records.files import read_json
from stitching.records.plan import Job
from stitching.results.folders import models_of, mtime_ns

State = Literal["done", "failed", "interrupted", "running", "dead", "missing"]

#: Seconds without a heartbeat after which a cell of another machine counts as dead: a living one
#: writes `progress.json` every 5 s.
DEAD_AFTER_S = 60.0

#: Seconds by which a process may seem younger than what it wrote: clocks are set now and then.
_SLACK_S = 10.0

_INTERRUPTS = ("KeyboardInterrupt", "KeyboardInterrupt: KeyboardInterrupt")

_PROC = Path("/proc")


@dataclass(frozen=True)
class Machine:
    """Where and when a sweep is looked at.

    Attributes:
        host: Name of this machine.
        now: Unix time of the look, in s.
    """

    host: str = field(default_factory=socket.gethostname)
    now: float = field(default_factory=time.time)

    def runs(self, pid: int, since: float | None) -> bool:
        """Return whether a process of this machine is alive.

        Args:
            pid: Its number.
            since: Unix time in s at which it is known to have lived. A process that began later,
                where the system reports when it began, has only been given the same number.
        """
        if pid < 1:
            return False
        if (_PROC / "self/stat").exists():
            began = _began(pid)
            return began is not None and (since is None or began <= since + _SLACK_S)
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # it is another user's
            return True
        return True


@dataclass(frozen=True)
class CellProgress:
    """Progress of one cell.

    Attributes:
        folder: Its folder, relative to the sweep's.
        encoder: Name of the model that encodes; "" if it is not known.
        decoder: Name of the model that decodes; "" if it is not known.
        state: "done", "failed", "interrupted" by the user, "running", "dead", or "missing" where
            it has not begun.
        reason: Why it is failed, interrupted, dead or missing.
        reused: Whether its files were taken from another cell.
        host: Machine it runs or ran on; "" if it is not known.
        pid: Its process there.
        started: Unix time in s.
        finished: Unix time in s.
        progress: Content of `progress.json`.
        age_s: Seconds since its last heartbeat.
    """

    folder: str
    encoder: str
    decoder: str
    state: State
    reason: str = ""
    reused: bool = False
    host: str = ""
    pid: int | None = None
    started: float | None = None
    finished: float | None = None
    progress: Mapping[str, Any] | None = None
    age_s: float | None = None

    @property
    def seconds(self) -> float | None:
        """How long it took to compute; None if it was not computed, or the time is not known."""
        if self.state != "done" or self.reused or self.started is None or self.finished is None:
            return None
        return max(self.finished - self.started, 0.0)


@dataclass(frozen=True)
class Entry:
    """The folder of a cell with the content of its `status.json`.

    Attributes:
        path: The folder.
        status: The content; empty without the file, or if it is damaged.
        sweep: Id of the start of a sweep that wrote it.
    """

    path: Path
    status: Mapping[str, Any]
    sweep: object

    @classmethod
    def read(cls, path: Path, sweep: object = None) -> "Entry":
        """Read the status of a cell; one that does not name its sweep belongs to `sweep`."""
        status = read_json(path / "status.json")
        return cls(path, status, status.get("sweep", sweep))

    @property
    def state(self) -> str:
        """The state in the file."""
        return str(self.status.get("state"))

    @property
    def written(self) -> float:
        """When the status was written, in ns."""
        return mtime_ns(self.path / "status.json")

    def process(self) -> tuple[str, int] | None:
        """Return machine and number of the process that ran the cell, if they are known."""
        host, pid = self.status.get("host"), self.status.get("pid")
        return (host, pid) if isinstance(host, str) and isinstance(pid, int) else None

    def progress(
        self, machine: Machine, job: Job | None = None, *, folder: str = "", left: bool = False
    ) -> CellProgress:
        """Return the progress of the cell.

        Args:
            machine: This machine, and the time.
            job: The planned cell; without it the folder's name gives the models.
            folder: Relative to the sweep's; the folder's name if empty.
            left: Whether its process has begun another cell since.
        """
        status, state = self.status, self.state
        models = (job.encoder, job.decoder) if job else models_of(self.path.name)
        folder = folder or self.path.name
        if not status:
            found = (self.path / "status.json").exists()
            reason = "status.json cannot be read" if found else "has not begun"
            return CellProgress(folder, *models, "missing", reason)
        host, pid = self.process() or (str(status.get("host", "")), None)
        started, finished = moment(status.get("started")), moment(status.get("finished"))
        heartbeat, age, reason = None, None, ""
        if state in ("failed", "interrupted"):
            if status.get("error") in _INTERRUPTS:
                state = "interrupted"  # as earlier versions wrote it
            reason = str(status.get("error", "unknown error")).partition("\n")[0]
        elif state == "done":
            started, finished = self._times(started, finished)
        else:
            heartbeat, age = self._heartbeat(machine)
            reason = self._death(machine, age, left)
            state = "dead" if reason else "running"
        return CellProgress(
            folder,
            *models,
            state,  # type: ignore[arg-type]  # one of the literals by now
            reason,
            bool(status.get("reused")),
            host,
            pid,
            started,
            finished,
            heartbeat,
            age,
        )

    def _times(
        self, started: float | None, finished: float | None
    ) -> tuple[float | None, float | None]:
        """Return the times of a finished cell, of an older one by what it measured itself."""
        if started is not None and finished is not None:
            return started, finished
        total = read_json(self.path / "resources.json").get("time/total_s")
        written = self.written / 1e9
        if not written:
            return None, None
        return (written - total if isinstance(total, (int, float)) else None), written

    def _heartbeat(self, machine: Machine) -> tuple[Mapping[str, Any] | None, float | None]:
        """Return `progress.json`, and how old it is, or else how old the status is."""
        progress = read_json(self.path / "progress.json") or None
        written = (progress or {}).get("written")
        times = [float(written)] if isinstance(written, (int, float)) else []
        try:
            file = "progress.json" if progress else "status.json"
            times.append((self.path / file).stat().st_mtime)
        except OSError:
            pass  # the cell has ended meanwhile
        return progress, max(machine.now - max(times), 0.0) if times else None

    def _death(self, machine: Machine, age: float | None, left: bool) -> str:
        """Return why the cell counts as dead; "" while it lives."""
        process = self.process()
        if process is not None and process[0] == machine.host:
            pid = process[1]
            if not machine.runs(pid, moment(self.status.get("started"))):
                return f"its process {pid} is gone"
            return f"its process {pid} went on to another cell" if left else ""
        if age is not None and age <= DEAD_AFTER_S:
            return ""
        return f"no heartbeat for more than {DEAD_AFTER_S:.0f} s"


def moment(text: object) -> float | None:
    """Return the unix time in s of a text in ISO 8601, taken as UTC where it has no zone."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _began(pid: int) -> float | None:
    """Return when a process began, in unix s; None if there is none or it has ended."""
    try:
        # The name of the program comes second, in brackets, and may hold anything.
        fields = (_PROC / f"{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        if fields[0] in "ZX":  # it has ended, but nobody has read its exit status
            return None
        ticks = int(fields[19])
        for line in (_PROC / "stat").read_text("utf-8", "replace").splitlines():
            if line.startswith("btime "):
                return int(line.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
    return 0.0
