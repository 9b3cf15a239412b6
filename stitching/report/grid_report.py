"""The report of one grid: tables of raw and of rounded values, heatmaps, pictures, curves."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stitching.report import tables
from stitching.report.drawing.curves import setting_curve
from stitching.report.drawing.learning import learning_curves as draw_learning
from stitching.report.drawing.pictures import picture_grid
from stitching.report.figures import draw_figures
from stitching.report.figures.pictures import read_pictures
from stitching.report.heatmaps import first_model, heatmap
from stitching.report.latex import latex, main_latex
from stitching.report.limits import LARGEST_SIDE
from stitching.results import learning
from stitching.results.configs import swept_setting
from stitching.results.grid import Grid
from stitching.results.marks import short_legend
from stitching.results.measures import main_measures
from stitching.results.output import LEARNING, Output, picture_name
from stitching.results.raw import Raw
from stitching.results.summary import summary_csv

if TYPE_CHECKING:
    from PIL import Image


@dataclass
class Page:
    """A report, as the console shows it.

    Attributes:
        heading: The settings that its cells share.
        table: Lines of the main table.
        notes: Notes on what was left out.
        paths: Files.
        main: The file with the main table.
        swept: Whether every pair has several cells, which curves show instead of tables.
    """

    heading: str
    table: list[str]
    notes: list[str]
    paths: list[Path]
    main: str = "table.md"
    swept: bool = False


def report_grid(
    grid: Grid,
    out: Output,
    name: str = "",
    *,
    raw: Raw | None = None,
    pictures: bool = True,
    figures: bool = False,
) -> Page:
    """Write the report of a grid into a folder, and remove what an earlier one left there.

    Args:
        grid: Finished cells, and others.
        out: Folder.
        name: Of one grid among several of a sweep.
        raw: Its raw values.
        pictures: Whether to draw heatmaps and the sheet of pictures, and to make tables of all
            measures; else of the main ones.
        figures: Whether to draw the paper's figures.

    Raises:
        ForeignFilesError: A file of other origin has the name of one to write.
        ValueError: Cells of one encoder and decoder differ in their results, or show different
            test images.
    """
    paths = write_rows(raw or Raw(grid), {name: grid}, out)
    files: dict[str, bytes | str] = {}
    swept = swept_setting(grid.done) if grid.repeated else None
    if swept is not None:
        files, page = _curves(grid, swept)
    else:
        if pictures:
            files |= _heatmaps(grid) | _pictures(grid)
        if figures:
            files |= draw_figures(grid)
        files |= _tables(grid, name, all_measures=pictures)
        table = [] if len(grid.decoders) > LARGEST_SIDE else _console_table(grid)
        page = Page(tables.setting_of(grid), table, [*_absent(grid), *grid.notes], [])
    page.paths = paths + out.write(files)
    out.remove_others(page.paths)
    return page


def _tables(grid: Grid, name: str, *, all_measures: bool) -> dict[str, bytes | str]:
    """Return tables of the main measures by file name, and those of all others."""
    main = main_measures(grid.measured)
    others = [measure for measure in grid.measured if all_measures and measure not in main]
    files: dict[str, bytes | str] = {
        "table.md": tables.main_markdown(grid, "tables.md" if others else ""),
        "table.tex": main_latex(grid, name),
    }
    if others:
        files["tables.md"] = tables.markdown(grid, others, "Other measures of the grid")
        files["tables.tex"] = latex(grid, name, others)
    return files


def _console_table(grid: Grid) -> list[str]:
    """Return the lines of the first main measure; none where no cell has one."""
    for measure in main_measures(grid.measured):
        signs = tables.signs_of(grid, measure)
        return [*tables.text_table(grid, measure), *short_legend(signs)]
    return []


def _absent(grid: Grid) -> list[str]:
    """Return the measures that no cell has, in one line."""
    keys = [measure.key for measure in tables.absent_measures(grid)]
    return [f"in no cell (reasons in table.md): {', '.join(keys)}"] if keys else []


def write_rows(raw: Raw, grids: Mapping[str, Grid], out: Output) -> list[Path]:
    """Write a row of raw values per finished cell, then one of main measures per pair of models.

    Args:
        raw: All values.
        grids: The same cells by protocol and seed.
        out: Folder.

    Raises:
        ValueError: Cells of one pair differ in their results: the rows of cells are written.
    """
    paths = out.write({"grid.parquet": raw.parquet()})
    return [*paths, *out.write({"summary.csv": summary_csv(grids)})]


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
    keys = [measure.key for measure in main_measures(measures)]
    table = frame[["encoder", "decoder", setting, *keys]]
    text = table.to_string(index=False, float_format=lambda x: f"{x:.4g}")
    notes = [note for note in grid.notes if not note.startswith("repeats")]
    if setting == learning.SETTING:
        files |= _learning(grid)
    main = LEARNING[0] if LEARNING[0] in files else next(iter(files), "summary.csv")
    return files, Page(f"over {setting}", text.splitlines(), notes, [], main, swept=True)


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


def picture_sheet(grid: Grid) -> Image.Image | None:
    """Return one test image by every pair of models, encoders by decoders; None without pictures.

    Cells whose pictures cannot be read are added to the grid's notes.

    Raises:
        ValueError: Cells show different test images.
    """
    pictures = read_pictures(grid, grid.decoders)
    grid.notes += pictures.unreadable
    if pictures.original is None:
        return None
    apart = first_model(grid)
    return picture_grid(pictures.original, pictures.of, grid.encoders, grid.decoders, apart)


def _pictures(grid: Grid) -> dict[str, bytes]:
    """Return `pictures.png` by its name, if any cell has pictures."""
    sheet = picture_sheet(grid)
    if sheet is None:
        return {}
    buffer = io.BytesIO()
    sheet.save(buffer, format="png")
    return {"pictures.png": buffer.getvalue()}
