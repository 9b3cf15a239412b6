"""Files of a report: written whole, and removed when they no longer hold."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from stitching.report.measures import MEASURES

__all__ = ["VARIANTS", "picture_name", "remove_others", "remove_variants", "write"]

#: Below the folder of a sweep: one folder per protocol, where it has several.
VARIANTS = "report"

_KINDS = ("heatmap", "curve")

_TABLES = (
    "grid.csv", "grid.parquet", "table.md", "table.tex", "protocols.md", "protocols.csv",
)  # fmt: skip

#: What other commands make of a report's cells.
_OF_OTHERS = ("report.html", "figures/*.svg", "figures/*.png", "figures/*.pdf")


def picture_name(kind: str, key: str) -> str:
    """Return the file name of a measure's picture."""
    return f"{kind}_{key.replace('/', '_')}.png"


def write(path: Path, data: bytes | Iterable[bytes]) -> Path:
    """Write a file so that a reader sees the old one or the new one, whole; return its path.

    Args:
        path: The file; folders that it lies in are made.
        data: Contents, or pieces of them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def remove_others(folder: Path, keep: Collection[Path]) -> None:
    """Remove what an earlier report wrote into a folder, but for some files.

    The page and figures stay: they are other commands' to write again.
    """
    pictures = [picture_name(kind, measure.key) for kind in _KINDS for measure in MEASURES]
    names = [*_TABLES, "pictures.png", *pictures]
    for path in {folder / name for name in names}.difference(keep):
        path.unlink(missing_ok=True)


def remove_variants(folder: Path, keep: Collection[str]) -> None:
    """Remove the reports of protocols that a sweep no longer has, but for some of them."""
    parent = folder / VARIANTS
    for path in [*parent.iterdir()] if parent.is_dir() else []:
        if path.is_dir() and path.name not in keep:
            remove_others(path, ())
            for made in [found for pattern in _OF_OTHERS for found in path.glob(pattern)]:
                made.unlink(missing_ok=True)
            _remove_empty(path / "figures")
            _remove_empty(path)
    _remove_empty(parent)


def _remove_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
