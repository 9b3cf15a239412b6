"""The record of a cell, `status.json`: its state, and the files that it wrote.

The record of a finished cell has the cell's identity and the SHA-256 of every file, so that a
truncated or edited cell does not count as finished. An index in the cache names the folder in
which each identity was finished last.
"""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stitching.records.files import now, partial_name, read_json, sha256_of, write_json
from stitching.records.ledger import ForeignFilesError, Ledger, hashes_in

STATUS, PROGRESS = "status.json", "progress.json"

#: All files that a cell may write; Hydra and the tracker write others.
NAMES = (
    "config.yaml", "metrics.json", "resources.json", "resamples.npz", "map.safetensors",
    "reconstructions.png", "picture.png", "picture_original.png",
    "penalty_curve.csv", "penalty_curve.png", "rank_curve.csv", "rank_curve.png",
    "error.txt", PROGRESS,
)  # fmt: skip


def ledger_of(folder: Path) -> Ledger:
    """Return the ledger of a cell's folder."""
    return Ledger(folder, STATUS, ours=("state", "sweep"))


def read_status(folder: Path) -> dict[str, Any]:
    """Return the content of `status.json`; empty if it is missing or of other origin."""
    return ledger_of(folder).read()


def holds_finished(folder: Path) -> bool:
    """Return whether a folder has a finished cell, intact or not, of any identity."""
    return bool(_finished(folder))


def is_whole(folder: Path, key: str) -> bool:
    """Return whether a folder has a finished cell of this identity with all files intact."""
    status = _finished(folder)
    files = hashes_in(status)
    if status.get("key") != key or "metrics.json" not in files:
        return False
    try:
        return all(
            sha256_of(folder / name) in hashes
            for name, hashes in files.items()
            if hashes is not None and name in NAMES
        )
    except OSError:
        return False


@dataclass(frozen=True)
class CellFolder:
    """The folder of a cell, as one attempt at the cell writes to it.

    Attributes:
        folder: The folder; it need not exist.
        sweep: Id of the start of a sweep.
        beside: Names of files that Hydra writes there.
        started: Time at which the cell began.
    """

    folder: Path
    sweep: str = ""
    beside: Sequence[str] = ()
    started: str = field(default_factory=now)

    @property
    def ledger(self) -> Ledger:
        """The ledger of the folder."""
        return ledger_of(self.folder)

    def require_free(self, remedy: str) -> None:
        """Check that the cell may write here.

        Earlier versions did not list all files: in the folder of such a cell, those with a name
        that is needed are set aside later. `remedy` is advice for the message.

        Raises:
            ForeignFilesError: Files of other origin have names that the cell needs.
        """
        if _is_earlier(self.ledger):
            return
        self.ledger.require_free([*NAMES, *self.beside], remedy)
        heartbeat = self.folder / PROGRESS
        # Its name stays listed after the end of the cell.
        if os.path.lexists(heartbeat) and "written" not in read_json(heartbeat):
            raise ForeignFilesError(
                f"{heartbeat} was not written by this project: {remedy}, or move it away"
            )

    def set_edited_aside(self) -> None:
        """Set aside edited files of Hydra before it replaces them."""
        self.ledger.set_edited_aside(replaced(self.beside))

    def reserve(self) -> None:
        """List the files that Hydra and the heartbeat write, before the identity is known.

        Called before Hydra writes, and again after it, to record the content of its files. The
        record of a finished cell is kept: it may have the same identity.

        Raises:
            OSError: The folder cannot be written, or `status.json` is of other origin.
        """
        if _is_earlier(self.ledger):
            _take_over(self.ledger)
        found = self.ledger.read()
        running = (found.get("state"), found.get("pid")) == ("running", os.getpid())
        if running or holds_finished(self.folder):
            self.ledger.save(found, _changing(self.beside), as_is=replaced(self.beside))
        else:
            self.begin()

    def begin(self) -> None:
        """Remove the files of an earlier attempt, and set the state "running".

        Raises:
            OSError: The folder cannot be written, or `status.json` is of other origin.
        """
        others = _changing(self.beside)
        self.ledger.remove([name for name in self.ledger.listed() if name not in others])
        self.ledger.save(self._facts("running", runs=[]), others, as_is=replaced(self.beside))

    def note_run(self, run: str) -> None:
        """Record the folder of the tracker's run, below the cell's or elsewhere."""
        found = self.ledger.read()
        self.ledger.save(found | {"runs": [*found.get("runs", ()), run]})

    def mark_done(self, key: str, **facts: Any) -> None:
        """Record that the cell is finished, with its identity and further facts."""
        self._mark("done", key=key, **facts)

    def mark_failed(self, error: str, state: str = "failed") -> None:
        """Record that the cell is "failed" or "interrupted", and the reason in one line.

        The record of a finished cell is kept inside: it may have the same identity, if the failure
        came before that was known.
        """
        before = _finished(self.folder)
        self._mark(state, error=error, **({"before": before} if before else {}))

    def keep(self) -> None:
        """Make the finished cell part of this sweep, and of no other."""
        found = _finished(self.folder)
        self.ledger.remove(["error.txt"])
        self.ledger.save(found | {"sweep": self.sweep, "kept": True})

    def copy_from(self, source: Path) -> None:
        """Copy the results of a finished cell, without its tracker's files.

        Raises:
            OSError: A file cannot be copied, or is being replaced.
        """
        files = hashes_in(_finished(source)).items()
        results = {name: hashes[0] for name, hashes in files if hashes and name in NAMES}
        self.ledger.copy(source, results)

    def _facts(self, state: str, **facts: Any) -> dict[str, Any]:
        where = {"host": socket.gethostname(), "pid": os.getpid(), "started": self.started}
        return {"state": state, "sweep": self.sweep, **where, **facts}

    def _mark(self, state: str, **facts: Any) -> None:
        found = self.ledger.read()
        runs = {"runs": found["runs"]} if "runs" in found else {}
        self.ledger.save(self._facts(state, finished=now(), **facts) | runs, _changing(()))


