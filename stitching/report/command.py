"""Everything that is told of a sweep: tables, figures, answers to the claims, and the page.

`python -m stitching.report DIR` runs it, and so does the end of a sweep.
"""

from __future__ import annotations

import argparse
import json
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from stitching import claims
from stitching.report.files import add_arguments, report_folders
from stitching.report.page import write_page
from stitching.report.summary import summary_of
from stitching.results.output import CLAIMS, Output
from stitching.results.reading import read_cells

__all__ = ["main", "report_sweeps"]


def main(argv: Sequence[str] | None = None) -> int:
    """Report one or more sweeps, and open their pages if asked to.

    Args:
        argv: Command line arguments without the program's name; None takes those of the process.

    Returns:
        0, also where cells failed: the summary names them. 1 where none has finished.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: Cells of one pair of models that differ in results, or no cell at all.
    """
    parser = argparse.ArgumentParser(
        "python -m stitching.report",
        description="Make tables, figures and a page from finished cells; compare protocols.",
    )
    add_arguments(parser)
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
    """Write and print all that is told of sweeps; return their pages.

    Args:
        folders: Of the sweeps.
        pictures: Whether to draw all pictures, however many cells there are.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No finished cell, or cells of one pair of models that differ in results.
    """
    reported = report_folders(folders, pictures=pictures)
    print(reported.text)
    pages = []
    for found in reported.folders:
        folder = found.grid.folder
        if not reported.less:
            _answer_claims(folder)
        pages.append(write_page(folder, found.grid.read, found.grid.notes, grids=found.parts))
        print("\n" + "\n".join([*summary_of(found.grid.read), f"page: {pages[-1]}"]))
    return pages


def report_failures(folder: Path) -> Path:
    """Write the page of a sweep that has no tables, and print what became of its cells.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No cell in it.
    """
    cells, notes = read_cells(folder)
    page = write_page(folder, cells, notes)
    print("\n".join([*summary_of(cells), f"page: {page}"]))
    return page


def _answer_claims(folder: Path) -> None:
    """Ask the claims of a sweep, and of those that they were last asked of together with it."""
    try:
        claims.answer(_asked(folder))
    except (ValueError, OSError) as error:
        Output(folder).remove(CLAIMS)  # of cells that are no more
        print(f"no claims: {error}")


def _asked(folder: Path) -> list[Path]:
    """Return the folders that the claims of a sweep were last asked of, itself first."""
    try:
        known = json.loads((folder / "claims.json").read_text(encoding="utf-8"))["claims"]
        others = {str(answer["folder"]) for claim in known for answer in claim["answers"]}
    except (OSError, ValueError, KeyError, TypeError):
        others = set()
    return [folder, *(Path(x) for x in sorted(others - {str(folder)}) if Path(x).is_dir())]
