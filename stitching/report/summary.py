"""The end of a sweep in a few lines for the console: states of cells, a table, paths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from stitching.results.cell import CellRecord
from stitching.results.formats import aligned
from stitching.results.reading import listed, read_cells

#: Lines of a sweep on the console at most.
MOST_LINES = 20

#: States and their words, from the best to the worst.
_WORDS = {
    "done": "succeeded",
    "unfinished": "unfinished",
    "missing": "missing",
    "invalid": "invalid",
    "failed": "failed",
}

#: Lines of cells that are not done, and of notes: a sweep of thousands may fail as a whole.
_MOST_FAILED, _MOST_NOTES = 4, 2

#: Characters of a line.
_WIDEST = 160


def summary_lines(folder: str | Path) -> list[str]:
    """Return `summary_of` the cells in a sweep's folder, and notes on what was left out.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No cell in it, and none planned.
    """
    cells, notes = read_cells(Path(folder))
    return [*summary_of(cells), *notes]


def summary_of(cells: Sequence[CellRecord]) -> list[str]:
    """Return how many cells succeeded, and which did not and why.

    Returns:
        One line with counts, such as "16 cells: 13 succeeded (5 of them reused), 2 failed,
        1 missing"; and a line for each of the first cells that are not done, with its reason.
    """
    counts = Counter(cell.state for cell in cells)
    reused = sum(bool(cell.reused) for cell in cells if cell.state == "done")
    parts = [f"{counts[state]} {word}" for state, word in _WORDS.items() if counts[state]]
    if reused:
        parts[0] += f" ({reused} of them reused)"
    noun = "cell" if len(cells) == 1 else "cells"
    lines = [f"{len(cells)} {noun}: {', '.join(parts)}"]
    bad = [cell for cell in cells if cell.state != "done"]
    shown = bad[:_MOST_FAILED]
    rows = [[_WORDS[cell.state], cell.path.name, *cell.reason.splitlines()[:1]] for cell in shown]
    lines += [f"  {line}" for line in aligned(rows, left=3)] if rows else []
    if len(bad) > len(shown):
        names = listed([cell.path.name for cell in bad[_MOST_FAILED:]])
        lines.append(f"  and {len(bad) - len(shown)} more: {names}")
    return lines


def closing(
    cells: Sequence[CellRecord],
    heading: str,
    table: Sequence[str],
    notes: Sequence[str],
    paths: Mapping[str, Path],
) -> list[str]:
    """Return what the console shows of a sweep, in at most 20 lines.

    Args:
        cells: In any state.
        heading: What all cells have in common.
        table: Lines of which the first ones are shown, as many as there is room for.
        notes: On what was left out; those on cells that have not finished are left out here.
        paths: Files to open, by a word for each; "page" has all that is cut off here.
    """
    states, page = summary_of(cells), paths["page"].name
    known = {f"{cell.path.name} {cell.state}: {cell.reason}" for cell in cells}
    more = [note.partition("\n")[0] for note in notes if note not in known]
    if len(more) > _MOST_NOTES:
        more[_MOST_NOTES:] = [f"and {len(more) - _MOST_NOTES} more notes, in {page}"]
    first = [f"{states[0]}; {heading}" if heading else states[0]]
    room = MOST_LINES - len([*first, *states[1:], *more, *paths])
    shown = [*table]
    if len(shown) > room:
        shown[room - 1 :] = [f"and {len(table) - room + 1} more lines, in {page}"]
    lines = [*first, *shown, *states[1:], *more]
    return [
        *(line if len(line) <= _WIDEST else f"{line[: _WIDEST - 1]}…" for line in lines),
        *(f"{word}: {path}" for word, path in paths.items()),
    ]
