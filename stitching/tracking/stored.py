"""What an offline run on disk says of itself."""

from __future__ import annotations

import string
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Stored", "file_of", "is_own", "read_stored"]

#: Kinds of runs, and length of the identities, that this project gives.
_KINDS, _ID_LENGTH = ("cell", "summary", "train"), 12

#: What is read of a file: settings come first.
_HEAD_BYTES = 2**22

#: Layout of a file: ":W&B", a magic number and a version; then blocks as in LevelDB's log format.
_START, _BLOCK, _HEADER, _LAST = 7, 32768, 7, (1, 4)


class Stored(NamedTuple):
    """Identity of a run.

    Attributes:
        id: In its project.
        group: Sweep that it belongs to; "" for none.
        job_type: Kind of run.
    """

    id: str
    group: str
    job_type: str


def file_of(run: Path) -> Path:
    """Return the file of the run that a folder `offline-run-*` is named after."""
    return run / f"run-{run.name.rpartition('-')[2]}.wandb"


def read_stored(run: Path) -> Stored | None:
    """Return the identity of an offline run; None where its file cannot be read.

    Args:
        run: Its folder, `offline-run-*`.
    """
    from wandb.proto import wandb_internal_pb2 as proto

    try:
        with file_of(run).open("rb") as file:
            data = file.read(_HEAD_BYTES)
        for text in _records(data):
            record = proto.Record.FromString(text)  # type: ignore[attr-defined]
            if record.WhichOneof("record_type") == "run":
                found = record.run
                return Stored(found.run_id, found.run_group, found.job_type)
    except Exception:  # a damaged file, or one that is no run at all
        return None
    return None


def is_own(run: Path) -> bool:
    """Return whether a run has the identity, the kind and the group that this project gives."""
    found = read_stored(run)
    return (
        found is not None
        and run.name.endswith(f"-{found.id}")
        and len(found.id) == _ID_LENGTH
        and set(found.id) <= set(string.hexdigits.lower())
        and found.job_type in _KINDS
        and bool(found.group)
    )


def _records(data: bytes) -> Iterator[bytes]:
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
