"""Records of the files that this project wrote: no other file is overwritten or removed.

A record (`status.json` of a cell, `sweep.json` of a sweep) lists names with the SHA-256 of what
was written. A name is listed before its file appears, so that the files of a killed process are
recognised.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from stitching.records.files import PARTIAL, partial_name, read_json, sha256_of, write_json

log = logging.getLogger(__name__)

#: Hashes by name; None stands for any content: the file changes while a process runs.
Listed = dict[str, list[str] | None]

_ELSEWHERE = "use another folder"


class ForeignFilesError(FileExistsError):
    """A folder holds files that this project did not write, under names that it needs."""


class Ledger:
    """Writes and removes files of one folder, and lists them in a record.

    Only the record is flushed to disk: after a loss of power, a damaged file is found by its hash.

    A listed file that was changed since is renamed to `NAME.kept-N` before its name is used again.
    So are all files where the record has no key `files`, as in earlier versions.

    Args:
        folder: The folder.
        record: Name of the record in it, a JSON object with the key `files`.
        ours: Keys of such a record; a file of that name without them is of other origin.

    Example:
        >>> ledger = Ledger(Path(folder), "status.json", ours=("state", "sweep"))
        >>> ledger.require_free(["metrics.json"], "choose another hydra.run.dir")
        >>> ledger.save({"state": "running", "sweep": "s1"})
        >>> ledger.write("metrics.json", b"{}")
    """

    def __init__(self, folder: Path, record: str, ours: Collection[str] = ("files",)) -> None:
        self.folder, self.record, self.ours = folder, folder / record, ours

    def read(self) -> dict[str, Any]:
        """Return the record; empty if there is none, or if it is of other origin."""
        found = read_json(self.record)
        return found if all(key in found for key in self.ours) else {}

    def listed(self) -> Listed:
        """Return hashes by name, of all files that the record lists."""
        known = hashes_in(self.read())
        return {
            name: hashes
            for name, hashes in known.items()
            if hashes is not None or not name.endswith(PARTIAL) or self._exists(name)
        }

    def foreign(self, names: Iterable[str]) -> list[str]:
        """Return the files of other origin among these names and the record's.

        Where a parent of a name is a file instead of a folder, that file is returned.
        """
        found, there = self.read(), []
        if not found and os.path.lexists(self.record):
            there.append(self.record.name)
        listed = hashes_in(found)
        for name in [] if _is_older(found) else names:
            taken = None if name in listed else self._taken(name)
            if taken is not None and taken not in there:
                there.append(taken)
        return there

    def require_free(self, names: Iterable[str], remedy: str) -> None:
        """Raise ForeignFilesError if files of other origin have some of these names.

        Names are paths below the folder, with "/"; `remedy` is advice for the message, such as
        "choose another hydra.run.dir".
        """
        there = self.foreign(names)
        if there:
            raise ForeignFilesError(
                f"{self.folder} holds {_counted(there)}, which this project did not write and "
                f"would overwrite: {remedy}, or move them away"
            )

    def save(
        self,
        facts: Mapping[str, Any],
        listing: Iterable[str] = (),
        earlier: Iterable[str] = (),
        as_is: Iterable[str] = (),
    ) -> None:
        """Replace the facts of the record; listed files stay listed.

        Args:
            facts: All keys but `files`.
            listing: Names to add, of files with any content: a library writes them.
            earlier: Names to add, of files that an earlier version wrote without a record: they
                are set aside before they are replaced.
            as_is: Names to add, with their present content: a library has written them, and
                will replace them.

        Raises:
            ForeignFilesError: A file of other origin has the record's name.
            ValueError: A value is NaN or infinite, which JSON does not have.
        """
        more: Listed = {name: [] for name in earlier}
        present = {name: self._content(name) for name in as_is}
        more |= {name: [content] if content else None for name, content in present.items()}
        self._store(self.listed() | dict.fromkeys(listing) | more, facts)

    def write(self, name: str, data: bytes | Iterable[bytes]) -> Path:
        """Replace the listed file of a name; return its path. Errors as in `require_free`."""
        if isinstance(data, bytes):
            self.write_all({name: data})
        else:
            with self.writing(name) as partial, partial.open("wb") as file:
                file.writelines(data)
        return self.folder / name

    def write_all(self, files: Mapping[str, bytes]) -> None:
        """Write several files like `write`, with one change of the record."""
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        self._put(hashes, lambda name, partial: partial.write_bytes(files[name]))

    def copy(self, source: Path, files: Mapping[str, str]) -> None:
        """Copy files, given as SHA-256 by name, from another folder.

        Raises:
            OSError: One cannot be read, or has another content.
        """

        def copied(name: str, partial: Path) -> None:
            shutil.copyfile(source / name, partial)
            if sha256_of(partial) != files[name]:
                raise OSError(f"{source / name} changed while it was copied: start again")

        self._put(files, copied)

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a path to write to, which becomes the named file at the end, like `write`."""
        self.require_free([name], _ELSEWHERE)
        partial = self._beside(name)
        self.claim({partial: None})
        self._make_parent(name)
        path = self.folder / partial
        try:
            yield path
            self.claim({name: sha256_of(path)})
            path.replace(self.folder / name)
        finally:
            path.unlink(missing_ok=True)

    def adopt(self, name: str, partial: Path) -> Path:
        """Put a finished file of the same disk in place, like `write`; return its path."""
        self.claim({name: sha256_of(partial)})
        return partial.replace(self.folder / name)

    def claim(self, names: Mapping[str, str | None]) -> None:
        """List names with their coming content, and set aside files that were changed.

        Values are SHA-256, or None where the content will change; errors as in `require_free`.
        """
        self.require_free(names, _ELSEWHERE)
        found, listed, changed = self.read(), self.listed(), []
        for name, sha256 in names.items():
            known, present = listed.get(name, []), self._content(name)
            written = known is not None and present in known
            if present not in (None, sha256) and known is not None and not written:
                changed.append(name)
            # The earlier content counts until the new one has taken its place.
            hashes = {sha256, present} if written else {sha256}
            listed[name] = None if sha256 is None else sorted(x for x in hashes if x)
        self.set_aside(changed)
        self._store(listed, found)

    def remove(self, names: Iterable[str]) -> None:
        """Remove the listed ones of these files, and folders that this leaves empty.

        A file that was changed since it was written is set aside.
        """
        found, listed = self.read(), self.listed()
        gone, changed = [name for name in names if name in listed], []
        for name in gone:
            known, present = listed.pop(name), self._content(name)
            if present is None:
                continue
            if present == "" or (known is not None and present not in known):
                changed.append(name)
            else:
                (self.folder / name).unlink(missing_ok=True)
        self.set_aside(changed)
        parents = {parent for name in gone for parent in PurePosixPath(name).parents[:-1]}
        for parent in sorted(parents, reverse=True):  # deeper ones first
            with suppress(OSError):  # it is not empty
                (self.folder / parent).rmdir()
        if gone:
            self._store(listed, found)

    def set_edited_aside(self, names: Iterable[str]) -> None:
        """Set aside those of these files that were changed since they were written."""
        listed = self.listed()
        known = {name: hashes for name in names if (hashes := listed.get(name))}
        self.set_aside([name for name in known if self._content(name) not in (None, *known[name])])

    def set_aside(self, names: Iterable[str]) -> None:
        """Rename the existing ones of these files to `NAME.kept-N`, with one warning."""
        there, kept = [name for name in names if self._exists(name)], []
        for name in there:
            path = self.folder / name
            place = next(
                place
                for number in itertools.count(1)
                if not os.path.lexists(place := path.with_name(f"{path.name}.kept-{number}"))
            )
            path.rename(place)
            kept.append(place.name)
        if kept:
            log.warning(
                "%s held %s with other content than this project recorded: kept as %s",
                self.folder,
                _counted(there),
                _counted(kept),
            )

    def _store(self, files: Listed, facts: Mapping[str, Any]) -> None:
        if os.path.lexists(self.record) and not self.read():
            raise ForeignFilesError(
                f"{self.record} was not written by this project: {_ELSEWHERE}, or move it away"
            )
        assert all(key in facts for key in self.ours if key != "files"), "read as somebody else's"
        listed = {
            name: known[0] if known is not None and len(known) == 1 else known
            for name, known in files.items()
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.record, {**facts, "files": listed})

    def _put(self, files: Mapping[str, str], fill: Callable[[str, Path], object]) -> None:
        """List files, write each by `fill(name, partial)`, and rename it to its place.

        The partial files are listed too, so that those of a killed process are removed later.
        """
        partials = {name: self._beside(name) for name in files}
        self.claim({**files, **dict.fromkeys(partials.values())})
        for name, partial in partials.items():
            self._make_parent(name)
            path = self.folder / partial
            try:
                fill(name, path)
                path.replace(self.folder / name)
            finally:
                path.unlink(missing_ok=True)

    def _beside(self, name: str) -> str:
        parent, last = PurePosixPath(name).parent, PurePosixPath(name).name
        partials = (str(parent / partial_name(last, number)) for number in itertools.count())
        return next(partial for partial in partials if not self._exists(partial))

    def _make_parent(self, name: str) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)

    def _exists(self, name: str) -> bool:
        return os.path.lexists(self.folder / name)

    def _taken(self, name: str) -> str | None:
        """Return what occupies a name: itself, or a file in place of a parent folder."""
        for parent in reversed(PurePosixPath(name).parents[:-1]):
            path = self.folder / parent
            if os.path.lexists(path) and not path.is_dir():
                return str(parent)
        return name if self._exists(name) else None

    def _content(self, name: str) -> str | None:
        """Return SHA-256 of a file; "" if it is not a regular file, None if it is missing."""
        path = self.folder / name
        if not os.path.lexists(path):
            return None
        return sha256_of(path) if path.is_file() else ""


def hashes_in(record: Mapping[str, Any]) -> Listed:
    """Return hashes by name, of all files that a record lists below its folder."""
    files = record.get("files")
    if not isinstance(files, Mapping):
        return {}
    listed: Listed = {}
    for name, known in files.items():
        if name.startswith("/") or ".." in name.split("/"):
            continue  # nothing outside the folder is touched
        texts = known if isinstance(known, list) else [known]
        listed[name] = None if known is None else [x for x in texts if isinstance(x, str)]
    return listed


def _is_older(record: Mapping[str, Any]) -> bool:
    """Return whether a record is of a version that listed no files."""
    return bool(record) and not isinstance(record.get("files"), Mapping)


def _counted(names: Collection[str]) -> str:
    """Return the first two names, and how many more there are."""
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return " and ".join([*names][:2]) + more
