"""Reports of earlier versions, which left no record of what they wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

_BOOKTABS = b"% Needs \\usepackage{booktabs}"

#: How files begin that name their writer.
_STARTS = {
    "grid.csv": (b"encoder,decoder,",),
    "summary.csv": (b"encoder,decoder,kind,state",),
    "table.md": (b"# Stitching grid\n",),
    "tables.md": (b"# Other measures of the grid\n",),
    "table.tex": (_BOOKTABS, b"% One table per measure. " + _BOOKTABS[2:]),
    "tables.tex": (_BOOKTABS,),
    "protocols.md": (b"# Protocols side by side\n",),
    "protocols.csv": (b"measure,protocol,seeds,encoder,decoder,value,",),
    "claims.md": (b"# Claims\n",),
    "claims.json": (b'{\n "claims": [',),
}

#: How other files begin: they count where one of `_ROWS` beside them is of a report.
_KINDS = {".png": b"\x89PNG\r\n\x1a\n", ".svg": b"<?xml ", ".parquet": b"PAR1"}

_ROWS = ("summary.csv", "grid.csv")

_PAGE, _TITLE = b"<!doctype html>\n", b": stitching grid</title>"

#: Bytes of a file that are looked at; the title of a page lies in them.
_HEAD_BYTES = 4096


def files_of_earlier(folder: Path, names: Callable[[Path], Iterable[str]]) -> list[str]:
    """Return the files below a sweep's folder that a report of an earlier version wrote.

    Args:
        folder: Of the sweep.
        names: Returns the names that a report has in a folder of tables.

    Returns:
        Paths below the folder, with "/". The content must begin as a report's.
    """
    places = [folder, *(folder / "report").glob("*/")]
    return [
        str(PurePosixPath((place / name).relative_to(folder)))
        for place in places
        for name in _written(place, names(place))
    ]


def _written(place: Path, names: Iterable[str]) -> Iterator[str]:
    reported = any(_head(place / name).startswith(_STARTS[name]) for name in _ROWS)
    for name in names:
        head, kind = _head(place / name), PurePosixPath(name).suffix
        if name in _STARTS:
            ours = head.startswith(_STARTS[name])
        elif kind == ".html":
            ours = head.startswith(_PAGE) and _TITLE in head
        else:
            ours = reported and kind in _KINDS and head.startswith(_KINDS[kind])
        if ours:
            yield name


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return b""
