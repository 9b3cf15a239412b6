"""The command: reports of one or more sweeps, and what differs between protocols."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from stitching.report.grids import Grid, grid_of, read_grid, require_unique
from stitching.report.output import VARIANTS, remove_others, remove_variants, write
from stitching.report.pages import Page, report_grid, write_csv, written
from stitching.report.protocol_tables import markdown, raw, summary
from stitching.report.protocols import Comparison
from stitching.report.variants import split


def main(argv: Sequence[str] | None = None) -> int:
    """Write and print the report of one or more sweeps.

    Args:
        argv: Command line arguments without the program's name; None takes those of the process.

    Returns:
        0, also where cells failed: the summary names them.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No finished cell, two cells of one pair of models that differ, or protocols
            on different data sets.
    """
    parser = argparse.ArgumentParser(
        "python -m stitching.report",
        description="Make tables and pictures from finished cells; compare protocols.",
    )
    parser.add_argument(
        "dirs", metavar="DIR", type=Path, nargs="+", help="folder of a sweep, with its cells in it"
    )
    grids = [read_grid(folder) for folder in parser.parse_args(argv).dirs]
    compared = _comparison(grids)
    blocks, swept = [], False
    for grid in grids:
        pages = _report_folder(grid)
        blocks += [block for page in pages for block in _blocks(page, brief=len(pages) > 1)]
        swept = swept or any(page.swept for page in pages)
    if compared is not None and not swept:
        blocks += [summary(compared), written(_write_comparison(compared, grids[0].folder))]
    print("\n\n".join(block for block in blocks if block))
    return 0


def _comparison(grids: Sequence[Grid]) -> Comparison | None:
    """Put the protocols of all folders side by side; None where there is only one."""
    parts, _ = split(cell for grid in grids for cell in grid.read)
    if len(parts) == 1:
        return None
    return Comparison({key: grid_of(grids[0].folder, cells) for key, cells in parts.items()})


def _write_comparison(compared: Comparison, folder: Path) -> list[Path]:
    for grid in compared.grids.values():
        require_unique(grid.frame)  # cells of one protocol and pair may lie in two folders
    return [
        write(folder / "protocols.md", markdown(compared).encode()),
        write(folder / "protocols.csv", raw(compared).encode()),
    ]


def _report_folder(grid: Grid) -> list[Page]:
    """Write one report, or one per protocol and seed into folders below."""
    parts, rest = split(grid.read)
    if len(parts) == 1:
        remove_variants(grid.folder, ())
        return [report_grid(grid, grid.folder)]
    paths = [write_csv(grid, grid.folder)]
    remove_others(grid.folder, paths)
    remove_variants(grid.folder, [variant.folder for variant in parts])
    notes = [f"{cell.path.name} {cell.state}: {cell.reason}" for cell in rest]
    pages = [Page(f"{grid.folder}: {len(parts)} protocols or seeds", "", notes, paths)]
    for variant, cells in parts.items():
        out = grid.folder / VARIANTS / variant.folder
        pages.append(report_grid(grid_of(grid.folder, cells), out))
    return pages


def _blocks(page: Page, *, brief: bool) -> list[str]:
    """Return what the console shows of a report; of one among several only the heading."""
    notes = "\n".join(page.notes)
    if not brief:
        return [page.heading, page.body, notes, written(page.paths)]
    place = f"  {page.paths[0].parent}: {len(page.paths)} files"
    return ["\n".join(part for part in (page.heading, notes, place) if part)]