def _changing(beside: Sequence[str]) -> list[str]:
    """Return names of files that change while a cell runs, and are no results."""
    return [*beside, PROGRESS, partial_name(PROGRESS)]


def replaced(beside: Sequence[str]) -> list[str]:
    """Return the names of files that Hydra replaces; it appends to its log."""
    return [name for name in beside if name.endswith(".yaml")]


def _is_earlier(ledger: Ledger) -> bool:
    """Return whether a record is of a version that listed only results."""
    found = ledger.read()
    return bool(found) and PROGRESS not in hashes_in(found)


def _take_over(ledger: Ledger) -> None:
    """List the results that an earlier version recorded; set aside files of unknown origin."""
    found = ledger.read()
    recorded = found if "files" in found else found.get("before", {})
    files = {name: hashes for name, hashes in hashes_in(recorded).items() if hashes}
    ledger.set_aside([name for name in NAMES if name not in files])
    write_json(ledger.record, found | {"files": files})


def _finished(folder: Path) -> dict[str, Any]:
    """Return the record of the finished cell in a folder; empty if there is none."""
    status = read_status(folder)
    before = status.get("before")
    status = before if isinstance(before, dict) else status
    return status if status.get("state") == "done" else {}


class Index:
    """Folders in which each identity was finished last; of a read-only cache, it stays as it is.

    Args:
        root: Folder of the cache.
    """

    def __init__(self, root: Path) -> None:
        self.root = root / "cells"

    def find(self, key: str) -> Path | None:
        """Return the folder of an intact finished cell of this identity, or None."""
        folder = read_json(self._entry(key)).get("folder")
        if not isinstance(folder, str) or not is_whole(Path(folder), key):
            return None
        return Path(folder)

    def record(self, key: str, folder: Path) -> None:
        """Record the folder of a finished cell."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            write_json(self._entry(key), {"folder": str(folder.absolute())})
        except OSError:
            return  # the cell itself is finished; only a rerun elsewhere does not find it

    @contextmanager
    def claim(self, key: str) -> Iterator[None]:
        """Lock an identity for this process; the system frees the lock of a dead process."""
        from filelock import FileLock

        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._entry(key).with_suffix(".lock"))
            lock.acquire()
        except OSError:
            yield
            return
        try:
            yield
        finally:
            lock.release()

    def _entry(self, key: str) -> Path:
        return self.root / f"{key}.json"
