"""The files of a finished cell as a run: values with a panel, columns, tables and pictures.

Weights & Biases draws a panel for each number of a run's history, in sections by the part of its
name before the slash. A cell has 900 numbers, so its history contains only measures, resources and
counts of invalid items; all else is in the run's summary, whose values are columns.
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

_RESOURCES = ("time", "memory", "count")

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
    panels, columns = panels_and_columns(metrics | resources)
    tracker.summarize(columns)
    tracker.log(panels)
    if rows := attribute_rows(metrics):
        names = ["attribute", "measure", "value", "low", "high"]
        tracker.table("probe/attributes", names, rows)
    for key, name in _PICTURES.items():
        if (folder / name).is_file():
            tracker.image(key, folder / name)


def panels_and_columns(
    values: Mapping[str, Scalar],
) -> tuple[dict[str, Scalar], dict[str, Scalar]]:
    """Return the values with a panel and those without, from `metrics.json` and `resources.json`.

    The first are measures, resources and counts of invalid items, by their keys; the others are
    by the names of `name_of`.
    """
    panels = {key: value for key, value in values.items() if _has_panel(key, value, values)}
    return panels, {name_of(key): values[key] for key in values if key not in panels}


def name_of(key: str) -> str:
    """Return the name of a value in a run's summary.

    A key without a section gets `setting/`. One with a dot, such as the end of an interval, gets
    `interval/` and loses the dot: `latent/r2.low` is `interval/latent/r2_low`, because W&B takes
    what follows a dot for a part of the value before it.
    """
    if "/" not in key:
        return f"setting/{key}"
    return f"interval/{key.replace('.', '_')}" if "." in key else key


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
    section, *names = key.split("/")
    if len(names) != 1 or "." in names[0] or isinstance(value, bool | str | None):
        return False
    if section in _RESOURCES or "invalid" in names[0]:
        return True
    return f"{key}.low" in values or any(measure.key == key for measure in MEASURES)
