"""Files keyed by content: results of the same inputs are read, not computed again.

A key is the hash of everything the content depends on, so an entry is never stale, only unused.
Files are written under another name and renamed, and a lock keeps two processes from computing
one entry at the same time. Every file has a checksum: damaged ones are computed again, with a
warning.
"""

import functools
import hashlib
import json
import logging
import os
import shutil
import socket
import tempfile
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stitching.compute.transient import is_marked
from stitching.records import tensorfiles
from stitching.records.files import replacing
from stitching.records.tensorfiles import DamagedFile, NoChecksum, Tensors

if TYPE_CHECKING:
    from filelock import BaseFileLock

log = logging.getLogger(__name__)

#: How often entries are computed before a disk that returns other bytes counts as broken.
_ATTEMPTS = 3


def content_key(parts: Mapping[str, Any]) -> str:
    """Return SHA-256 (hex) of plain values by name, in any order of the names."""
    return hashlib.sha256(_as_text(parts).encode("ascii")).hexdigest()


def _as_text(parts: Mapping[str, Any]) -> str:
    return json.dumps(parts, sort_keys=True, ensure_ascii=True, allow_nan=False)


@dataclass(frozen=True)
class Entry:
    """One file of a cache, which may not exist yet.

    Attributes:
        path: Its path.
        parts: Everything its content depends on, as plain values.
        shapes: Shapes of its tensors by name, where they are known beforehand.
    """

    path: Path
    parts: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def exists(self) -> bool:
        """Return whether there is a file of these parts whose checksum is right.

        Its bytes are read once per process. The first damaged file of a process is warned of.
        """
        try:
            self._check(tensorfiles.read(self.path, head=True))
        except FileNotFoundError:
            return False
        except DamagedFile as problem:
            _report(self.path, problem)
            return False
        return True

    def read(self) -> Tensors:
        """Return the tensors, on the CPU.

        Raises:
            DamagedFile: The file is damaged.
            FileNotFoundError: There is no file.
        """
        content = tensorfiles.read(self.path)
        self._check(content)
        return content.tensors

    def write(self, tensors: Tensors) -> None:
        """Write the file, or replace it.

        Raises:
            OSError: The folder cannot be written to, or the disk is full.
        """
        from safetensors import SafetensorError

        partial = _partial(self.path)
        try:
            partial.parent.mkdir(exist_ok=True)
            _remove_orphans(partial.parent)
            with replacing(self.path, partial=partial, durable=False):  # flushed by `write`
                tensorfiles.write(partial, tensors, self.parts)
                # Safetensors lets its owner alone read: use the folder's permissions to read.
                partial.chmod(partial.parent.stat().st_mode & 0o666)
            tensorfiles.sync_folder(self.path.parent)
        except (OSError, SafetensorError) as error:
            raise _unwritable(self.path, error) from error

    def _check(self, content: tensorfiles.Content) -> None:
        """Check that an undamaged file is of this entry."""
        if content_key(content.parts) != content_key(self.parts):
            raise DamagedFile("it is another entry's file")
        for name, shape in self.shapes.items():
            if content.shapes.get(name) != shape:
                raise DamagedFile(f"{name} has shape {content.shapes.get(name)}, not {shape}")

    def lock(self) -> "BaseFileLock":
        """Return a lock between processes and threads, released when its owner dies."""
        from filelock import FileLock

        return FileLock(self.path.with_suffix(".lock"))

    def acquire(self, lock: "BaseFileLock", blocking: bool = True) -> None:
        """Make the lock's folder and acquire the lock.

        Raises:
            Timeout: Another process holds it, and `blocking` is false.
            OSError: The folder cannot be written to, or the disk is full.
        """
        from filelock import Timeout

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=blocking)
        except Timeout:
            raise
        except OSError as error:
            raise _unwritable(self.path, error) from error


def _partial(path: Path) -> Path:
    """Return the path at which a file is written before it is renamed, unique to the process."""
    writer = f"{socket.gethostname()}~{os.getpid()}"
    return path.parent.parent / "partial" / f"{writer}~{path.name}"


@functools.cache
def _remove_orphans(folder: Path) -> None:
    """Remove, once per process, partial files of killed processes of this machine."""
    for path in folder.glob(f"{socket.gethostname()}~*~*"):
        try:
            os.kill(int(path.name.split("~")[1]), 0)
        except ProcessLookupError:
            path.unlink(missing_ok=True)
        except (OSError, ValueError):
            continue  # alive, of another user, or of another program


#: Entries that this process has logged as damaged, with the kind of damage.
_reported: set[tuple[Path, type[DamagedFile]]] = set()


def _report(path: Path, problem: DamagedFile) -> None:
    """Log a damaged entry: the first of a process at a higher level than others."""
    kind = type(problem)
    if (path, kind) in _reported:
        return
    before = any(other is kind for _, other in _reported)
    _reported.add((path, kind))
    if kind is NoChecksum:
        text = "cache: %s is of an earlier version and computed again, as all such entries: %s"
        log.log(logging.DEBUG if before else logging.INFO, text, path, problem)
    else:
        log.log(
            logging.INFO if before else logging.WARNING,
            "cache: an entry of kind %s is damaged and computed again: %s: %s. A full or failing "
            "disk does this, or a lost power; further damaged entries are logged at level info",
            path.parent.name,
            path,
            problem,
        )


def _unwritable(path: Path, error: Exception) -> OSError:
    return OSError(
        f"the cache cannot be written to: {path.parent}: {error}; make room, or choose another "
        "folder with cache=DIR or the environment variable STITCHING_CACHE"
    )


