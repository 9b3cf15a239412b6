"""The command `python -m stitching.report`: tables, figures, claims and pages of sweeps.

The end of a sweep writes the same with `report_sweeps`.
"""

from __future__ import annotations

import argparse
import json
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from stitching import claims
from stitching.records.plan import note_constants
from stitching.records.program import command_line
from stitching.report.grid_report import Page, report_grid, write_rows
from stitching.report.limits import MOST_FIGURES, left_out
from stitching.report.page import write_page
from stitching.report.protocol_tables import markdown, raw, summary
from stitching.report.summary import closing
from stitching.report.tables import setting_of
from stitching.results.cell import CellRecord
from stitching.results.grid import Grid, grid_of, read_grid
from stitching.results.output import CLAIMS, PROTOCOLS, VARIANTS, Output
from stitching.results.protocols import Comparison
from stitching.results.raw import Raw
from stitching.results.reading import read_cells
from stitching.results.variants import Variant, split

#: Lines of protocols or seeds that the console shows.
_MOST_PARTS = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Report one or more sweeps, and open their pages with `--open`.

    Args:
        argv: Command line arguments without the program's name; None takes those of the process.

    Returns:
        0, also where cells failed: the summary names them. 1 where a single sweep has no tables,
        because no cell has finished or cells differ: its page lists the cells.

    Raises:
        FileNotFoundError: No such folder.
        ForeignFilesError: A file of other origin has the name of one to write.
        ValueError: No cell at all; or, of several sweeps, one without a finished cell, cells of
            one pair of models that differ, or protocols on different data sets.
    """
    parser = argparse.ArgumentParser(
        command_line("report"),
        description="Make tables, figures and a page from finished cells; compare protocols.",
    )
    parser.add_argument(
        "dirs", metavar="DIR", type=Path, nargs="+", help="folder of a sweep, with its cells in it"
    )
    parser.add_argument(
        "--pictures",
        action="store_true",
        help="draw heatmaps, pictures and figures, and open resamples, however many cells there "
        "are",
    )
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    options = parser.parse_args(argv)
    code = 0
    try:
        pages = report_sweeps(options.dirs, pictures=options.pictures)
    except ValueError as error:
        if len(options.dirs) > 1:
            raise
        pages, code = [report_failures(options.dirs[0])], 1
        print(f"no tables: {error}")
    for page in pages if options.open else ():
        webbrowser.open(page.absolute().as_uri())
    return code


def report_sweeps(folders: Sequence[Path], *, pictures: bool = False) -> list[Path]:
    """Write tables, figures, claims and pages of sweeps, print the main table; return the pages.

    Args:
        folders: Of the sweeps.
        pictures: Whether to draw all pictures, however many cells there are.

    Raises:
        FileNotFoundError: No such folder.
        ForeignFilesError: A file of other origin has the name of one to write; none was written.
        ValueError: No finished cell, cells of one pair of models that differ in results, or
            protocols on different data sets.
    """
    for folder in folders:
        Output(folder).require_free()
    sweeps = [_Sweep.of(read_grid(folder)) for folder in folders]
    for sweep in sweeps:
        sweep.require_free()
    reports, less = _write_tables(sweeps, pictures=pictures)
    pages = []
    for sweep, report in zip(sweeps, reports, strict=True):
        grid, output = sweep.grid, Output(sweep.grid.folder)
        notes = [*([] if less else _answer_claims(grid.folder)), *report.notes]
        pages.append(write_page(grid.folder, grid.read, grid.notes, grids=sweep.parts))
        files = {"table": report.main, "numbers": "summary.csv"}
        paths = {"page": pages[-1]} | {word: output.folder / x for word, x in files.items()}
        print("\n".join(closing(grid.read, report.heading, report.table, notes, paths)))
    return pages


def report_failures(folder: Path) -> Path:
    """Write the page of a sweep that has no tables, and print the states of its cells.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No cell in it.
    """
    cells, notes = read_cells(folder)
    page = write_page(folder, cells, notes)
    print("\n".join(closing(cells, "", [], notes, {"page": page})))
    return page


class _Sweep(NamedTuple):
    """Cells of a sweep.

    Attributes:
        grid: All of them.
        parts: One grid for each protocol and seed.
        rest: Cells of unknown protocol and seed.
    """

    grid: Grid
    parts: dict[Variant, Grid]
    rest: list[CellRecord]

    @classmethod
    def of(cls, grid: Grid) -> _Sweep:
        parts, rest = split(grid.read)
        if len(parts) == 1:
            return cls(grid, {variant: grid for variant in parts}, rest)
        grids = {variant: grid_of(grid.folder, cells) for variant, cells in parts.items()}
        return cls(grid, grids, rest)

    def require_free(self) -> None:
        """Check that no file of the report replaces one of other origin, or another of its own.

        Raises:
            ForeignFilesError: A file of other origin has the name of one to write.
            ValueError: Two protocols would have the same folder.
        """
        output, several = Output(self.grid.folder), len(self.parts) > 1
        labels: dict[str, str] = {}
        for variant, part in self.parts.items():
            # Names that differ in capitals alone are one name on some systems.
            other = labels.setdefault(variant.folder.casefold(), variant.label)
            if other != variant.label:
                raise ValueError(
                    f"the protocols {other!r} and {variant.label!r} would have the same folder "
                    f"{VARIANTS}/{variant.folder}: give one another protocol.name"
                )
            place = output.variant(variant.folder) if several else output
            place.require_free(measures=[measure.key for measure in part.measured])


def _write_tables(sweeps: Sequence[_Sweep], *, pictures: bool) -> tuple[list[Page], str]:
    """Write tables and figures; return a report per sweep, and why parts were left out, or ""."""
    grids = [grid for sweep in sweeps for grid in sweep.parts.values()]
    less = "" if pictures else left_out(grids)
    figures = pictures or (not less and len(grids) <= MOST_FIGURES)
    for grid in grids:
        grid.compared = not less
        grid.notes += [less] if less else []
    compared = _comparison(sweeps)
    reports = [_report_sweep(sweep, pictures=not less, figures=figures) for sweep in sweeps]
    swept, paths = any(report.swept for report in reports), []
    if compared is not None and not swept and not (less and len(compared.protocols) > 1):
        paths = _write_comparison(compared, sweeps[0].grid.folder, every_cell=not less)
        reports[0].table += summary(compared).splitlines()
        reports[0].main = PROTOCOLS[0]
    for sweep in sweeps:
        folder = sweep.grid.folder
        Output(folder).remove([name for name in PROTOCOLS if folder / name not in paths])
    return reports, less


def _comparison(sweeps: Sequence[_Sweep]) -> Comparison | None:
    """Return the protocols of all sweeps side by side; None where there is only one."""
    if len(sweeps) == 1:
        parts = sweeps[0].parts
        return Comparison(parts) if len(parts) > 1 else None
    cells, _ = split(cell for sweep in sweeps for cell in sweep.grid.read)
    if len(cells) == 1:
        return None
    place = sweeps[0].grid.folder
    return Comparison({variant: grid_of(place, found) for variant, found in cells.items()})


def _write_comparison(compared: Comparison, folder: Path, *, every_cell: bool) -> list[Path]:
    for grid in compared.grids.values():
        grid.require_unique()  # cells of one protocol and pair may lie in two folders
    files = {"protocols.md": markdown(compared)}
    if every_cell:
        files["protocols.csv"] = raw(compared)
    return Output(folder).write(files)


def _report_sweep(sweep: _Sweep, *, pictures: bool, figures: bool) -> Page:
    """Write one report, or one per protocol and seed into folders below."""
    grid, parts, rest = sweep
    output, whole = Output(grid.folder), Raw(grid)
    note_constants(grid.folder, whole.constants)
    if len(parts) == 1:
        output.remove_variants(())
        return report_grid(grid, output, raw=whole, pictures=pictures, figures=figures)
    paths = write_rows(whole, {variant.label: part for variant, part in parts.items()}, output)
    output.remove_others(paths)
    output.remove_variants([variant.folder for variant in parts])
    pages = {
        variant.label: report_grid(
            part,
            output.variant(variant.folder),
            variant.label,
            raw=Raw(part, whole),
            pictures=pictures,
            figures=figures,
        )
        for variant, part in parts.items()
    }
    lines = [
        f"{variant.label}: {len(part.cells)} of {len(part.encoders) * len(part.decoders)} pairs"
        + (f", {pages[variant.label].heading}" if pages[variant.label].swept else "")
        for variant, part in parts.items()
    ]
    if len(lines) > _MOST_PARTS:
        lines[_MOST_PARTS:] = [f"and {len(lines) - _MOST_PARTS} more"]
    notes = [f"{cell.path.name} {cell.state}: {cell.reason}" for cell in rest]
    notes += [note for page in pages.values() for note in page.notes]
    heading = f"{len(parts)} protocols or seeds ({VARIANTS}/ has tables of each)"
    heading = ", ".join(part for part in (heading, setting_of(grid)) if part)
    swept = any(page.swept for page in pages.values())
    return Page(heading, lines, [*dict.fromkeys(notes)], paths, "grid.parquet", swept)


def _answer_claims(folder: Path) -> list[str]:
    """Answer the claims from this sweep and all others that its `claims.json` holds answers of.

    Returns:
        Why there are no claims, if there are none.
    """
    try:
        known = json.loads((folder / CLAIMS[1]).read_text(encoding="utf-8"))["claims"]
        others = {str(answer["folder"]) for claim in known for answer in claim["answers"]}
    except (OSError, ValueError, KeyError, TypeError):
        others = set()
    rest = [Path(x) for x in sorted(others - {str(folder)}) if Path(x).is_dir()]
    try:
        claims.answer([folder, *rest])
    except (ValueError, OSError) as error:
        Output(folder).remove(CLAIMS)  # they are of cells that are gone
        return [f"no claims: {error}"]
    return []
