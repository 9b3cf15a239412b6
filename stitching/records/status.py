"""The record of a cell, `status.json`: its state, and the files that it wrote.

A finished cell's record holds the cell's identity and the SHA-256 of every file, so what was cut
short, or changed afterwards, is not taken for finished. An index in the cache names the folder
in which each identity was finished last.
"""

import os
import socket
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stitching.records.files import now, partial_name, read_json, sha256_of, write_json
from stitching.records.ledger import ForeignFilesError, Ledger, hashes_in

STATUS, PROGRESS = "status.json", "progress.json"

#: All files that a cell may write, but for Hydra's and its tracker's.
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
    """Return what `status.json` says; empty where there is none, or one of other origin."""
    return ledger_of(folder).read()


def require_free(folder: Path, beside: Sequence[str], remedy: str) -> None:
    """Check that a cell may write into a folder.

    Earlier versions did not list all that they wrote: in the folder of such a cell, whatever has
    a name that is needed is set aside later.

    Args:
        folder: Of the cell; it need not exist.
        beside: Names of files that Hydra writes there.
        remedy: What the user may do.

    Raises:
        ForeignFilesError: Files of other origin have names that the cell needs.
    """
    ledger = ledger_of(folder)
    if _is_earlier(ledger):
        return
    ledger.require_free([*NAMES, *beside], remedy)
    heartbeat = folder / PROGRESS
    # Its name stays listed when a cell has ended and the file is gone.
    if os.path.lexists(heartbeat) and "written" not in read_json(heartbeat):
        raise ForeignFilesError(
            f"{heartbeat} was not written by this project: {remedy}, or move it away"
        )


def reserve(folder: Path, sweep: str, started: str, beside: Sequence[str]) -> None:
    """List the files that Hydra and the heartbeat write, before the cell is known.

    Called before Hydra writes, and again after it, when the content of its files is recorded. A
    finished cell stays as it is: it may be of the identity that is about to be found.

    Raises:
        OSError: The folder cannot be written, or `status.json` is of other origin.
    """
    ledger = ledger_of(folder)
    if _is_earlier(ledger):
        _take_over(ledger)
    found = ledger.read()
    if _finished(folder) or (found.get("state"), found.get("pid")) == ("running", os.getpid()):
        ledger.save(found, _changing(beside), as_is=replaced(beside))
    else:
        begin(folder, sweep, started, beside)


def set_edited_aside(folder: Path, beside: Sequence[str]) -> None:
    """Set aside those files of Hydra's that were edited, before it replaces them."""
    ledger_of(folder).set_edited_aside(replaced(beside))


def begin(folder: Path, sweep: str, started: str, beside: Sequence[str]) -> None:
    """Begin a cell: remove the files of an earlier attempt, and say that it is running.

    Args:
        folder: Of the cell.
        sweep: Which start of a sweep it belongs to.
        started: When it began.
        beside: Names of files that Hydra writes there.

    Raises:
        OSError: The folder cannot be written, or `status.json` is of other origin.
    """
    ledger, others = ledger_of(folder), _changing(beside)
    ledger.remove([name for name in ledger.listed() if name not in others])
    facts = _facts("running", sweep, started, runs=[])
    ledger.save(facts, others, as_is=replaced(beside))


def note_run(folder: Path, run: str) -> None:
    """Record where the tracker's run of a cell lies: a folder below the cell's, or elsewhere."""
    ledger = ledger_of(folder)
    found = ledger.read()
    ledger.save(found | {"runs": [*found.get("runs", ()), run]})


def mark_done(folder: Path, key: str, sweep: str, started: str, **facts: Any) -> None:
    """Record that a cell is finished.

    Args:
        folder: Of the cell.
        key: Its identity.
        sweep: Which start of a sweep it belongs to.
        started: When it began.
        facts: Other facts to record.
    """
    _mark(folder, _facts("done", sweep, started, finished=now(), key=key, **facts))


