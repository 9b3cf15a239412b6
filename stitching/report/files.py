"""The command: reports of one or more sweeps, and what differs between protocols."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from stitching.report.grid_report import Page, report_grid, write_raw, written
from stitching.report.limits import MOST_FIGURES, left_out
from stitching.report.protocol_tables import markdown, raw, summary
from stitching.results.cell import CellRecord
from stitching.results.frame import Raw
from stitching.results.grid import Grid, grid_of, read_grid
from stitching.results.output import PROTOCOLS, VARIANTS, Output
from stitching.results.protocols import Comparison
from stitching.results.variants import Variant, split

#: Lines of what was left out that the console shows of one grid.
_NOTES = 30


class Reported(NamedTuple):
    """What was reported of some folders.

    Attributes:
        folders: What lies in them.
        text: For the console.
        less: Why something was left out; "" if nothing was.
    """

    folders: list[Folder]
    text: str
    less: str


def main(argv: Sequence[str] | None = None) -> int:
    """Write and print tables and pictures of one or more sweeps.

    Args:
        argv: Command line arguments without the program's name; None takes those of the process.

    Returns:
        0, also where cells failed: the summary names them.

    Raises:
        FileNotFoundError: No such folder.
        ForeignFilesError: A file of other origin has the name of one to write.
        ValueError: No finished cell, two cells of one pair of models that differ, or protocols
            on different data sets.
    """
    parser = argparse.ArgumentParser(
        "python -m stitching.report",
        description="Make tables and pictures from finished cells; compare protocols.",
    )
    add_arguments(parser)
    options = parser.parse_args(argv)
    print(report_folders(options.dirs, pictures=options.pictures).text)
    return 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the folders of sweeps, and whether to draw what would take long."""
    parser.add_argument(
        "dirs", metavar="DIR", type=Path, nargs="+", help="folder of a sweep, with its cells in it"
    )
    parser.add_argument(
        "--pictures",
        action="store_true",
        help="draw heatmaps, pictures and figures, and open resamples, however many cells there "
        "are",
    )


def report_folders(dirs: Sequence[Path], *, pictures: bool = False) -> Reported:
    """Write tables and pictures of one or more sweeps.

    Args:
        dirs: Their folders.
        pictures: Whether to draw all of them, however many cells there are.

    Raises:
        FileNotFoundError: No such folder.
        ForeignFilesError: A file of other origin has the name of one to write; none was written.
        ValueError: No finished cell, two cells of one pair of models that differ, or protocols
            on different data sets.
    """
    for folder in dirs:
        Output(folder).require_free()
    folders = [Folder.of(read_grid(folder)) for folder in dirs]
    for found in folders:
        found.require_free()
    grids = [grid for folder in folders for grid in folder.parts.values()]
    less = "" if pictures else left_out(grids)
    figures = pictures or (not less and len(grids) <= MOST_FIGURES)
    for grid in grids:
        grid.compared = not less
        grid.notes += [less] if less else []
    compared = _comparison(folders)
    blocks, paths, swept = [], [], False
    for found in folders:
        pages = _report_folder(found, pictures=not less, figures=figures)
        blocks += [block for page in pages for block in _blocks(page, less, brief=len(pages) > 1)]
        swept = swept or any(page.swept for page in pages)
    if compared is not None and not swept and not (less and len(compared.protocols) > 1):
        paths = _write_comparison(compared, folders[0].grid.folder, every_cell=not less)
        blocks += [summary(compared), written(paths)]
    for folder in dirs:
        Output(folder).remove([name for name in PROTOCOLS if folder / name not in paths])
    return Reported(folders, "\n\n".join(block for block in [*blocks, less] if block), less)


class Folder(NamedTuple):
    """What lies in the folder of a sweep.

    Attributes:
        grid: All its cells.
        parts: One grid for each protocol and seed.
        rest: Cells that tell neither.
    """

    grid: Grid
    parts: dict[Variant, Grid]
    rest: list[CellRecord]

    @classmethod
    def of(cls, grid: Grid) -> Folder:
        """Take the cells of a sweep apart."""
        parts, rest = split(grid.read)
        if len(parts) == 1:
            return cls(grid, {variant: grid for variant in parts}, rest)
        grids = {variant: grid_of(grid.folder, cells) for variant, cells in parts.items()}
        return cls(grid, grids, rest)

    def require_free(self) -> None:
        """Check that the files of the report would replace neither others nor one another.

        Raises:
            ForeignFilesError: A file of other origin has the name of one to write.
            ValueError: Two protocols would have the same folder.
        """
        output, several = Output(self.grid.folder), len(self.parts) > 1
        labels: dict[str, str] = {}
        for variant in self.parts:
            # Names that differ in capitals alone are one name on some systems.
            other = labels.setdefault(variant.folder.casefold(), variant.label)
            if other != variant.label:
                raise ValueError(
                    f"the protocols {other!r} and {variant.label!r} would have the same folder "
                    f"{VARIANTS}/{variant.folder}: give one another protocol.name"
                )
        for variant, part in self.parts.items():
            place = output.variant(variant.folder) if several else output
            place.require_free(measures=[measure.key for measure in part.measured])


def _comparison(folders: Sequence[Folder]) -> Comparison | None:
    """Put the protocols of all folders side by side; None where there is only one."""
    if len(folders) == 1:
        parts = folders[0].parts
        return Comparison(parts) if len(parts) > 1 else None
    cells, _ = split(cell for folder in folders for cell in folder.grid.read)
    if len(cells) == 1:
        return None
    place = folders[0].grid.folder
    return Comparison({variant: grid_of(place, found) for variant, found in cells.items()})


def _write_comparison(compared: Comparison, folder: Path, *, every_cell: bool) -> list[Path]:
    for grid in compared.grids.values():
        grid.require_unique()  # cells of one protocol and pair may lie in two folders
    files = {"protocols.md": markdown(compared)}
    if every_cell:
        files["protocols.csv"] = raw(compared)
    return Output(folder).write(files)


def _report_folder(found: Folder, *, pictures: bool, figures: bool) -> list[Page]:
    """Write one report, or one per protocol and seed into folders below."""
    grid, parts, rest = found
    output = Output(grid.folder)
    if len(parts) == 1:
        output.remove_variants(())
        return [report_grid(grid, output, pictures=pictures, figures=figures)]
    whole = Raw(grid)
    paths = write_raw(whole, output)
    output.remove_others(paths)
    output.remove_variants([variant.folder for variant in parts])
    notes = [f"{cell.path.name} {cell.state}: {cell.reason}" for cell in rest]
    pages = [Page(f"{grid.folder}: {len(parts)} protocols or seeds", "", notes, paths)]
    for variant, part in parts.items():
        page = report_grid(
            part,
            output.variant(variant.folder),
            variant.label,
            whole=whole,
            pictures=pictures,
            figures=figures,
        )
        pages.append(page)
    return pages


def _blocks(page: Page, less: str, *, brief: bool) -> list[str]:
    """Return what the console shows of a report; of one among several only the heading."""
    notes = [note for note in page.notes if note != less]
    if len(notes) > _NOTES:
        notes[_NOTES:] = [f"and {len(notes) - _NOTES} more, in table.md"]
    if not brief:
        return [page.heading, page.body, "\n".join(notes), written(page.paths)]
    place = f"  {page.paths[0].parent}: {len(page.paths)} files"
    return ["\n".join([page.heading, *notes, place])]
