"""How data lie in the page: as text that no parser of HTML takes for anything else."""

from __future__ import annotations

import base64
import gzip
import html
import json
import math
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

# In JSON these only occur in strings, where the escapes mean the same.
_UNSAFE = {ord(x): f"\\u{ord(x):04x}" for x in "<>&\u2028\u2029"}


def as_json(value: object) -> str:
    """Return JSON without spaces; numbers that are not finite are errors."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def as_script(value: object) -> str:
    """Return JSON that may stand between script tags, whatever its strings hold."""
    return as_json(value).translate(_UNSAFE)


def escape(text: object) -> str:
    """Return text for HTML, also between quotes."""
    return html.escape(str(text), quote=True)


def rounded(values: Iterable[float | None], digits: int) -> list[float | None]:
    """Return numbers with so many significant digits; None for what is not finite."""
    import numpy as np

    numbers = np.array([math.nan if x is None else x for x in values], dtype=np.float64)
    known = np.isfinite(numbers)
    size = np.abs(np.where(known & (numbers != 0), numbers, 1.0))
    power = digits - 1 - np.floor(np.log10(size)).astype(np.int64)
    # A whole number by or times a power of ten is the nearest float: as short as it can be.
    with np.errstate(over="ignore", invalid="ignore"):
        whole = np.round(numbers * 10.0**power)
        short = np.where(power >= 0, whole / 10.0 ** np.abs(power), whole * 10.0 ** np.abs(power))
    known &= np.isfinite(short)
    found = [x if ok else None for x, ok in zip(short.tolist(), known.tolist(), strict=True)]
    return [int(x) if x is not None and x.is_integer() and abs(x) < 1e15 else x for x in found]


def href(path: Path, page: Path) -> str:
    """Return a link from the page to a file beside or below it."""
    return quote(f"{_way(path.parent, page.parent)}/{path.name}".removeprefix("./"))


@lru_cache(maxsize=256)  # the cells of a sweep lie in one folder
def _way(to: Path, start: Path) -> str:
    return Path(os.path.relpath(to, start)).as_posix()


class Chunks:
    """Parts of the data that the page unpacks when it first needs them.

    Attributes:
        texts: By name, base64 of gzip of JSON.
    """

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def add(self, name: str, value: object, room: int | None = None) -> int:
        """Pack a value under a name.

        Args:
            name: Letters, digits and dashes.
            value: What JSON can hold.
            room: Bytes that it may take; without limit if None.

        Returns:
            Bytes in the file; 0 where there was no room, and then nothing is added.
        """
        packed = gzip.compress(as_json(value).encode("utf-8", "replace"), 6, mtime=0)
        text = base64.b64encode(packed).decode("ascii")
        if room is not None and len(text) > room:
            return 0
        self.texts[name] = text
        return len(text)

    def html(self) -> str:
        """Return all chunks as elements that browsers do not run."""
        return "\n".join(
            f'<script type="text/plain" id="chunk-{name}">{text}</script>'
            for name, text in self.texts.items()
        )
