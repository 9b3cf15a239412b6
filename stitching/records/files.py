"""Files: atomic writing, JSON, checksums, time stamps."""

import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

#: End of the name of a file that is being written.
PARTIAL = ".partial"


@contextmanager
def replacing(path: Path, *, durable: bool = True, partial: Path | None = None) -> Iterator[Path]:
    """Yield a new file to write to, which becomes `path` at the end; on an error it is removed.

    A reader sees the old content or the new one.

    Args:
        path: The file; its folder exists.
        durable: Whether that holds after a loss of power too: the file is then flushed to disk
            before it is renamed, which takes milliseconds.
        partial: The new file, on the same disk; None for an unused name beside `path`.
    """
    partial = partial or _new_beside(path)
    try:
        yield partial
        if durable:
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def partial_name(name: str, number: int = 0) -> str:
    """Return the name under which this process writes a file before renaming it."""
    return f".{name}.{os.getpid()}.{number}{PARTIAL}"


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty where the file is missing or damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def as_json(values: Mapping[str, Any]) -> bytes:
    """Return values as JSON.

    Raises:
        ValueError: A value is NaN or infinite, which JSON does not have.
    """
    return (json.dumps(values, indent=1, allow_nan=False) + "\n").encode()


def write_json(path: Path, values: Mapping[str, Any], *, durable: bool = True) -> None:
    """Write values as JSON, atomically; arguments and errors as in `as_json` and `replacing`."""
    data = as_json(values)
    with replacing(path, durable=durable) as partial:
        partial.write_bytes(data)


def sha256_of(path: Path) -> str:
    """Return SHA-256 (hex) of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def now() -> str:
    """Return the time, in UTC, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _new_beside(path: Path) -> Path:
    for number in itertools.count():
        partial = path.with_name(partial_name(path.name, number))
        with suppress(FileExistsError):
            partial.touch(exist_ok=False)
            return partial
    raise AssertionError  # the count has no end
