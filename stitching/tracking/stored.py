"""Format of the files of offline runs."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

#: Bytes from the start of a file that contain the settings of the run.
HEAD_BYTES = 2**22

#: Layout: ":W&B", a magic number and a version; then blocks as in LevelDB's log format.
_START, _BLOCK, _HEADER, _LAST = 7, 32768, 7, (1, 4)


def file_of(run: Path) -> Path:
    """Return the file of the run that a folder `offline-run-*` is named after."""
    return run / f"run-{run.name.rpartition('-')[2]}.wandb"


def records_in(data: bytes) -> Iterator[bytes]:
    """Yield the records of a file, from its first bytes on; one that is cut off is left out."""
    position, parts = _START, b""
    while position + _HEADER <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER:  # too short for a header: padding
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        position += _HEADER
        if position + length > len(data):
            return
        parts += data[position : position + length]
        position += length
        if kind in _LAST:  # a whole record, or the last part of one
            yield parts
            parts = b""
