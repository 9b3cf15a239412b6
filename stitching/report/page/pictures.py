"""Pictures of cells and figures, reduced to fit into the page."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stitching.records.program import command_line
from stitching.report.limits import Limits
from stitching.report.page.packing import Chunks, href
from stitching.results.cell import CellRecord
from stitching.results.output import FIGURES as FOLDER
from stitching.results.output import Output
from stitching.results.variants import View

_NAME = re.compile(r"figure(?P<number>\d+)(?P<rest>.*)")


def add_pictures(views: Sequence[View], chunks: Chunks, limits: Limits) -> tuple[int, list[str]]:
    """Pack the reconstructions of cells, while there is room.

    Returns:
        How many cells were left out, with a picture or without; and notes on unreadable files.
    """
    places = [
        (f"picture-{number}-{place}", cell)
        for number, view in enumerate(views)
        for place, cell in enumerate(view.cells)
        if cell and cell.state == "done"
    ]
    few = len(places) <= limits.pictures_cells
    budget = limits.pictures_cells if few else limits.pictures_first
    room, left_out, notes = limits.pictures_bytes, 0, []
    for name, cell in places:
        path = cell.path / "reconstructions.png"
        if budget <= 0 or room <= 0:
            left_out += 1
            continue
        try:
            image = _small(path, limits.picture_width, limits)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            notes.append(f"{cell.path.name}: {path.name} cannot be read ({error})")
            continue
        budget -= 1
        used = chunks.add(name, image, room)
        room = room - used if used else 0
        left_out += not used
    return left_out, notes


def add_tiles(views: Sequence[View], chunks: Chunks, limits: Limits) -> int:
    """Pack one test image as every cell of a grid decodes it, while there is room.

    Returns:
        How many grids were left out.
    """
    room, left_out = limits.tiles_bytes, 0
    for number, view in enumerate(views):
        tiles = [_tile(cell, "picture.png", limits) for cell in view.cells]
        if not any(tiles):
            continue
        first = next(x for x, tile in zip(view.cells, tiles, strict=True) if tile)
        original = _tile(first, "picture_original.png", limits)
        used = chunks.add(f"tiles-{number}", {"original": original, "of": tiles}, room)
        room -= used
        left_out += not used
    return left_out


def _tile(cell: CellRecord | None, name: str, limits: Limits) -> str:
    """Return a picture of a cell as a data URL; "" where there is none that can be read."""
    if cell is None or cell.state != "done":
        return ""
    try:
        return str(_small(cell.path / name, limits.tile_width, limits)["url"])
    except (OSError, ValueError):  # the drawer of the cell has a note on it
        return ""


def _small(path: Path, most: int, limits: Limits) -> dict[str, Any]:
    """Return a picture as a data URL with its size, at most `most` pixels wide.

    It is reduced by a whole factor, as pictures of cells are enlarged by one: a pixel of the
    model stays a square.
    """
    from PIL import Image

    with Image.open(path) as file:
        image = file.convert("RGB")
    width, height = image.size
    factor = -(-image.width // most)
    if factor > 1:
        image = image.reduce(factor)
    buffer = io.BytesIO()
    image.save(buffer, format="webp", quality=limits.picture_quality, method=2)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return {"url": f"data:image/webp;base64,{data}", "width": width, "height": height}


def add_figures(
    folder: Path, views: Sequence[View], chunks: Chunks, page: Path, limits: Limits
) -> list[dict[str, Any]]:
    """Pack the figures that were drawn, of the sweep and of each of its protocols and seeds.

    Returns:
        One entry each, with a link to its file; "chunk" is empty where there was no room. The
        entry of a figure without a file holds what it needs.
    """
    from stitching.report.figures.files import FIGURES, missing_figures

    output, drawn = Output(folder), f"{FOLDER}/figure*.svg"
    found = [("", path) for path in output.found(drawn)]
    for variant in dict.fromkeys(view.variant for view in views if view.variant):
        found += [(variant.label, path) for path in output.variant(variant.folder).found(drawn)]
    room, entries = limits.figures_bytes, []
    for number, (label, path) in enumerate(found):
        name = _NAME.match(path.stem)
        which = int(name["number"]) if name else 0
        used = 0
        if room > 0:
            text = path.read_text(encoding="utf-8", errors="replace")
            used = chunks.add(f"figure-{number}", text, room)
            room -= used
        entries.append(
            {
                "number": which,
                "name": path.stem,
                "title": FIGURES[which].title if which in FIGURES else path.stem,
                "part": name["rest"].strip("-_.").replace("_", " ") if name else "",
                "variant": label,
                "href": href(path, page),
                "chunk": f"figure-{number}" if used else "",
            }
        )
    there = {entry["number"] for entry in entries}
    grid = next((view.grid for view in views if view.grid.cells), None)
    lacks = missing_figures(grid) if grid else {}
    by_report = f"drawn by a report: `{command_line('report', str(folder))}`"
    return entries + [
        {"number": number, "title": figure.title, "needs": lacks.get(number, by_report)}
        for number, figure in FIGURES.items()
        if number not in there
    ]
