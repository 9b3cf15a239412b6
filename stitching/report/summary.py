"""States of the cells of a sweep, in a few lines for the console."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from stitching.report.limits import LARGEST_SIDE
from stitching.results.cell import CellRecord
from stitching.results.formats import aligned
from stitching.results.reading import listed, read_cells

#: States and their words, from the best to the worst.
_WORDS = {
    "done": "succeeded",
    "unfinished": "unfinished",
    "missing": "missing",
    "invalid": "invalid",
    "failed": "failed",
}

#: Lines of cells that are not done; a sweep of thousands may fail as a whole.
_MOST = 50


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
        1 missing"; one line for each cell that is not done, with its reason; and if there are
        any of these, the grid of encoders by decoders with a word for each pair.
    """
    counts = Counter(cell.state for cell in cells)
    reused = sum(bool(cell.reused) for cell in cells if cell.state == "done")
    parts = [f"{counts[state]} {word}" for state, word in _WORDS.items() if counts[state]]
    if reused:
        parts[0] += f" ({reused} of them reused)"
    noun = "cell" if len(cells) == 1 else "cells"
    lines = [f"{len(cells)} {noun}: {', '.join(parts)}"]
    bad = [cell for cell in cells if cell.state != "done"]
    shown = bad[:_MOST]
    rows = [[_WORDS[cell.state], cell.path.name, *cell.reason.splitlines()[:1]] for cell in shown]
    lines += [f"  {line}" for line in aligned(rows, left=3)] if rows else []
    if len(bad) > len(shown):
        names = listed([cell.path.name for cell in bad[_MOST:]])
        lines.append(f"  and {len(bad) - len(shown)} more: {names}")
    return [*lines, *_map(cells)] if bad else lines


def _map(cells: Sequence[CellRecord]) -> list[str]:
    """Return the grid with a word for each pair; nothing where it is wider than a console."""
    encoders = list(dict.fromkeys(cell.encoder for cell in cells if cell.encoder))
    decoders = list(dict.fromkeys(cell.decoder for cell in cells if cell.decoder))
    if max(len(encoders), len(decoders)) > LARGEST_SIDE or not encoders or not decoders:
        return []
    states: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        states.setdefault((cell.encoder, cell.decoder), []).append(cell.state)
    rows = [
        [encoder, *(_word(states.get((encoder, decoder), [])) for decoder in decoders)]
        for encoder in encoders
    ]
    return ["", *(f"  {line}" for line in aligned([["encoder \\ decoder", *decoders], *rows]))]


def _word(states: Sequence[str]) -> str:
    """Return the worst state of a pair's cells, with its count where states differ."""
    if not states:
        return "-"
    worst = max(states, key=list(_WORDS).index)
    word = {"done": "ok", "failed": "FAILED"}.get(worst, worst)
    count = states.count(worst)
    return word if count == len(states) else f"{word} {count}/{len(states)}"
