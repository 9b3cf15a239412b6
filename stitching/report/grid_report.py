"""The report of one grid: tables of raw and of rounded values, heatmaps, pictures, curves."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stitching.report import tables
from stitching.report.drawing.curves import setting_curve
from stitching.report.drawing.pictures import picture_grid
from stitching.report.figures import draw_figures
from stitching.report.heatmaps import heatmap
from stitching.report.latex import latex
from stitching.report.limits import LARGEST_SIDE
from stitching.results import formats
from stitching.results.configs import swept_setting
from stitching.results.frame import Raw
from stitching.results.grid import Grid, Pair
from stitching.results.marks import legend
from stitching.results.output import Output, picture_name

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Page", "report_grid", "write_raw", "written"]


@dataclass(frozen=True)
class Page:
    """What a report wrote.

    Attributes:
        heading: One line: how many cells finished, and what they have in common.
        body: Tables for the console.
        notes: What was left out.
        paths: Files.
        swept: Whether every pair has several cells, which curves show instead of tables.
    """

    heading: str
    body: str
    notes: list[str]
    paths: list[Path]
    swept: bool = False


def report_grid(
    grid: Grid,
    out: Output,
    name: str = "",
    *,
    whole: Raw | None = None,
    pictures: bool = True,
    figures: bool = False,
) -> Page:
    """Write the report of a grid into a folder, and remove what an earlier one left there.

    Args:
        grid: Finished cells, and others.
        out: Folder.
        name: Of one grid among several of a sweep.
        whole: Raw values of all of these.
        pictures: Whether to draw heatmaps and the sheet of pictures, and to make tables of all
            measures; else of those of the console.
        figures: Whether to draw the paper's figures.

    Raises:
        ForeignFilesError: A file of other origin has the name of one to write.
        ValueError: Cells of one encoder and decoder differ in their results, or show different
            test images.
    """
    paths = write_raw(Raw(grid, whole), out)
    files: dict[str, bytes | str] = {}
    repeated = len(grid.frame) > len(grid.cells)
    swept = swept_setting(grid.done) if repeated else None
    if swept is not None:
        files, page = _curves(grid, swept)
    else:
        if pictures:
            files |= _heatmaps(grid) | _pictures(grid)
        if figures:
            files |= draw_figures(grid)
        measures = [m for m in grid.measured if pictures or m.printed]
        files["table.md"] = tables.markdown(grid, measures)
        files["table.tex"] = latex(grid, name, measures)
        pairs = len(grid.encoders) * len(grid.decoders)
        heading = f"{pairs - len(grid.absent)} of {pairs} cells finished"
        heading += f": {tables.setting_of(grid)}"
        notes = [*tables.not_measured(grid), *grid.notes]
        page = Page(heading, _console(grid), notes, [])
    paths += out.write(files)
    out.remove_others(paths)
    return Page(page.heading, page.body, page.notes, paths, page.swept)


def write_raw(raw: Raw, out: Output) -> list[Path]:
    """Write raw values, one row per finished cell."""
    with ThreadPoolExecutor(1) as beside:  # pyarrow leaves Python to others while it writes
        parquet = beside.submit(raw.parquet)
        path = out.write_pieces("grid.csv", raw.csv())
    return [path, *out.write({"grid.parquet": parquet.result()})]


def _console(grid: Grid) -> str:
    if len(grid.decoders) > LARGEST_SIDE or len(grid.encoders) > LARGEST_SIDE:
        return ""
    return tables.print_table(grid)


def _curves(grid: Grid, swept: tuple[str, list[float]]) -> tuple[dict[str, bytes | str], Page]:
    """Return pictures by name, and what the console shows."""
    import pandas as pd

    setting, values = swept
    frame = grid.frame.assign(**{setting: values})
    measures = grid.measured
    files: dict[str, bytes | str] = {}
    for measure in [m for m in measures if m.pictured]:
        numbers = pd.to_numeric(frame[measure.key], errors="coerce")
        image = setting_curve(frame.assign(**{measure.key: numbers}), setting, measure)
        files[picture_name("curve", measure.key)] = image
    keys = [measure.key for measure in measures if measure.printed]
    table = frame[["encoder", "decoder", setting, *keys]]
    text = table.to_string(index=False, float_format=lambda x: f"{x:.4g}")
    notes = [note for note in grid.notes if not note.startswith("repeats")]
    heading = f"{len(table)} cells finished, over {setting}:"
    return files, Page(heading, text, notes, [], swept=True)


def _heatmaps(grid: Grid) -> dict[str, bytes]:
    files = {}
    for measure in [m for m in grid.measured if m.pictured]:
        values = tables.grid_values(grid, measure)
        if not any(isinstance(value, float) for row in values for value in row):
            continue
        texts = tables.grid_texts(grid, measure)
        notes = [tables.setting_of(grid), *tables.caveats(grid, measure)]
        image = heatmap(
            values,
            [[value + sign for value, _, sign in row] for row in texts],
            grid.encoders,
            grid.decoders,
            title=measure.label,
            subtitle=formats.direction(measure),
            lower_is_better=measure.lower_is_better,
            by_column=measure.by_column,
            floor=measure.floor,
            small=[[interval for _, interval, _ in row] for row in texts],
            notes=[*notes, *legend(sign for row in texts for _, _, sign in row)],
        )
        files[picture_name("heatmap", measure.key)] = image
    return files


def _pictures(grid: Grid) -> dict[str, bytes]:
    """Return `pictures.png` by its name, from the pictures that cells left, if any did.

    Raises:
        ValueError: Cells show different test images.
    """
    originals: dict[bytes, str] = {}
    original: Image.Image | None = None
    stitched: dict[Pair, Image.Image | str] = dict(grid.absent)
    for pair, cell in grid.cells.items():
        try:
            stitched[pair] = _open(cell.path / "picture.png")
            original = _open(cell.path / "picture_original.png")
        except OSError as error:
            stitched[pair] = "missing" if isinstance(error, FileNotFoundError) else "invalid"
            grid.notes.append(f"{cell.path.name} without pictures: {error}")
            continue
        originals.setdefault(original.tobytes(), cell.path.name)
    if len(originals) > 1:
        raise ValueError(
            f"the cells {' and '.join(originals.values())} show different test images: sweep one "
            "setting of `data` and `picture` per folder"
        )
    if original is None:
        return {}
    tiles = [
        [stitched[encoder, decoder] for encoder in grid.encoders] for decoder in grid.decoders
    ]
    buffer = io.BytesIO()
    picture_grid(original, tiles, grid.encoders, grid.decoders).save(buffer, format="png")
    return {"pictures.png": buffer.getvalue()}


def _open(path: Path) -> Image.Image:
    from PIL import Image

    with Image.open(path) as image:
        return image.convert("RGB")


def written(paths: Sequence[Path]) -> str:
    """Return a list of files for the console."""
    return "\n".join(["written:", *(f"  {path}" for path in paths)])
