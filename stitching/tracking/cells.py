"""The files of a finished cell as a run: measures with a panel, tables and pictures.

Weights & Biases draws a panel for each number of a run's history, in sections by the part of its
name before the slash, and has a column for each in the table of runs. A cell has over 1,000
values, so its history contains measures alone; all values and their intervals are in one table of
the run, facts such as versions and hashes in another.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stitching.results.measures import MEASURES
from stitching.tracking.base import Scalar, Tracker

#: Pictures that the tracker gets a copy of, by key.
_PICTURES = {
    "pictures/reconstructions": "reconstructions.png",
    "pictures/stitched": "picture.png",
    "pictures/original": "picture_original.png",
    "curves/penalty_curve": "penalty_curve.png",
    "curves/rank_curve": "rank_curve.png",
}

#: Resources with a panel; the times of stages are in the table of values.
_RESOURCES = ("time/total_s", "memory/cell_peak_mib", "memory/peak_mib")

_ENDS = (".low", ".high")


def log_cell(tracker: Tracker, folder: Path) -> None:
    """Record the files of a finished cell, whether it was computed or copied.

    Args:
        tracker: With a run that has started.
        folder: Of the cell, with `metrics.json` and `resources.json`.

    Raises:
        FileNotFoundError: One of the two is missing.
        ValueError: One of the two is no JSON.
    """
    metrics, resources = (
        json.loads((folder / name).read_text(encoding="utf-8"))
        for name in ("metrics.json", "resources.json")
    )
    values = metrics | resources
    tracker.log(panels_of(values))
    tracker.table("cell/values", ["key", "value", "low", "high"], value_rows(values))
    tracker.table("cell/facts", ["key", "value"], fact_rows(values))
    if rows := attribute_rows(metrics):
        names = ["attribute", "measure", "value", "low", "high"]
        tracker.table("probe/attributes", names, rows)
    for key, name in _PICTURES.items():
        if (folder / name).is_file():
            tracker.image(key, folder / name)


def panels_of(values: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return the values with a panel, from `metrics.json` and `resources.json`."""
    return {key: value for key, value in values.items() if _has_panel(key, value, values)}


def value_rows(values: Mapping[str, Scalar]) -> list[list[Scalar]]:
    """Return rows (key, value, low, high), one for each number or undefined measure."""
    return [
        [key, value, *(values.get(key + end) for end in _ENDS)]
        for key, value in values.items()
        if not key.endswith(_ENDS) and not isinstance(value, bool | str)
    ]


def fact_rows(values: Mapping[str, Scalar]) -> list[list[Scalar]]:
    """Return rows (key, value) of texts and flags: settings, versions, hashes, reasons."""
    return [[key, str(x)] for key, x in values.items() if isinstance(x, bool | str)]


def attribute_rows(metrics: Mapping[str, Any]) -> list[list[Any]]:
    """Return rows (attribute, measure, value, low, high) of keys `probe/MEASURE/ATTRIBUTE`."""
    rows = []
    for key, value in metrics.items():
        part, *names = key.split("/")
        if part != "probe" or len(names) != 2 or not isinstance(value, int | float):
            continue
        if not key.endswith(_ENDS):
            rows.append([names[1], names[0], float(value), *(metrics.get(key + e) for e in _ENDS)])
    return rows


def _has_panel(key: str, value: Scalar, values: Mapping[str, Scalar]) -> bool:
    _, *names = key.split("/")
    if len(names) != 1 or "." in names[0] or isinstance(value, bool | str | None):
        return False
    if key in _RESOURCES or "invalid" in names[0]:
        return True
    return f"{key}.low" in values or any(measure.key == key for measure in MEASURES)
