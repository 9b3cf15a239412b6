"""Facts about image files, kept between runs as long as the system says a file is the same.

An image is known by its bytes. They are read again unless device, inode, size, and both times
of the file at that very path are those at which they were read: nothing but the system sets the
second time (ctime), so no copy, archive or checkout can repeat all five with other bytes. Where
the second time may be a copy of the first, as in a container's image, files are always read.
"""

import contextlib
import hashlib
import logging
import os
import time
import warnings
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import PIL

from stitching.data.decoding import READER_VERSION, Facts, look_at
from stitching.records.files import replacing

log = logging.getLogger(__name__)

#: What the facts depend on besides the bytes; raise the first number when the look changes.
_VERSION = f"1, reader {READER_VERSION}, Pillow {PIL.__version__}"

#: A file that changes twice within one tick of the clock keeps its times. No clock of a file
#: system ticks slower than FAT's, in 2 s: younger files are read again the next time.
_TICK_NS = 2_000_000_000

#: File systems with a ctime of their own. Others (squashfs, FAT, sshfs; an overlay of one of
#: these) may repeat the mtime, which a copy keeps: there, only a ctime unlike it counts.
_WITH_CTIME = frozenset(
    {
        "bcachefs", "beegfs", "btrfs", "ceph", "ext2", "ext3", "ext4", "f2fs", "gpfs", "lustre",
        "nfs", "nfs4", "tmpfs", "xfs", "zfs",
    }
)  # fmt: skip

#: Files that one thread reads in a row.
_CHUNK = 32

#: As many files are worth a line in the log: they take seconds.
_MANY = 5000

#: A status, then SHA-256, width, height and damage.
Row = list[int | str]

#: Device, inode, size, mtime and ctime of a file (ns).
Status = tuple[int, int, int, int, int]


class Stamps:
    """The facts about files below one folder.

    The table of a folder is one file in the cache. One that is damaged, of another version, or
    missing costs time alone, and so does a cache that cannot be written to.

    Args:
        root: The folder.
        cache: The cache folder; None: nothing is kept.
    """

    def __init__(self, root: Path, cache: Path | None) -> None:
        """Name the table; nothing is read yet."""
        self._prefix = os.path.join(root, "")
        self._table: Path | None = None
        if cache is not None:
            # Two ways to one folder share a table. Computers that number their disks differently
            # do not, or each would replace the other's.
            place = f"{os.stat(root).st_dev} {os.path.realpath(root)}"
            name = hashlib.sha256(os.fsencode(place)).hexdigest()
            self._table = cache / "stamps" / f"{name}.json"
        self._rows: dict[str, Row] | None = None

    def look(self, paths: Collection[Path]) -> dict[Path, Facts]:
        """Return the facts about files; those that do not exist are left out.

        Args:
            paths: Files below the root.
        """
        if self._rows is None:
            self._rows = _read(self._table)
        found, unknown = {}, []
        for path in paths:
            row = self._rows.get(str(path).removeprefix(self._prefix))
            facts = None if row is None else _recall(path, row)
            if facts is None:
                unknown.append(path)
            else:
                found[path] = facts
        if unknown:
            found |= self._read_all(unknown)
        return found

    def _read_all(self, paths: list[Path]) -> dict[Path, Facts]:
        """Read files side by side, and keep what may be kept."""
        if len(paths) >= _MANY:
            where = self._prefix
            log.info("reading %d images below %s, to know them by content", len(paths), where)
        chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
        # Decoders may warn without naming the file. When pixels are read, they warn again.
        with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
            warnings.simplefilter("ignore")
            seen = [one for chunk in pool.map(_look_at_all, chunks) for one in chunk]
        devices = _devices_with_ctime()
        found: dict[Path, Facts] = {}
        new: dict[str, Row] = {}
        for path, (facts, status) in zip(paths, seen, strict=True):
            if facts is not None:
                found[path] = facts
                own = status is not None and (status[0] in devices or status[3] != status[4])
                if status is not None and own and not facts.problem:
                    key = str(path).removeprefix(self._prefix)
                    new[key] = [*status, facts.sha256, *facts.size, facts.damage]
        if new and self._table is not None:
            assert self._rows is not None
            self._rows |= new
            _write(self._table, self._rows)
        return found


def _look_at_all(paths: list[Path]) -> list[tuple[Facts | None, Status | None]]:
    return [_look_at(path) for path in paths]


def _look_at(path: Path) -> tuple[Facts | None, Status | None]:
    """Return the facts, None for no such file, and the status if it will show a change."""
    now = time.time_ns()
    try:
        with open(path, "rb") as stream:
            before = _status(os.fstat(stream.fileno()))
            data = stream.read()
            after = _status(os.fstat(stream.fileno()))
    except FileNotFoundError:
        return None, None
    except OSError as error:
        return Facts("", problem=error.strerror or str(error)), None
    mtime, ctime = before[3:]
    settled = abs(now - mtime) > _TICK_NS and now - ctime > _TICK_NS
    return look_at(data), before if settled and before == after else None


def _devices_with_ctime() -> set[int]:
    """Return the devices that are mounted as one of `_WITH_CTIME`; Linux says which."""
    devices = set()
    with contextlib.suppress(OSError), open("/proc/self/mountinfo", "rb") as lines:
        for line in lines:
            # ID parent major:minor root place options [tags ...] - type source options
            before, _, after = line.decode("utf-8", "replace").partition(" - ")
            if after.partition(" ")[0] in _WITH_CTIME:
                major, minor = before.split()[2].split(":")
                devices.add(os.makedev(int(major), int(minor)))
    return devices


def _recall(path: Path, row: Row) -> Facts | None:
    """Return what a row of the table says about a file, if that is the file it was."""
    try:
        status = _status(os.stat(path))
    except OSError:
        return None
    if list(status) != row[:5]:
        return None
    sha256, width, height, damage = row[5:]
    return Facts(str(sha256), (int(width), int(height)), damage=str(damage))


def _status(status: os.stat_result) -> Status:
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return (status.st_dev, status.st_ino, status.st_size, *times)


def _read(table: Path | None) -> dict[str, Row]:
    """Return the rows of a table; none if it is not whole."""
    if table is None:
        return {}
    try:
        digest, _, body = table.read_bytes().partition(b"\n")
        if digest != _digest(body):
            return {}
        content = orjson.loads(body)
        rows: dict[str, Row] = content["files"] if content["version"] == _VERSION else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return rows


def _write(table: Path, rows: dict[str, Row]) -> None:
    """Write a table whole; the last of several processes wins."""
    # A name that is no valid text, or a number beyond 64 bits, cannot be kept.
    kept = {key: row for key, row in rows.items() if _is_text(key)}
    with contextlib.suppress(OSError, TypeError):
        body = orjson.dumps({"version": _VERSION, "files": kept})
        table.parent.mkdir(parents=True, exist_ok=True)
        with replacing(table) as partial:
            partial.write_bytes(_digest(body) + b"\n" + body)


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode("ascii")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
