"""Facts about image files, kept between runs while a file's status stays the same.

An image is identified by its bytes. They are read again unless device, inode, size and both times
of the file at its path are unchanged. Only the system sets the second time (ctime), so no copy,
archive or checkout can repeat all five with other bytes. Where the second time may be a copy of
the first, as in a container's image, files are always read.
"""

import contextlib
import hashlib
import logging
import os
import time
import warnings
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import orjson
import PIL

from stitching.data.decoding import READER_VERSION, Facts, inspect, reason
from stitching.records.files import replacing

log = logging.getLogger(__name__)

#: What the facts depend on besides the bytes; raise the first number when `inspect` changes.
_VERSION = f"1, reader {READER_VERSION}, Pillow {PIL.__version__}"

#: A file that changes twice within one tick of the clock keeps its times. The slowest clock of a
#: file system, FAT's, ticks every 2 s: younger files are read again the next time.
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

#: Number of files from which reading them takes seconds and is logged.
_MANY = 5000

#: A status, then SHA-256, width, height and damage.
Row = list[int | str]

#: Device, inode, size, mtime and ctime of a file (ns).
Status = tuple[int, int, int, int, int]


class Stamps:
    """The facts about files below one folder.

    They are kept in one file in the cache, the table of the folder. Where it is damaged, of
    another version, missing, or cannot be written, the images are read again.

    Args:
        root: The folder.
        cache: The cache folder; None: nothing is kept.
    """

    def __init__(self, root: Path, cache: Path | None) -> None:
        self._prefix = os.path.join(root, "")
        self._table: Path | None = None
        if cache is not None:
            # Two paths to one folder share a table. Computers that number their disks differently
            # do not, or each would replace the other's.
            place = f"{os.stat(root).st_dev} {os.path.realpath(root)}"
            name = hashlib.sha256(os.fsencode(place)).hexdigest()
            self._table = cache / "stamps" / f"{name}.json"

    @cached_property
    def _rows(self) -> dict[str, Row]:
        return {} if self._table is None else _read(self._table)

    def _key(self, path: Path) -> str:
        return str(path).removeprefix(self._prefix)

    def facts_of(self, paths: Collection[Path]) -> dict[Path, Facts]:
        """Return the facts about files; those that do not exist are left out.

        Args:
            paths: Files below the root.
        """
        found, unknown = {}, []
        for path in paths:
            row = self._rows.get(self._key(path))
            facts = None if row is None else _recall(path, row)
            if facts is None:
                unknown.append(path)
            else:
                found[path] = facts
        return found | self._read_all(unknown) if unknown else found

    def _read_all(self, paths: list[Path]) -> dict[Path, Facts]:
        """Read files in several threads, and keep what may be kept."""
        if len(paths) >= _MANY:
            where = self._prefix
            log.info("reading %d images below %s, to hash their content", len(paths), where)
        chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
        # Decoders may warn without naming the file. When pixels are read, they warn again.
        with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
            warnings.simplefilter("ignore")
            chunked = pool.map(lambda chunk: [_inspect(path) for path in chunk], chunks)
            seen = [one for chunk in chunked for one in chunk]
        devices = _devices_with_ctime()
        found: dict[Path, Facts] = {}
        new: dict[str, Row] = {}
        for path, (facts, status) in zip(paths, seen, strict=True):
            if facts is not None:
                found[path] = facts
                own = status is not None and (status[0] in devices or status[3] != status[4])
                if status is not None and own and not facts.problem:
                    new[self._key(path)] = [*status, facts.sha256, *facts.size, facts.damage]
        if new and self._table is not None:
            self._rows.update(new)
            _write(self._table, self._rows)
        return found


def _inspect(path: Path) -> tuple[Facts | None, Status | None]:
    """Return the facts, None for no such file; and the status, None where it may hide a change."""
    now = time.time_ns()
    try:
        with open(path, "rb") as stream:
            before = _status(os.fstat(stream.fileno()))
            data = stream.read()
            after = _status(os.fstat(stream.fileno()))
    except FileNotFoundError:
        return None, None
    except OSError as error:
        return Facts("", problem=reason(error)), None
    mtime, ctime = before[3:]
    settled = abs(now - mtime) > _TICK_NS and now - ctime > _TICK_NS
    return inspect(data), before if settled and before == after else None


def _devices_with_ctime() -> set[int]:
    """Return the devices that are mounted as one of `_WITH_CTIME`; none outside of Linux."""
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
    """Return the facts in a row of the table; None if the file is missing or has changed."""
    with contextlib.suppress(OSError):
        if list(_status(os.stat(path))) == row[:5]:
            sha256, width, height, damage = row[5:]
            return Facts(str(sha256), (int(width), int(height)), damage=str(damage))
    return None


def _status(status: os.stat_result) -> Status:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _read(table: Path) -> dict[str, Row]:
    """Return the rows of a table; none if it is damaged, missing or of another version."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        digest, _, body = table.read_bytes().partition(b"\n")
        content = orjson.loads(body) if digest == _digest(body) else {}
        if content["version"] == _VERSION:
            rows: dict[str, Row] = content["files"]
            return rows
    return {}


def _write(table: Path, rows: dict[str, Row]) -> None:
    """Write a table; the last of several processes wins."""
    # A name that is no valid text, or a number beyond 64 bits, cannot be kept.
    kept = {key: row for key, row in rows.items() if key == key.encode(errors="ignore").decode()}
    with contextlib.suppress(OSError, TypeError):
        body = orjson.dumps({"version": _VERSION, "files": kept})
        table.parent.mkdir(parents=True, exist_ok=True)
        with replacing(table) as partial:
            partial.write_bytes(_digest(body) + b"\n" + body)


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode("ascii")
