"""The files of a finished cell as a run: what gets a panel, what a column, what a table.

Weights & Biases draws a panel for each number of a run's history, in sections by the part of its
name before the slash. A cell has 900 numbers, so its history holds measures, resources and
counts of invalid items only; all else is in the run's summary, whose values are columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stitching.tracking.base import Scalar, Tracker

__all__ = ["attribute_rows", "log_cell", "name_of", "panels_and_columns"]

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
    """Give a tracker what the files of a finished cell hold.

    A cell that was computed and one that was copied from another sweep so leave the same run.

    Args:
        tracker: With a run that has started.
        folder: Of the cell, with `metrics.json` and `resources.json`.

    Raises:
        FileNotFoundError: One of the two is missing.
        ValueError: One of the two is no JSON.
    """
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    resources: dict[str, Any] = json.loads((folder / "resources.json").read_text(encoding="utf-8"))
    panels, columns = panels_and_columns(metrics | resources)
    tracker.summarize(columns)
    tracker.log(panels)
    rows = attribute_rows(metrics)
    if rows:
        names = ["attribute", "measure", "value", "low", "high"]
        tracker.table("probe/attributes", names, rows)
    for key, name in _PICTURES.items():
        if (folder / name).is_file():
            tracker.image(key, folder / name)


def panels_and_columns(
    values: Mapping[str, Scalar],
) -> tuple[dict[str, Scalar], dict[str, Scalar]]:
    """Divide the values of a cell into those that get a panel, and those that do not.

    Args:
        values: Contents of `metrics.json` and `resources.json`.

    Returns:
        Measures, resources and counts of invalid items by their keys; and all else, by the names
        of `name_of`.
    """
    panels = {key: value for key, value in values.items() if _has_panel(key, value, values)}
    return panels, {name_of(key): values[key] for key in values if key not in panels}


def name_of(key: str) -> str:
    """Return the name of a value in a run's summary.

    A key without a section gets `setting/`. What belongs to a measure, such as the ends of its
    interval, gets `interval/` and loses its dot: `latent/r2.low` is `interval/latent/r2_low`,
    because W&B takes what follows a dot for a part of the value before it.
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
    from stitching.results.measures import MEASURES

    section, *names = key.split("/")
    if len(names) != 1 or "." in names[0] or isinstance(value, bool | str | None):
        return False
    if section in _RESOURCES or "invalid" in names[0]:
        return True
    return f"{key}.low" in values or any(measure.key == key for measure in MEASURES)
