"""Hashes of source files, for cache keys."""

import functools
import hashlib
import inspect
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from stitching.compute import batching, images, seeding

#: Packages whose classes are pinned by version, not by source.
_LIBRARIES = ("torch", "diffusers", "builtins", "abc", "typing")


def code_version(*classes: type) -> str:
    """Return SHA-256 (hex) of the source files that define classes and their bases.

    The files are read once in a process; those of batching, images and seeding are included.

    Args:
        classes: Of a model and of the modules inside it.

    Raises:
        TypeError: A class was defined at a prompt.
    """
    return _code_of(frozenset(classes))


@functools.cache
def _code_of(classes: frozenset[type]) -> str:
    files = {inspect.getsourcefile(module) for module in (batching, images, seeding)}
    for base in {base for cls in classes for base in cls.__mro__}:
        if base.__module__.partition(".")[0] not in _LIBRARIES:
            files.add(inspect.getsourcefile(base))
    return _hash_of_files(files)


@functools.cache
def source_version(*modules: ModuleType) -> str:
    """Return SHA-256 (hex) of the source files of modules, and of all files of packages."""
    files: set[str | None] = set()
    for module in modules:
        file = inspect.getsourcefile(module)
        files.add(file)
        if file and Path(file).name == "__init__.py":
            files |= {str(path) for path in Path(file).parent.rglob("*.py")}
    return _hash_of_files(files)


def _hash_of_files(files: Iterable[str | None]) -> str:
    digest = hashlib.sha256()
    for content in sorted(Path(file).read_bytes() for file in files if file):
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()