class Cache:
    """A folder of tensors by key; those used last are kept in memory.

    Entries whose parts have a mark (`compute.transient`) lie in a temporary folder instead.

    Args:
        root: The folder, made when first written to.
        keep_bytes: Size of the tensors kept in memory.

    Attributes:
        computed: Entries that this process computed, by kind.
    """

    def __init__(self, root: Path, keep_bytes: int = 2**30) -> None:
        self.root = root
        self.keep_bytes = keep_bytes
        self.computed: Counter[str] = Counter()
        self._memory: dict[str, Tensors] = {}
        self._marked: set[str] = set()  # keys in memory
        self._aside: Path | None = None

    def tensors(
        self, kind: str, parts: Mapping[str, Any], compute: Callable[[], Tensors]
    ) -> Tensors:
        """Return named tensors, from memory, from disk, or computed and stored.

        Args:
            kind: Folder name, such as `latents`.
            parts: Everything their content depends on, as plain values.
            compute: Returns them, called when there is no entry.

        Returns:
            The tensors on the CPU; not to be modified.
        """
        entries = [self.entry(kind, parts)]
        return self.kept(
            kind,
            parts,
            lambda: self.filled(entries, lambda places: (compute() for _ in places))[0],
        )

    def kept(self, kind: str, parts: Mapping[str, Any], make: Callable[[], Tensors]) -> Tensors:
        """Return named tensors from memory, or make and keep them there; nothing is written.

        Arguments and result are those of `tensors`.
        """
        key = f"{kind}/{content_key(parts)}"
        if key not in self._memory:
            self._memory[key] = make()
            if is_marked(_as_text(parts)):
                self._marked.add(key)
            while len(self._memory) > 1 and self._size() > self.keep_bytes:
                self._memory.pop(next(iter(self._memory)))  # the one used longest ago
        else:
            self._memory[key] = self._memory.pop(key)  # now the last used
        return self._memory[key]

    def entry(
        self,
        kind: str,
        parts: Mapping[str, Any],
        shapes: Mapping[str, tuple[int, ...]] | None = None,
    ) -> Entry:
        """Return the entry on disk that `tensors` reads and writes."""
        root = self._temporary() if is_marked(_as_text(parts)) else self.root
        path = root / f"{kind}/{content_key(parts)}.safetensors"
        return Entry(path, parts, shapes or {})

    def forget_marked(self) -> None:
        """Remove the entries whose parts have a mark, from memory and disk."""
        for key in self._marked:
            self._memory.pop(key, None)
        self._marked.clear()
        if self._aside is not None:
            shutil.rmtree(self._aside, ignore_errors=True)
            self._aside = None

    def _temporary(self) -> Path:
        if self._aside is None:
            self._aside = Path(tempfile.mkdtemp(prefix="stitching-"))
            weakref.finalize(self, shutil.rmtree, self._aside, ignore_errors=True)
        return self._aside

    def filled(
        self,
        entries: Sequence[Entry],
        compute: Callable[[Iterator[int]], Iterable[Tensors]],
    ) -> list[Tensors]:
        """Fill entries as `fill` does, and return their tensors.

        Raises:
            OSError: The disk repeatedly returns other bytes than were written.
        """
        for _ in range(_ATTEMPTS):
            self.fill(entries, compute)
            try:
                return [entry.read() for entry in entries]
            except (DamagedFile, FileNotFoundError) as problem:
                last = problem  # since `fill` has verified it
        raise OSError(
            f"the cache {self.root} does not return what is written to it: {last}; choose another "
            "folder with cache=DIR or the environment variable STITCHING_CACHE"
        )

    def fill(
        self,
        entries: Sequence[Entry],
        compute: Callable[[Iterator[int]], Iterable[Tensors]],
    ) -> None:
        """Compute the entries that are not on disk; afterwards all are.

        Each is written as soon as it is computed, so that a stopped run goes on from there.
        Processes that fill the same entries at the same time share the work: each computes
        entries that no other one has reserved, and waits for the rest.

        Args:
            entries: The entries.
            compute: Takes an iterator of places in `entries` and yields their tensors in the same
                order. `next` reserves a place for this process, so take few ahead. Called again
                for places that another process had reserved and did not finish.
        """
        missing = [i for i, entry in enumerate(entries) if not entry.exists()]
        while missing:
            missing = _fill_free(entries, missing, compute, self.computed)
            if missing:
                # No entry is reserved meanwhile: processes cannot wait in a circle.
                lock = entries[missing[0]].lock()
                entries[missing[0]].acquire(lock)
                lock.release()

    def _size(self) -> int:
        return sum(t.nbytes for entry in self._memory.values() for t in entry.values())


def _fill_free(
    entries: Sequence[Entry],
    missing: Sequence[int],
    compute: Callable[[Iterator[int]], Iterable[Tensors]],
    computed: Counter[str],
) -> list[int]:
    """Compute the missing entries that others have not reserved; return the places of the rest."""
    from filelock import Timeout

    reserved: deque[tuple[Entry, BaseFileLock]] = deque()
    others = []

    def reserve() -> Iterator[int]:
        for i in missing:
            lock = entries[i].lock()
            try:
                entries[i].acquire(lock, blocking=False)
            except Timeout:
                others.append(i)
                continue
            reserved.append((entries[i], lock))
            if entries[i].exists():  # another process was first
                reserved.pop()
                lock.release()
            else:
                yield i

    try:
        for tensors in compute(reserve()):
            entry, lock = reserved[0]
            entry.write(tensors)
            computed[entry.path.parent.name] += 1
            reserved.popleft()
            lock.release()
        assert not reserved, "fewer results than entries"
    finally:
        for _, lock in reserved:
            lock.release()
    return others
