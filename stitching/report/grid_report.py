"""The report of one grid: tables of raw and of rounded values, heatmaps, pictures, curves."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from stitching.report import tables
from stitching.report.drawing.curves import setting_curve
from stitching.report.drawing.learning import learning_curves as draw_learning
from stitching.report.drawing.pictures import picture_grid
from stitching.report.figures import draw_figures
from stitching.report.figures.pictures import read_pictures
from stitching.report.heatmaps import first_model, heatmap
from stitching.report.latex import latex
from stitching.report.limits import LARGEST_SIDE
from stitching.results import learning
from stitching.results.configs import swept_setting
from stitching.results.grid import Grid
from stitching.results.output import LEARNING, Output, picture_name
from stitching.results.raw import Raw


@dataclass
class Page:
    """Text and files of a report.

    Attributes:
        heading: One line: how many cells finished, and the settings that they share.
        body: Tables for the console.
        notes: Notes on what was left out.
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
        large = max(len(grid.decoders), len(grid.encoders)) > LARGEST_SIDE
        body = "" if large else tables.print_table(grid)
        page = Page(heading, body, [*tables.not_measured(grid), *grid.notes], [])
    page.paths = paths + out.write(files)
    out.remove_others(page.paths)
    return page


def write_raw(raw: Raw, out: Output) -> list[Path]:
    """Write raw values, one row per finished cell."""
    with ThreadPoolExecutor(1) as beside:  # pyarrow leaves Python to others while it writes
        parquet = beside.submit(raw.parquet)
        path = out.write_pieces("grid.csv", raw.csv())
    return [path, *out.write({"grid.parquet": parquet.result()})]


def _curves(grid: Grid, swept: tuple[str, list[float]]) -> tuple[dict[str, bytes | str], Page]:
    """Return curves by file name, and the text for the console."""
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
    if setting == learning.SETTING:
        files |= _learning(grid)
    return files, Page(heading, text, notes, [], swept=True)


def _learning(grid: Grid) -> dict[str, bytes | str]:
    """Return learning curves with their limits, by file name; empty where there are none."""
    curves = learning.learning_curves(grid.done)
    if not curves:
        return {}
    own = {
        (key, cell.decoder): value
        for cell in grid.done
        if cell.diagonal
        for key in learning.EXTRAPOLATED
        if key.startswith("image/") and (value := cell.number(key)) is not None
    }
    table, numbers, picture = LEARNING
    return {
        table: learning.markdown(curves, tables.setting_of(grid)),
        numbers: learning.as_csv(curves),
        picture: draw_learning(curves, own),
    }


def _heatmaps(grid: Grid) -> dict[str, bytes]:
    return {
        picture_name("heatmap", measure.key): heatmap(grid, measure)
        for measure in grid.measured
        if measure.pictured
        if any(cell.number(measure.key) is not None for cell in grid.cells.values())
    }


def _pictures(grid: Grid) -> dict[str, bytes]:
    """Return `pictures.png` by its name, if any cell has pictures.

    Raises:
        ValueError: Cells show different test images.
    """
    pictures = read_pictures(grid, grid.decoders)
    grid.notes += pictures.unreadable
    if pictures.original is None:
        return {}
    sheet = picture_grid(
        pictures.original, pictures.of, grid.encoders, grid.decoders, first_model(grid)
    )
    buffer = io.BytesIO()
    sheet.save(buffer, format="png")
    return {"pictures.png": buffer.getvalue()}


def written(paths: Sequence[Path]) -> str:
    """Return a list of files for the console."""
    return "\n".join(["written:", *(f"  {path}" for path in paths)])
