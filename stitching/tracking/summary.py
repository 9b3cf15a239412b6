"""One tracked run for a whole sweep: its grid as a table, heatmaps, pictures and claims.

It is made from files alone, so it can be written again at any time after the report. `report.json`
names the last one written, which is the one to send; on the server it replaces an earlier one.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, cast

from stitching.records.files import read_json
from stitching.records.plan import read_manifest
from stitching.results.cell import CellRecord
from stitching.results.grid import Grid, grid_of
from stitching.results.output import CLAIMS, Output
from stitching.results.reading import read_cells
from stitching.results.variants import Variant, split
from stitching.tracking import Scalar, Tracker

log = logging.getLogger(__name__)

#: A cell and the grid it belongs to, if it is known.
_Row = tuple[Variant | None, CellRecord]

_MANIFEST_KEYS = ("id", "started", "finished", "launcher", "sweeper", "command", "overrides")


def write_summary(folder: Path, tracker: Tracker) -> None:
    """Write the run "summary" of a sweep, from its cells and the files of its report.

    The run is of the sweep's group and of the kind "summary". It contains the table `grid/cells`,
    one row per cell; heatmaps and pictures, which for several protocols or seeds are under the
    name of each; the table `grid/claims`, if claims were checked; how many cells succeeded, failed
    and are missing; and as configuration what all cells have in common. Offline, it is in
    `folder/wandb`. Any error is one warning.

    Args:
        folder: Of the sweep.
        tracker: Built from the configuration of the cells; it has no run.
    """
    try:
        _write(Path(folder), tracker)
    except Exception as error:  # the sweep's results are on disk: a copy of them must not fail it
        kind = type(error).__name__
        log.warning("no summary of %s for the tracker: %s: %s", folder, kind, error)


def _write(folder: Path, tracker: Tracker) -> None:
    manifest = read_manifest(folder)
    cells, _ = read_cells(folder)
    group = str(manifest.get("group") or manifest.get("id") or cells[0].sweep or folder.name)
    output = Output(folder)
    parts, rest = split(cells)
    grids = {variant: grid_of(folder, found) for variant, found in parts.items()}
    rows = _rows(grids, rest, planned=bool(manifest.get("jobs")))
    with tracker:
        tracker.start(
            _config(cells, manifest),
            "summary",
            group,
            folder,
            job_type="summary",
            # A summary that is written or sent again replaces the earlier one.
            id=hashlib.sha256(group.encode()).hexdigest()[:12],
        )
        # Earlier summaries and runs of others stay in the folder: only the recorded one is sent.
        if tracker.place is not None:
            output.note_run(tracker.place)
        states = Counter("succeeded" if (x := row["state"]) == "done" else x for row in rows)
        counts = {"succeeded": 0, "failed": 0, "missing": 0, **states}
        tracker.log({f"grid/{state}": n for state, n in counts.items()})
        columns = list(dict.fromkeys(column for row in rows for column in row))
        tracker.table("grid/cells", columns, [[row.get(x) for x in columns] for row in rows])
        claims = [row for path in output.found(CLAIMS[1]) for row in _claims(read_json(path))]
        if claims:
            tracker.table("grid/claims", ["claim", "text", "where", "verdict", "reason"], claims)
        for key, path in _pictures(output, list(grids)).items():
            tracker.image(key, path)


def _rows(
    grids: Mapping[Variant, Grid], rest: Sequence[CellRecord], planned: bool
) -> list[dict[str, Scalar]]:
    """Return one row per cell, its values by column.

    Args:
        grids: By protocol and seeds.
        rest: Cells that have not finished and belong to no grid.
        planned: Whether `sweep.json` lists the planned cells: those that were not started are then
            among the others. Else the pairs that a grid lacks are added.
    """
    seeds = list(dict.fromkeys(key for variant in grids for key, _ in variant.seeds))
    measures = list(dict.fromkeys(m for grid in grids.values() for m in grid.measured))
    read: list[_Row] = [(v, cell) for v, grid in grids.items() for cell in grid.read]
    read += [(None, cell) for cell in rest]
    with_ends = [m for m in measures if any(cell.interval(m.key) for _, cell in read)]

    def place(variant: Variant | None, encoder: str, decoder: str) -> dict[str, Scalar]:
        row: dict[str, Scalar] = {"encoder": encoder, "decoder": decoder}
        if len(grids) > 1:
            known = dict(variant.seeds) if variant else {}
            row["protocol"] = variant.protocol if variant else None
            row |= {key: cast("Scalar", known.get(key)) for key in seeds}
        return row

    rows = []
    for variant, cell in read:
        row = place(variant, cell.encoder, cell.decoder)
        row |= {"state": cell.state, "reason": cell.reason, "folder": cell.path.name}
        for measure in measures:
            key, value = measure.key, cell.number(measure.key)
            word = "missing" if cell.values.get(key) is None else "invalid"
            row[key] = value if cell.state != "done" or value is not None else word
            if measure in with_ends:
                row[f"{key}/low"], row[f"{key}/high"] = cell.interval(key) or (None, None)
        rows.append(row)
    known_pairs = {(variant, cell.encoder, cell.decoder) for variant, cell in read}
    absent: dict[str, Scalar] = {"state": "missing", "reason": "it was not started", "folder": ""}
    for variant, grid in ({} if planned else grids).items():
        for pair, state in grid.absent.items():
            if state == "missing" and (variant, *pair) not in known_pairs:
                rows.append(place(variant, *pair) | absent)
    return rows


def _config(cells: Sequence[CellRecord], manifest: Mapping[str, Any]) -> dict[str, object]:
    """Return facts of the sweep, and what the configurations of all cells have in common."""
    facts = {key: manifest[key] for key in _MANIFEST_KEYS if key in manifest}
    configs = [cell.config for cell in cells if cell.config]
    return {"sweep": facts} | reduce(_common, configs or [{}])


def _common(one: dict[str, object], other: dict[str, object]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key in [key for key in one if key in other]:
        a, b = one[key], other[key]
        if isinstance(a, dict) and isinstance(b, dict):
            inner = _common(a, b)
            if inner or a == b:
                found[key] = inner
        elif type(a) is type(b) and a == b:
            found[key] = a
    return found


def _pictures(output: Output, variants: Sequence[Variant]) -> dict[str, Path]:
    """Return the pictures of the report by key, such as `heatmap/latent_r2`."""
    places = {"": output}
    if len(variants) > 1:
        places = {f"{v.folder}/": output.variant(v.folder) for v in variants}
    found = {}
    for prefix, place in places.items():
        for kind in ("heatmap", "curve"):
            for path in place.found(f"{kind}_*.png"):
                found[f"{prefix}{kind}/{path.stem.removeprefix(f'{kind}_')}"] = path
        found |= {f"{prefix}grid/pictures": path for path in place.found("pictures.png")}
    return found


def _claims(found: Mapping[str, Any]) -> list[list[Scalar]]:
    rows: list[list[Scalar]] = []
    for claim in found.get("claims", ()):
        for answer in claim["answers"]:
            seeds = [f"{key}={value}" for key, value in (answer.get("seeds") or {}).items()]
            where = [answer.get("data"), answer.get("protocol"), *seeds]
            text = ", ".join(str(part) for part in where if part)
            rows.append([claim["id"], claim["text"], text, answer["verdict"], answer["reason"]])
    return rows
