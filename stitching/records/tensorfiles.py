"""Safetensors files with a checksum of all their bytes, which shows damage from outside.

The metadata of such a file holds, as JSON under `stitching`, what the content depends on (`parts`)
and a `checksum`: XXH3 (128 bits, hex) of the whole file, with zeros in place of these digits. So
names, types, shapes, padding and length count as much as the values. The hash takes 18 GB/s where
SHA-256 takes 1.7; it detects accidents, not forgery.
"""

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import xxhash
from torch import Tensor

#: Named tensors, the content of a file.
Tensors = dict[str, Tensor]

#: What distinguishes one state of a file from another: a change of its bytes changes one of them.
State = tuple[int, int, int, int, int]

_DIGITS = 32
_ZEROS = b"0" * _DIGITS
#: In front of the digits. One key of metadata: several would be written in any order.
_KEY = "stitching"
_MARK = b'"stitching":"{\\"checksum\\": \\"'
#: Bytes hashed at a time.
_CHUNK = 2**22
#: A file that was written so shortly before is looked at again: its next change might not show,
#: for some file systems count time in seconds.
_TICK_NS = 2 * 10**9
#: Bytes of a tensor up to which it is copied into memory; larger ones stay mapped files.
_LARGEST_COPY = 2**31
#: Larger headers are no safetensors files, by the format's own limit.
_LARGEST_HEADER = 100_000_000


class DamagedFile(ValueError):
    """A file is not what was written; the message says in which way."""


class NoChecksum(DamagedFile):
    """A file that is whole in form but has no checksum: of an earlier version."""


class Content(NamedTuple):
    """What a file holds.

    Attributes:
        tensors: By name, on the CPU; empty where only `head` was read.
        shapes: Their shapes by name.
        parts: What the content depends on.
    """

    tensors: Tensors
    shapes: dict[str, tuple[int, ...]]
    parts: dict[str, Any]


def state_of(path: Path) -> State:
    """Return what changes when the file does.

    Raises:
        FileNotFoundError: There is no such file.
    """
    found = path.stat()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def write(path: Path, tensors: Mapping[str, Tensor], parts: Mapping[str, Any]) -> None:
    """Write tensors and their checksum, and wait until they are on the disk.

    Args:
        path: Another name than readers look for: the file is whole only on return.
        tensors: By name.
        parts: What they depend on, as plain values.

    Raises:
        OSError, safetensors.SafetensorError: The file cannot be written.
    """
    from safetensors.torch import save_file

    plain = {name: value.cpu().contiguous() for name, value in tensors.items()}
    card = {"checksum": _ZEROS.decode(), "parts": parts}
    save_file(plain, path, metadata={_KEY: json.dumps(card, sort_keys=True)})
    with path.open("r+b") as file:
        digits, at = _checksum(path)
        file.seek(at)
        file.write(digits)
        file.flush()
        # Else a power cut after the rename may leave the name with zeros behind it.
        os.fsync(file.fileno())


def read(path: Path) -> Content:
    """Return the content of a file that is whole.

    Raises:
        DamagedFile: It is not, or was cut short meanwhile.
        FileNotFoundError: There is no such file.
    """
    return _content(path, head=False)


def head(path: Path) -> Content:
    """Return the content of a file that is whole, without its tensors; errors as in `read`."""
    return _content(path, head=True)


def _content(path: Path, head: bool) -> Content:
    from safetensors import SafetensorError, safe_open

    verify(path)
    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            tensors = {} if head else {name: _kept(file.get_tensor(name)) for name in names}
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
            return Content(tensors, shapes, json.loads(file.metadata()[_KEY])["parts"])
    except SafetensorError as error:
        raise DamagedFile(str(error)) from error


def _kept(tensor: Tensor) -> Tensor:
    # A mapped file that is cut short later would end the process, a copy of a huge one might too.
    return tensor.clone() if tensor.nbytes <= _LARGEST_COPY else tensor


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def verify(path: Path) -> None:
    """Check the checksum of a file: once per process, and again whenever the file has changed.

    Raises:
        DamagedFile: Cut short, or with other bytes than were written.
        NoChecksum: Without a checksum, as earlier versions wrote them.
        FileNotFoundError: There is no such file.
        PermissionError: It may not be read.
    """
    now = state_of(path)
    known = _verdicts.get(path)
    if known is None or known[0] != now:
        known = (now, _problem(path))
        if time.time_ns() - max(now[3:]) > _TICK_NS:
            _verdicts[path] = known
    if known[1] is not None:
        raise type(known[1])(*known[1].args)


#: What was found of each file, and in which state.
_verdicts: dict[Path, tuple[State, DamagedFile | None]] = {}


def _problem(path: Path) -> DamagedFile | None:
    try:
        digits, at = _checksum(path)
        with path.open("rb") as file:
            file.seek(at)
            stored = file.read(_DIGITS)
    except DamagedFile as problem:
        return problem
    except (FileNotFoundError, PermissionError):
        raise
    except OSError as error:
        return DamagedFile(f"it cannot be read ({error})")  # a bad block
    return None if stored == digits else DamagedFile("its checksum is wrong")


def _checksum(path: Path) -> tuple[bytes, int]:
    """Return the digits that a file should hold, and their place in it."""
    found = xxhash.xxh3_128()
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        size = os.fstat(file.fileno()).st_size
        if not 0 < length <= min(size - 8, _LARGEST_HEADER):
            raise DamagedFile(f"its header is damaged or cut short, at {size} bytes in all")
        header = file.read(length)
        at = header.find(_MARK) + len(_MARK)
        if at < len(_MARK):
            raise _without_checksum(path)
        found.update(length.to_bytes(8, "little"))
        found.update(header[:at] + _ZEROS + header[at + _DIGITS :])
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest().encode(), 8 + at


def _without_checksum(path: Path) -> DamagedFile:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            if set(file.metadata() or {}) == {"parts"}:
                return NoChecksum("it has no checksum")
    except SafetensorError as error:
        return DamagedFile(str(error))
    return DamagedFile("its checksum is missing")
