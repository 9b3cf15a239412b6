"""Content-keyed files: what was computed once from the same inputs is read, not computed again.

A key is the hash of everything the content depends on, so an entry never goes stale; it can only
become unused. Files are written under another name and renamed, so a reader sees all or nothing,
and a lock keeps two processes from computing the same entry side by side.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor


def content_key(parts: Mapping[str, Any]) -> str:
    """Return SHA-256 (hex) of plain values under names; the order of names does not count."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class Cache:
    """A folder of tensors by key, with a small memory of the entries last used.

    Args:
        root: The folder, made when first written to.
        keep_bytes: Size of the entries held in memory; a sweep visits the same few again.
    """

    def __init__(self, root: Path, keep_bytes: int = 2**30) -> None:
        self.root = root
        self.keep_bytes = keep_bytes
        self._memory: dict[str, dict[str, Tensor]] = {}

    def tensors(
        self, kind: str, parts: Mapping[str, Any], compute: Callable[[], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Return named tensors, from memory, from disk, or computed and stored.

        Args:
            kind: What they are, a folder name such as `latents`.
            parts: Everything their content depends on, as plain values.
            compute: Makes them when there is no entry.

        Returns:
            The tensors on the CPU; not to be modified.
        """
        key = f"{kind}/{content_key(parts)}"
        if key not in self._memory:
            self._memory[key] = self._from_disk(key, compute, parts)
            while len(self._memory) > 1 and self._size() > self.keep_bytes:
                self._memory.pop(next(iter(self._memory)))  # the one used longest ago
        else:
            self._memory[key] = self._memory.pop(key)  # now the last used
        return self._memory[key]

    def _size(self) -> int:
        return sum(t.nbytes for entry in self._memory.values() for t in entry.values())

    def _from_disk(
        self, key: str, compute: Callable[[], dict[str, Tensor]], parts: Mapping[str, Any]
    ) -> dict[str, Tensor]:
        from filelock import FileLock

        path = self.root / f"{key}.safetensors"
        found = self._read(path)
        if found is not None:
            return found
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            found = self._read(path)  # another process may have been first
            if found is None:
                found = {name: value.cpu().contiguous() for name, value in compute().items()}
                self._write(path, found, parts)
        return found

    @staticmethod
    def _read(path: Path) -> dict[str, Tensor] | None:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if not path.is_file():
            return None
        try:
            return load_file(path)
        except SafetensorError:
            # Written whole or not at all, so this is damage from outside: compute it again.
            path.unlink(missing_ok=True)
            return None

    @staticmethod
    def _write(path: Path, tensors: dict[str, Tensor], parts: Mapping[str, Any]) -> None:
        from safetensors.torch import save_file

        partial = path.with_suffix(f".{os.getpid()}.partial")
        try:
            # The parts go into the header, so a person can see what an entry is.
            save_file(tensors, partial, metadata={"parts": json.dumps(parts, sort_keys=True)})
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
