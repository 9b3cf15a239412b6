"""Encoding of data in the page, safe in HTML."""

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

# In JSON these occur in strings only, where the escapes mean the same.
_UNSAFE = {ord(x): f"\\u{ord(x):04x}" for x in "<>&\u2028\u2029"}


def as_json(value: object) -> str:
    """Return JSON without spaces; numbers that are not finite are errors."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def as_script(value: object) -> str:
    """Return JSON that is safe between script tags."""
    return as_json(value).translate(_UNSAFE)


def escape(text: object) -> str:
    """Return text for HTML, also between quotes."""
    return html.escape(str(text), quote=True)


def rounded(values: Iterable[float | None], digits: int) -> list[float | None]:
    """Return numbers rounded to significant digits; None for a number that is not finite."""
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
        """Pack a value under a name; return its bytes in the file.

        Args:
            name: Letters, digits and dashes.
            value: Data that JSON can hold.
            room: Bytes that it may take, else nothing is added and 0 returned; no limit if None.
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
