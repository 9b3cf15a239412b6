"""The figures that a grid allows, their files, and the commands for the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stitching.report.drawing.sheet import Sheet, page_style
from stitching.report.figures.errors import draw_errors, error_measures
from stitching.report.figures.facts import map_pairs
from stitching.report.figures.pictures import gans, picture_grid, picture_strip, pictured
from stitching.report.figures.probes import draw_accuracy, draw_agreement, mapped_cells, own_cells
from stitching.report.figures.training import courses, draw_training
from stitching.results.cell import CellRecord
from stitching.results.commands import figure_command
from stitching.results.grid import Grid, require_unique
from stitching.results.output import FIGURES as FOLDER
from stitching.results.output import Output

#: Fewest models whose probes are compared.
_MODELS = 2

#: Most maps by attribute that a page holds.
_MAPS = 60


@dataclass(frozen=True)
class Figure:
    """One of the paper's figures.

    Attributes:
        title: Its contents, in words.
        draw: Draws it.
        lacks: Returns what a grid lacks for it, or "".
    """

    title: str
    draw: Callable[[Grid], Sheet]
    lacks: Callable[[Grid], str]


def write_figures(grid: Grid, out: Path) -> list[Path]:
    """Write the figures that a grid allows, remove those of an earlier call, and return the files.

    Args:
        grid: Cells of one protocol and seed, as for `draw_figures`.
        out: A folder for figures alone; its `report.json` lists them.

    Raises:
        ForeignFilesError: A file of other origin has the name of a figure.
        ValueError: Cells of one pair of models differ, or show different test images.
    """
    output = Output(out)
    paths = output.write(draw_figures(grid))
    output.remove_others(paths)
    return paths


def draw_figures(grid: Grid) -> dict[str, bytes]:
    """Draw the figures that a grid allows.

    Args:
        grid: Cells of one protocol and seed; for figure 6, of several checkpoints as decoders.

    Returns:
        Contents of `figures/figureN.svg` and `figures/figureN.png`, by these names: the same to
        the byte for the same cells.

    Raises:
        ValueError: Cells of one encoder and decoder differ in their results, or show different
            test images.
    """
    require_unique(grid.frame)
    drawn: dict[str, bytes] = {}
    with page_style():
        for number, figure in FIGURES.items():
            if figure.lacks(grid):
                continue
            name = f"Figure {number}: {figure.title}"
            files = figure.draw(grid).save(name, f"Made from the cells in {grid.folder.name}.")
            drawn |= {f"{FOLDER}/figure{number}.{kind}": data for kind, data in files.items()}
    return drawn


def missing_figures(grid: Grid) -> dict[int, str]:
    """Return for each figure that a grid does not allow what it lacks, and the command for it."""
    reasons = {number: figure.lacks(grid) for number, figure in FIGURES.items()}
    return {
        n: f"{reason}; run: {figure_command(n, grid)}" for n, reason in reasons.items() if reason
    }


def _lacks_pictures(grid: Grid) -> str:
    if not map_pairs(grid):
        return "needs a finished cell of two different models"
    if not any(pictured(cell) for cell in map_pairs(grid)):
        return "needs the pictures of cells, which this grid does not have"
    return ""


def _lacks_gan(grid: Grid) -> str:
    names = gans(grid)
    cells = [cell for cell in grid.off_diagonal if cell.decoder in names]
    return "" if any(map(pictured, cells)) else "needs finished cells with the GAN as decoder"


def _lacks_errors(grid: Grid) -> str:
    if not map_pairs(grid):
        return "needs a finished cell of two different models"
    measures = [m for m in error_measures(grid) if m.key.startswith("image/")]
    return "" if measures else "needs the metrics rmse, lpips and fid or fd_effnet"


def _models(grid: Grid) -> dict[str, CellRecord]:
    """Return the cells of figure 4: of each training the last checkpoint only."""
    earlier = {
        cell.decoder for course in courses(grid) for cell in list(course.cells.values())[:-1]
    }
    return {name: cell for name, cell in own_cells(grid).items() if name not in earlier}


def _lacks_accuracy(grid: Grid) -> str:
    few = len(_models(grid)) < _MODELS
    return "needs attribute probes of two models as decoders" if few else ""


def _lacks_agreement(grid: Grid) -> str:
    cells, pairs = mapped_cells(grid), map_pairs(grid)
    if len(cells) > _MAPS:
        return f"shows {_MAPS} maps at most, and this grid has {len(cells)}: choose models"
    if not any(cell in pairs for cell in cells):
        return "needs attribute probes on a map between two different models"
    return ""


def _lacks_training(grid: Grid) -> str:
    return "" if courses(grid) else "needs checkpoints of one training as decoders, with probes"


FIGURES = {
    1: Figure("one test image through every pair of models", picture_grid, _lacks_pictures),
    2: Figure("images decoded by the GAN", picture_strip, _lacks_gan),
    3: Figure("errors of what goes through a map", draw_errors, _lacks_errors),
    4: Figure(
        "probe accuracy on own latents",
        lambda grid: draw_accuracy(grid, _models(grid)),
        _lacks_accuracy,
    ),
    5: Figure(
        "agreement of probes on own and mapped latents",
        lambda grid: draw_agreement(grid, mapped_cells(grid)),
        _lacks_agreement,
    ),
    6: Figure(
        "probe accuracy along a training",
        lambda grid: draw_training(grid, courses(grid)[0]),
        _lacks_training,
    ),
}
