"""The page of a sweep: data, style and program in one file."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from stitching.records.plan import SweepPlan, read_sweep
from stitching.report import tables
from stitching.report.drawing.matrix import COLOURS
from stitching.report.limits import Limits, left_out
from stitching.report.page.claims import read_claims
from stitching.report.page.details import add_details
from stitching.report.page.learning import add_learning
from stitching.report.page.packing import Chunks, as_script, escape, href
from stitching.report.page.payload import Facts, columns, describe, grouped, meanings, measures_of
from stitching.report.page.pictures import add_figures, add_pictures, add_tiles
from stitching.results.cell import CellRecord
from stitching.results.configs import Configs
from stitching.results.finding import finding
from stitching.results.grid import Grid
from stitching.results.output import PAGE, VARIANTS, Output
from stitching.results.reading import listed
from stitching.results.variants import Variant, View, axes_of, views_of

#: End of the notes of grids on pairs of models without a cell.
_NOT_STARTED = "missing: it was not started"

#: Parts of the program, in the order in which they stand in the page.
_PROGRAM = ("data.js", "dom.js", "colours.js", "grid.js", "pictures.js", "scatter.js", "charts.js",
            "detail.js", "sections.js", "app.js")  # fmt: skip


def write_page(
    folder: Path,
    cells: Sequence[CellRecord],
    notes: Sequence[str] = (),
    *,
    grids: Mapping[Variant, Grid] | None = None,
    out: Path | None = None,
    limits: Limits | None = None,
) -> Path:
    """Write the page of a sweep; return the file.

    Cells are not read again. Their configurations, curves, pictures and tracebacks, and the
    folder's `sweep.json`, `claims.json` and `figures/figure*.svg` are read where they exist; no
    cell needs to have finished. The same files give the same bytes.

    Args:
        folder: Of the sweep, or of a single cell.
        cells: Its cells in any state, at least one, as from `results.reading.read_cells`.
        notes: Notes on what was left out while reading.
        grids: `results.variants.split(cells)` as grids; made if None.
        out: The file, which `report.json` beside it lists; `report.html` in the folder if None.
        limits: Limits of what the page holds.

    Raises:
        ForeignFilesError: A file of other origin has the page's name.
        ValueError: No cells, or cells of one pair of models and equal settings that differ.
    """
    if not cells:
        raise ValueError(f"no cells to show of {folder}: give at least one")
    out = out or folder / PAGE
    Output(out.parent).require_free([out.name])
    limits = limits or Limits()
    sweep = None
    with suppress(ValueError):  # noted by the reader of the cells
        sweep = read_sweep(folder)
    configs = Configs(cells)
    views, rest = views_of(folder, cells, configs, grids)
    notes = [*notes, *_spare(views)] if grids is None else notes
    every = measures_of(views)
    few = [measure for measure in every if measure.printed]
    measures = few if few and len(cells) * len(every) > limits.values else every
    facts = Facts(cells, measures)
    chunks = Chunks()
    for number, view in enumerate(views):
        chunks.add(f"view-{number}", columns(view, measures, sweep, configs, out, limits))
    undetailed = add_details(views, measures, facts, chunks, limits)
    unseen, unread = add_pictures(views, chunks, limits)
    untiled = add_tiles(views, chunks, limits)
    figures = add_figures(folder, views, chunks, out, limits)
    learning, unlearned = add_learning(folder, views, chunks, out, limits)
    claims, unanswered = read_claims(folder, limits)
    chunks.add("claims", claims)
    chunks.add(
        "configs",
        {"texts": configs.texts, "leaves": configs.leaves, "common": configs.common()},
    )
    beyond = {
        f"details of {undetailed} cells are not in this page (it holds "
        f"{limits.details_bytes / 2**20:g} MiB of them): see their folders": undetailed,
        f"pictures of {unseen} cells are not in this page (it holds at most "
        f"{limits.pictures_bytes / 2**20:g} MiB): their files are linked": unseen,
        f"{untiled} grids of pictures are not in this page (it holds at most "
        f"{limits.tiles_bytes / 2**20:g} MiB of them)": untiled,
        f"the grids show {len(few)} of {len(every)} measures (this page holds at most "
        f"{limits.values:,} numbers): grid.parquet has all": measures != every,
        "in none of the grids, as their settings are unknown: "
        f"{listed([cell.path.name for cell in rest])}": rest,
    }
    missing = _unplanned(views)
    every_note = [*notes, *_view_notes(views), *unread, *unlearned]
    every_note += [note for note, x in beyond.items() if x]
    index = {
        "title": folder.resolve().name,
        "facts": _header(cells, sweep),
        "counts": _counts(cells, missing),
        "axes": axes_of(views),
        "findings": [finding(view.grid) if view.grid.cells else [] for view in views],
        "views": [[*view.settings.values()] for view in views],
        "variants": [view.variant.label if view.variant else "" for view in views],
        "tables": [_table(folder, view, views, out) for view in views],
        "measures": describe(measures, views[0]),
        "meanings": meanings(),
        "palette": _palette(),
        "common": facts.common,
        "cwd": sweep.cwd if sweep else "",
        "figures": figures,
        "learning": learning,
        "unasked": unanswered,
        "failures": grouped(cells, out),
        "missing": missing,
        "notes": list(dict.fromkeys(every_note)),
    }
    (path,) = Output(out.parent).write({out.name: _html(index, chunks)})
    return path


def _header(cells: Sequence[CellRecord], sweep: SweepPlan | None) -> list[list[str]]:
    """Return the settings and the origin of a sweep, as names and values."""
    done = [cell for cell in cells if cell.state == "done"]
    found: dict[str, str] = {}
    for name, key in (
        ("data", "data"),
        ("protocol", "protocol"),
        ("map", "map"),
        ("images to fit", "n_train"),
        ("images to test", "n_test"),
        ("seed", "seed"),
    ):
        values = dict.fromkeys(cell.values.get(key) for cell in done)
        words = [str(value) for value in values if value not in (None, "")]
        if key == "map" and len(words) > 1 and "identity" in words:
            words.remove("identity")
        found[name] = "; ".join(words[:8]) + (f" and {len(words) - 8} more" if words[8:] else "")
    last = max(cell.written for cell in cells) / 1e9
    written = datetime.fromtimestamp(last, UTC).strftime("%Y-%m-%d %H:%M UTC") if last else ""
    started = sweep.started[:16].replace("T", " ") if sweep else ""
    found |= {
        "started": f"{started} UTC" if started else "",
        "last result": written,
        "host": sweep.host if sweep else "",
        "launcher": sweep.launcher if sweep else "",
        "sweep": sweep.id if sweep else str(cells[0].sweep or ""),
        "command": shlex.join(sweep.command) if sweep else "",
    }
    return [[name, value] for name, value in found.items() if value]


def _unplanned(views: Sequence[View]) -> list[str]:
    """Return the pairs of models that neither a cell nor the plan of the sweep has."""
    return [
        ", ".join(["-to-".join(pair), *(f"{key} {value}" for key, value in view.settings.items())])
        for view in views
        for pair, cell in zip(view.pairs, view.cells, strict=True)
        if cell is None
    ]


def _counts(cells: Sequence[CellRecord], missing: Sequence[str]) -> dict[str, int]:
    """Return how many cells are in which state, finished ones first."""
    states = Counter(cell.state for cell in cells)
    states["missing"] += len(missing)
    return {"done": states.pop("done", 0)} | {k: n for k, n in states.most_common() if n}


def _spare(views: Sequence[View]) -> list[str]:
    """Leave out the slow parts of a large sweep, as reports do; return a note on it."""
    finished = [view.grid for view in views if view.grid.cells]
    less = left_out(finished) if finished else ""
    for grid in finished:
        grid.compared = not less
    return [less] if less else []


def _view_notes(views: Sequence[View]) -> list[str]:
    """Return notes of all grids, without those that the list of failures repeats."""
    found = []
    for view in views:
        failures = {f"{x.path.name} {x.state}: {x.reason}" for x in view.grid.read}
        own = [x for x in view.grid.notes if x not in failures and not x.endswith(_NOT_STARTED)]
        own += tables.not_measured(view.grid) if view.grid.cells else []
        label = ", ".join(f"{key} {value}" for key, value in view.settings.items())
        found += [(label, note) for note in own]
    everywhere = Counter(note for _, note in found)
    return [
        note if everywhere[note] == len(views) or not label else f"{label}: {note}"
        for label, note in found
    ]


def _table(folder: Path, view: View, views: Sequence[View], page: Path) -> str:
    """Return the link to the Markdown table of a grid, for readers without scripts."""
    several = len({other.variant for other in views}) > 1
    place = folder / VARIANTS / view.variant.folder if several and view.variant else folder
    return href(place / "table.md", page)


def _palette() -> list[str]:
    """Return the colours of heatmaps from the low end of a scale to the high end."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colormaps[COLOURS](place / 64)) for place in range(65)]


def _html(index: dict[str, Any], chunks: Chunks) -> str:
    assets = files("stitching.report.page") / "assets"
    style = (assets / "page.css").read_text(encoding="utf-8")
    parts = [(assets / name).read_text(encoding="utf-8") for name in _PROGRAM]
    program = "\n".join(["(() => {", '"use strict";', *parts, "})();"])
    values = {
        "title": escape(index["title"]),
        "table": escape(index["tables"][0]),
        "policy": escape(
            f"default-src 'none'; img-src data:; style-src {_hash(style)}; "
            f"script-src {_hash(program)}; base-uri 'none'; form-action 'none'"
        ),
        "style": style,
        "index": as_script(index),
        "chunks": chunks.html(),
        "program": program,
    }
    template = (assets / "page.html").read_text(encoding="utf-8")
    # In one pass, so that braces in the inserted text stay text.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], template)


def _hash(text: str) -> str:
    """Return the source of an inline element for a content security policy."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
