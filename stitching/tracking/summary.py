"""One tracked run for a whole sweep: its grid as a table, heatmaps, pictures and claims.

Files are read, so it can be written again at any time after the report. `report.json` names the
run that was written last, which is the one to send; on the server it replaces an earlier one.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from stitching.records.plan import read_json, read_manifest
from stitching.results.cell import CellRecord
from stitching.results.grid import Grid, grid_of
from stitching.results.measures import Measure
from stitching.results.output import CLAIMS, Output
from stitching.results.reading import read_cells
from stitching.results.variants import Variant, split
from stitching.tracking import Scalar, Tracker

__all__ = ["write_summary"]

log = logging.getLogger(__name__)

#: A cell and the grid it belongs to, if it is known.
_Row = tuple[Variant | None, CellRecord]

_MANIFEST_KEYS = ("id", "started", "finished", "launcher", "sweeper", "command", "overrides")


def write_summary(folder: Path, tracker: Tracker) -> None:
    """Write the run "summary" of a sweep, from its cells and what its report wrote.

    The run is of the sweep's group and of the kind "summary". It holds the table `grid/cells`,
    one row per cell; heatmaps and pictures, which for several protocols or seeds are under the
    name of each; the table `grid/claims`, if claims were asked; how many cells succeeded, failed
    and are missing; and as configuration what all cells have in common. Offline, it lies in
    `folder/wandb`. Whatever goes wrong is one warning.

    Args:
        folder: Of the sweep.
        tracker: Built from the configuration of the cells; it has no run.
    """
    try:
        _write(Path(folder), tracker)
    except Exception as error:  # the sweep's results are on disk: a copy of them must not fail it
        log.warning(
            "no summary of %s for the tracker: %s: %s", folder, type(error).__name__, error
        )


def _write(folder: Path, tracker: Tracker) -> None:
    manifest = read_manifest(folder)
    cells, _ = read_cells(folder)
    group = str(manifest.get("group") or manifest.get("id") or cells[0].sweep or folder.name)
    output = Output(folder)
    parts, rest = split(cells)
    grids = {variant: grid_of(folder, found) for variant, found in parts.items()}
    columns, rows = _table(grids, rest, planned=bool(manifest.get("jobs")))
    with tracker:
        tracker.start(
            _config(cells, manifest),
            "summary",
            group,
            folder,
            job_type="summary",
            # So that a sweep whose summary is written or sent again has one, not two.
            id=hashlib.sha256(group.encode()).hexdigest()[:12],
        )
        # Earlier summaries stay, as may runs of others: what is recorded here is sent.
        if tracker.place is not None:
            output.note_run(tracker.place)
        states = Counter(row[columns.index("state")] for row in rows)
        names = {"succeeded": "done", **{x: x for x in ("failed", "missing")}}
        others = {str(x): str(x) for x in states if x not in names.values()}
        tracker.log({f"grid/{name}": states[x] for name, x in (names | others).items()})
        tracker.table("grid/cells", columns, rows)
        claims = [row for path in output.found(CLAIMS[1]) for row in _claims(read_json(path))]
        if claims:
            names_of_claims = ["claim", "text", "where", "verdict", "reason"]
            tracker.table("grid/claims", names_of_claims, claims)
        for key, path in _pictures(output, list(grids)).items():
            tracker.image(key, path)


def _table(
    grids: Mapping[Variant, Grid], rest: Sequence[CellRecord], planned: bool
) -> tuple[list[str], list[list[Scalar]]]:
    """Return columns, and one row per cell.

    Args:
        grids: By protocol and seeds.
        rest: Cells that have not finished, and of which nothing tells where they belong.
        planned: Whether `sweep.json` says which cells were planned: those that were not started
            are then among the others. Else the pairs that lack in a grid are.
    """
    measures = list(dict.fromkeys(m for grid in grids.values() for m in grid.measured))
    several = len(grids) > 1
    seeds = list(dict.fromkeys(key for variant in grids for key, _ in variant.seeds))
    read: list[_Row] = [(v, cell) for v, grid in grids.items() for cell in grid.read]
    read += [(None, cell) for cell in rest]
    with_ends = [m for m in measures if any(cell.interval(m.key) for _, cell in read)]

    def variant_values(variant: Variant | None) -> list[Scalar]:
        if not several:
            return []
        known = dict(variant.seeds) if variant else {}
        protocol = variant.protocol if variant else None
        return [protocol, *(cast("Scalar", known.get(key)) for key in seeds)]

    rows: list[list[Scalar]] = []
    for variant, cell in read:
        rows.append([cell.encoder, cell.decoder, *variant_values(variant)])
        rows[-1] += [cell.state, cell.reason, cell.path.name]
        rows[-1] += _numbers(cell, measures, with_ends)
    empty: list[Scalar] = [None] * (len(measures) + 2 * len(with_ends))
    for encoder, decoder, variant in [] if planned else _not_started(grids, read):
        place = variant_values(variant)
        rows.append([encoder, decoder, *place, "missing", "it was not started", "", *empty])
    columns = ["encoder", "decoder", *(["protocol", *seeds] if several else [])]
    columns += ["state", "reason", "folder"]
    for measure in measures:
        ends = ["", ".low", ".high"] if measure in with_ends else [""]
        columns += [f"{measure.key}{end}" for end in ends]
    return columns, rows


def _numbers(
    cell: CellRecord, measures: Sequence[Measure], with_ends: Sequence[Measure]
) -> list[Scalar]:
    numbers: list[Scalar] = []
    for measure in measures:
        value = cell.number(measure.key)
        word = "missing" if cell.values.get(measure.key) is None else "invalid"
        numbers.append(value if cell.state != "done" or value is not None else word)
        if measure in with_ends:
            numbers += cell.interval(measure.key) or (None, None)
    return numbers


def _not_started(
    grids: Mapping[Variant, Grid], read: Sequence[_Row]
) -> list[tuple[str, str, Variant]]:
    """Return pairs of models of which no cell left a file, for a sweep that has no plan."""
    pairs = {(variant, cell.encoder, cell.decoder) for variant, cell in read}
    return [
        (*pair, variant)
        for variant, grid in grids.items()
        for pair, state in grid.absent.items()
        if state == "missing" and (variant, *pair) not in pairs
    ]


def _config(cells: Sequence[CellRecord], manifest: Mapping[str, Any]) -> dict[str, object]:
    """Return what the configurations of all cells have in common, and facts of the sweep."""
    configs = [cell.config for cell in cells if cell.config]
    common: dict[str, object] = dict(configs[0]) if configs else {}
    for config in configs[1:]:
        common = _common(common, config)
    facts = {key: manifest[key] for key in _MANIFEST_KEYS if key in manifest}
    return {"sweep": facts} | common


def _common(one: Mapping[str, object], other: Mapping[str, object]) -> dict[str, object]:
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