def mark_failed(folder: Path, sweep: str, started: str, error: str, state: str = "failed") -> None:
    """Record that a cell has failed.

    A finished cell that lies there is not lost: it may be of the same identity, and what failed
    was to find that out.

    Args:
        folder: Of the cell.
        sweep: Which start of a sweep it belongs to.
        started: When it began.
        error: Why, in one line.
        state: "failed", or "interrupted" where the user stopped it.
    """
    before = _finished(folder)
    more = {"before": before} if before else {}
    _mark(folder, _facts(state, sweep, started, finished=now(), error=error, **more))


def is_whole(folder: Path, key: str) -> bool:
    """Return whether a folder holds a finished cell of this identity, all its files unharmed."""
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


def holds_finished(folder: Path) -> bool:
    """Return whether a folder holds a cell that was finished, whole or not, of any identity."""
    return bool(_finished(folder))


def keep(folder: Path, sweep: str) -> None:
    """Make a whole cell one of the present sweep, and of no other."""
    found = _finished(folder)
    ledger = ledger_of(folder)
    ledger.remove(["error.txt"])
    ledger.save(found | {"sweep": sweep, "kept": True})


def copy_files(source: Path, folder: Path) -> None:
    """Copy the files of a whole cell into a folder; its tracker's files stay behind.

    Raises:
        OSError: They cannot be copied, or are being replaced.
    """
    files = hashes_in(_finished(source)).items()
    results = {name: hashes[0] for name, hashes in files if hashes and name in NAMES}
    ledger_of(folder).copy(source, results)


def _facts(state: str, sweep: str, started: str, **facts: Any) -> dict[str, Any]:
    where = {"host": socket.gethostname(), "pid": os.getpid(), "started": started}
    return {"state": state, "sweep": sweep, **where, **facts}


def _mark(folder: Path, facts: dict[str, Any]) -> None:
    ledger = ledger_of(folder)
    found = ledger.read()
    runs = {"runs": found["runs"]} if "runs" in found else {}
    ledger.save(facts | runs, _changing(()))


def _changing(beside: Sequence[str]) -> Collection[str]:
    """Return names of files that change while a cell runs, and are not of its results."""
    return [*beside, PROGRESS, partial_name(PROGRESS)]


def replaced(beside: Sequence[str]) -> list[str]:
    """Return names of the files that Hydra replaces; to its log it appends."""
    return [name for name in beside if name.endswith(".yaml")]


def _is_earlier(ledger: Ledger) -> bool:
    """Return whether a record was written by a version that listed only results."""
    found = ledger.read()
    return bool(found) and PROGRESS not in hashes_in(found)


def _take_over(ledger: Ledger) -> None:
    """List the results that an earlier version recorded; set aside what may be of any origin."""
    found = ledger.read()
    recorded = found if "files" in found else found.get("before", {})
    files = {name: hashes for name, hashes in hashes_in(recorded).items() if hashes}
    ledger.set_aside([name for name in NAMES if name not in files])
    write_json(ledger.record, found | {"files": files})


def _finished(folder: Path) -> dict[str, Any]:
    """Return the status of the finished cell in a folder; empty where there is none."""
    status = read_status(folder)
    before = status.get("before")
    status = before if isinstance(before, dict) else status
    return status if status.get("state") == "done" else {}


class Index:
    """Names the folder in which each identity was finished last.

    A cache that cannot be written to has an index that finds, and learns nothing.

    Args:
        root: Folder of the cache.
    """

    def __init__(self, root: Path) -> None:
        self.root = root / "cells"

    def find(self, key: str) -> Path | None:
        """Return the folder of a whole cell of this identity, if there is one."""
        folder = read_json(self._entry(key)).get("folder")
        if not isinstance(folder, str) or not is_whole(Path(folder), key):
            return None
        return Path(folder)

    def record(self, key: str, folder: Path) -> None:
        """Remember where a cell was finished."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            write_json(self._entry(key), {"folder": str(folder.absolute())})
        except OSError:
            return  # the cell itself is whole; a rerun elsewhere will not find it, no more

    @contextmanager
    def claim(self, key: str) -> Iterator[None]:
        """Let one process at a time work at an identity; the system frees that of a dead one."""
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
