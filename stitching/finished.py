"""Finished cells: how a whole one is told from a truncated one, and where it lies.

A cell's `status.json` is written last. It holds the cell's identity and the SHA-256 of every
other file, so what was cut short, or changed afterwards, is not taken for finished. An index in
the cache names the folder in which each identity was finished last.
"""

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stitching.manifest import read_json

STATUS = "status.json"

#: What a cell may leave besides its pictures and tables, and what another attempt replaces.
_NAMES = ("config.yaml", "metrics.json", "resources.json", "resamples.npz", "map.safetensors")
_LEFTOVERS = ("error.txt", "progress.json", "*.partial", "*.partial.npz")
_PATTERNS = ("*.png", "*_curve.csv")


def now() -> str:
    """Return the time, in UTC, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write values as JSON, atomically.

    Raises:
        ValueError: A value is NaN or infinite, which JSON does not have.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_status(folder: Path) -> dict[str, Any]:
    """Return what `status.json` says; empty where there is none, or a damaged one."""
    return read_json(folder / STATUS)


def mark(folder: Path, state: str, sweep: str, started: str, **facts: Any) -> None:
    """Write `status.json` of a running or failed cell."""
    where = {"host": socket.gethostname(), "pid": os.getpid(), "started": started}
    write_json(folder / STATUS, {"state": state, "sweep": sweep, **where, **facts})


def mark_done(folder: Path, key: str, sweep: str, started: str, **facts: Any) -> None:
    """Write `status.json` of a finished cell, with the hashes of its files."""
    files = {path.name: _sha256(path) for path in sorted(_files(folder))}
    mark(folder, "done", sweep, started, finished=now(), key=key, **facts, files=files)


def mark_failed(folder: Path, sweep: str, started: str, error: str) -> None:
    """Write `status.json` of a failed cell.

    A finished cell that lies there is not lost: it may be of the same identity, and what failed
    was to find that out.
    """
    before = _finished(folder)
    facts = {"before": before} if before else {}
    mark(folder, "failed", sweep, started, finished=now(), error=error, **facts)


def is_whole(folder: Path, key: str) -> bool:
    """Return whether a folder holds a finished cell of this identity, all its files unharmed."""
    status = _finished(folder)
    files = status.get("files")
    if status.get("key") != key or not isinstance(files, dict) or "metrics.json" not in files:
        return False
    try:
        return all(_sha256(folder / name) == sha256 for name, sha256 in files.items())
    except OSError:
        return False


def holds_finished(folder: Path) -> bool:
    """Return whether a folder holds a cell that was finished, whole or not, of any identity."""
    return bool(_finished(folder))


def keep(folder: Path, sweep: str) -> None:
    """Make a whole cell one of the present sweep, and of no other."""
    (folder / "error.txt").unlink(missing_ok=True)
    write_json(folder / STATUS, _finished(folder) | {"sweep": sweep, "kept": True})


def copy_files(source: Path, folder: Path) -> None:
    """Copy the files of a whole cell into a folder; its tracker's files stay behind.

    Raises:
        OSError: They cannot be copied, or are being replaced.
    """
    files: dict[str, str] = _finished(source).get("files", {})
    for name, sha256 in files.items():
        partial = folder / f"{name}.{os.getpid()}.partial"
        shutil.copyfile(source / name, partial)
        partial.replace(folder / name)
        if _sha256(folder / name) != sha256:
            raise OSError(f"{source / name} changed while it was copied: start the sweep again")


def clear(folder: Path) -> None:
    """Remove what an earlier attempt left in the folder of a cell, its tracker's run included.

    Files that no cell writes are left alone.
    """
    for path in [*_files(folder), *_matching(folder, _LEFTOVERS), folder / STATUS]:
        path.unlink(missing_ok=True)
    shutil.rmtree(folder / "wandb", ignore_errors=True)


def _finished(folder: Path) -> dict[str, Any]:
    """Return the status of the finished cell in a folder; empty where there is none."""
    status = read_status(folder)
    status = status.get("before", {}) if status.get("state") == "failed" else status
    return status if status.get("state") == "done" else {}


def _files(folder: Path) -> Iterator[Path]:
    yield from (path for name in _NAMES if (path := folder / name).is_file())
    yield from _matching(folder, _PATTERNS)


def _matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return [path for pattern in patterns for path in folder.glob(pattern)]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
