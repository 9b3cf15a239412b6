"""Learning curves in the page: the picture, and a table of limits."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stitching.report.limits import Limits
from stitching.report.page.packing import Chunks, href
from stitching.results.extrapolation import FLAGS
from stitching.results.formats import with_interval
from stitching.results.learning import SIGNS
from stitching.results.measures import measure_of
from stitching.results.output import LEARNING, Output
from stitching.results.variants import View


def add_learning(
    folder: Path, views: Sequence[View], chunks: Chunks, page: Path, limits: Limits
) -> tuple[list[dict[str, Any]], list[str]]:
    """Pack the learning curves that a report drew, of the sweep and of each protocol and seed.

    Returns:
        One entry for each picture, with links to its files; "chunk" is empty where there was no
        room. And notes on files that cannot be read.
    """
    entries: list[dict[str, Any]] = []
    output, notes = Output(folder), []
    found = [("", output)]
    for variant in dict.fromkeys(view.variant for view in views if view.variant):
        found.append((variant.label, output.variant(variant.folder)))
    room = limits.figures_bytes
    for label, place in found:
        if not all(place.found(name) for name in LEARNING):
            continue
        table, numbers, picture = (place.folder / name for name in LEARNING)
        try:
            value = {"url": _picture(picture), "tables": _tables(numbers)}
        except (OSError, ValueError, KeyError) as error:
            notes.append(f"learning curves cannot be read ({type(error).__name__}: {error})")
            continue
        name = f"learning-{len(entries)}"
        used = chunks.add(name, value, room)
        room -= used
        entries.append(
            {
                "variant": label,
                "chunk": name if used else "",
                "hrefs": [href(path, page) for path in (picture, table, numbers)],
                "signs": {SIGNS[flag]: text for flag, text in FLAGS.items()},
            }
        )
    return entries, notes


def _picture(path: Path) -> str:
    """Return the picture as a data URL, without loss."""
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").save(buffer, format="webp", lossless=True, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _tables(path: Path) -> list[dict[str, Any]]:
    """Return one table per measure: the largest size, the limit, its exponent and its signs."""
    last: dict[tuple[str, str, str], dict[str, str]] = {}
    tables: dict[str, list[list[str]]] = {}
    for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
        curve = row["measure"], row["encoder"], row["decoder"]
        if row["n_train"] != "inf":
            last[curve] = row
            continue
        signs = "".join(SIGNS.get(flag, "") for flag in row["flags"].split())
        exponent = f"{float(row['exponent']):.2f}" if row["exponent"] else ""
        rows = tables.setdefault(row["measure"], [])
        texts = [*_texts(last[curve]), *_texts(row), exponent, signs or row["reason"]]
        rows.append([f"{row['encoder']} to {row['decoder']}", last[curve]["n_train"], *texts])
    return [{"label": measure_of(key).label, "rows": rows} for key, rows in tables.items()]


def _texts(row: dict[str, str]) -> tuple[str, str]:
    if not row["value"]:
        return "", ""
    ends = (float(row["low"]), float(row["high"])) if row["low"] else None
    value, interval = with_interval(float(row["value"]), ends, measure_of(row["measure"]))
    return value, interval[1:-1]
