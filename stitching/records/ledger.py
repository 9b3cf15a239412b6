"""Which files of a folder this project wrote: no other file is overwritten or removed.

A record (`status.json` of a cell, `sweep.json` of a sweep) lists names with the SHA-256 of what
was written. A name is listed before its file appears, so a process that is killed in between
leaves nothing that the next one cannot recognise.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["ForeignFilesError", "Ledger", "replacing", "sha256_of"]

log = logging.getLogger(__name__)

#: Hashes by name; None stands for any content, of a file that changes while a process runs.
Listed = dict[str, list[str] | None]


class ForeignFilesError(FileExistsError):
    """A folder holds files that this project did not write, under names that it needs."""


def sha256_of(path: Path) -> str:
    """Return SHA-256 (hex) of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to, which becomes `path` at the end, whole; on an error it is gone.

    The folder of `path` exists. The file is flushed to disk before it is renamed.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class Ledger:
    """Writes and removes files of one folder, by the record that lists them.

    Args:
        folder: The folder.
        record: Name of the record in it, a JSON object with the key `files`.
        ours: Keys that tell such a record from somebody else's file of that name.

    Example:
        >>> ledger = Ledger(Path(folder), "status.json", ours=("state", "sweep"))
        >>> ledger.require_free(["metrics.json"])
        >>> ledger.write("metrics.json", b"{}")
    """

    def __init__(self, folder: Path, record: str, ours: Collection[str] = ("files",)) -> None:
        self.folder, self.record, self.ours = folder, folder / record, ours

    def read(self) -> dict[str, Any]:
        """Return the record; empty where there is none, or one that is not this project's."""
        try:
            found = json.loads(self.record.read_bytes())
        except (OSError, ValueError):
            return {}
        mine = isinstance(found, dict) and all(key in found for key in self.ours)
        return found if mine else {}

    def listed(self) -> Listed:
        """Return what the record lists."""
        files = self.read().get("files")
        if not isinstance(files, Mapping):
            return {}
        return {
            str(name): [text] if isinstance(text, str) else text for name, text in files.items()
        }

    def foreign(self, names: Iterable[str]) -> list[str]:
        """Return those of the names that exist, and that the record does not list."""
        found = self.read()
        listed = self.listed()
        there = [name for name in names if name not in listed and self._exists(name)]
        if not found and self._exists(self.record.name):
            there.insert(0, self.record.name)
        return there

    def require_free(self, names: Iterable[str], remedy: str) -> None:
        """Check that names may be written.

        Args:
            names: Paths below the folder, with "/".
            remedy: What the user may do, such as "choose another hydra.run.dir".

        Raises:
            ForeignFilesError: Files of other origin have some of these names.
        """
        there = self.foreign(names)
        if there:
            more = f" and {len(there) - 2} more" if len(there) > 2 else ""
            raise ForeignFilesError(
                f"{self.folder} holds {' and '.join(there[:2])}{more}, which this project did not "
                f"write and would overwrite: {remedy}, or move them away"
            )

    def write(self, name: str, data: bytes | Iterable[bytes]) -> Path:
        """Write a file whole, in place of the listed one; return its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            with partial.open("wb") as file:
                file.writelines([data] if isinstance(data, bytes) else data)
            self._claim(name, sha256_of(partial))
        return path

    def adopt(self, name: str, partial: Path) -> Path:
        """Rename a finished file of the same disk to its place, as `write`; return that."""
        path = self.folder / name
        self._claim(name, sha256_of(partial))
        partial.replace(path)
        return path

    def remove(self, names: Iterable[str]) -> None:
        """Remove listed files whose content is what was written; unlist all of these names."""
        listed = self.listed()
        gone = [name for name in names if name in listed]
        for name in gone:
            path = self.folder / name
            hashes = listed[name]
            if path.is_file() and (hashes is None or sha256_of(path) in hashes):
                path.unlink()
        if gone:
            self._store({name: known for name, known in listed.items() if name not in gone})

    def _claim(self, name: str, sha256: str) -> None:
        """List a name with its coming content; set aside what lies there and was not written."""
        listed, path = self.listed(), self.folder / name
        known = listed.get(name, [])
        if self._exists(name) and known is not None:
            present = sha256_of(path) if path.is_file() else ""
            if present not in (*known, sha256):
                if name not in listed and self.read().get("files") is not None:
                    raise ForeignFilesError(
                        f"{path} appeared while this project was writing to its folder, and was "
                        "not written by it: move it away, and start again"
                    )
                self._set_aside(path)
            known = [present] if present in known else []
        self._store(listed | {name: None if known is None else sorted({*known, sha256})})

    def _set_aside(self, path: Path) -> None:
        """Rename a file that was changed after it was written, or that an old record lacks."""
        number = 1
        while os.path.lexists(kept := path.with_name(f"{path.name}.kept-{number}")):
            number += 1
        path.rename(kept)
        log.warning("%s is not what was written there: it is kept as %s", path, kept.name)

    def _store(self, files: Listed) -> None:
        found = self.read()
        with replacing(self.record) as partial:
            partial.write_text(
                json.dumps(found | {"files": files}, indent=1, allow_nan=False) + "\n",
                encoding="utf-8",
            )

    def _exists(self, name: str) -> bool:
        return os.path.lexists(self.folder / name)
