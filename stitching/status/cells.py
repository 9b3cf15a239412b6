"""One cell of a sweep: what its files say, and whether it is alive.

A cell whose status is "running" is alive

- on the machine that looks, while its process lives, and has not gone on to another cell;
- on another machine, while a heartbeat of it is no older than `DEAD_AFTER_S`. Clocks of the
  machines must agree that far, or the time stamps of the file system must.

Otherwise it is dead.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from stitching.records.files import read_json
from stitching.status.machine import Machine

State = Literal["done", "failed", "interrupted", "running", "dead", "missing"]

#: Seconds without a heartbeat after which a cell of another machine counts as dead: a living one
#: writes `progress.json` every 5 s.
DEAD_AFTER_S = 60.0

_INTERRUPTS = ("KeyboardInterrupt", "KeyboardInterrupt: KeyboardInterrupt")

# ENCODER-to-DECODER_JOBNUM
_NAME = re.compile(r"(?P<encoder>.+?)-to-(?P<decoder>.+?)(?:_\d+)?")


@dataclass(frozen=True)
class Cell:
    """One cell, as its files tell.

    Attributes:
        folder: Its folder, relative to the sweep's.
        encoder: Name of the model that encodes; "" where nothing tells.
        decoder: Likewise of the one that decodes.
        state: "done", "failed", "interrupted" by the user, "running", "dead", or "missing" where
            it has not begun.
        reason: Why it is failed, interrupted, dead or missing.
        reused: Whether its files were taken from another cell.
        host: Machine it runs or ran on; "" where nothing tells.
        pid: Its process there.
        started: Unix time in s.
        finished: Likewise.
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
        """How long it took to compute; None where it did not, or nothing tells."""
        if self.state != "done" or self.reused or self.started is None or self.finished is None:
            return None
        return max(self.finished - self.started, 0.0)


@dataclass(frozen=True)
class Entry:
    """A cell's folder with what its `status.json` says; empty where there is none.

    Attributes:
        root: Folder of the sweep.
        folder: Of the cell, relative to it.
        status: The content.
        names: Encoder and decoder, where the sweep's plan names them.
    """

    root: Path
    folder: str
    status: Mapping[str, Any]
    names: tuple[str, str] | None = None

    @classmethod
    def read(cls, root: Path, folder: str, names: tuple[str, str] | None = None) -> "Entry":
        """Read the status of a cell."""
        return cls(root, folder, read_json(root / folder / "status.json"), names)

    @property
    def path(self) -> Path:
        """The cell's folder."""
        return self.root / self.folder

    def process(self) -> tuple[str, int] | None:
        """Return machine and number of the process that ran the cell, where they are known."""
        host, pid = self.status.get("host"), self.status.get("pid")
        return (host, pid) if isinstance(host, str) and isinstance(pid, int) else None

    def missing(self, reason: str) -> Cell:
        """Return the cell as one that has not begun."""
        return Cell(self.folder, *self._models(), "missing", reason)

    def cell(self, machine: Machine, *, left: bool = False) -> Cell:
        """Return the cell as its files tell.

        Args:
            machine: That looks.
            left: Whether its process has begun another cell since.
        """
        status, state = self.status, str(self.status.get("state"))
        if not status:
            found = (self.path / "status.json").exists()
            return self.missing("status.json cannot be read" if found else "has not begun")
        host, pid = self.process() or (str(status.get("host", "")), None)
        started, finished = moment(status.get("started")), moment(status.get("finished"))
        progress, age, reason = None, None, ""
        if state in ("failed", "interrupted"):
            if self.status.get("error") in _INTERRUPTS:
                state = "interrupted"  # as earlier versions wrote it
            reason = str(status.get("error", "unknown error")).partition("\n")[0]
        elif state == "done":
            started, finished = self._times(started, finished)
        else:
            progress, age = self._heartbeat(machine)
            reason = self._death(machine, age, left)
            state = "dead" if reason else "running"
        return Cell(
            self.folder,
            *self._models(),
            state,  # type: ignore[arg-type]  # one of the literals by now
            reason,
            bool(status.get("reused")),
            host,
            pid,
            started,
            finished,
            progress,
            age,
        )

    def _models(self) -> tuple[str, str]:
        if self.names is not None:
            return self.names
        name = _NAME.fullmatch(Path(self.folder).name)
        return (name["encoder"], name["decoder"]) if name else ("", "")

    def _times(
        self, started: float | None, finished: float | None
    ) -> tuple[float | None, float | None]:
        """Return the times of a finished cell, of an older one by what it measured itself."""
        if started is not None and finished is not None:
            return started, finished
        total = read_json(self.path / "resources.json").get("time/total_s")
        try:
            written = (self.path / "status.json").stat().st_mtime
        except OSError:
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
