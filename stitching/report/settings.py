"""Which settings a sweep went over besides its models, read from the cells' configurations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from stitching.report.cells import Cell

#: Parts of a configuration that differ between the cells of any grid, or change no result.
_ROLES = ("encoder", "decoder", "tracker", "cache", "device", "batch_size")


def swept_setting(folder: Path, frame: pd.DataFrame) -> tuple[str, list[float]] | None:
    """Return the one numeric setting in which cells differ, and its value in every cell.

    Args:
        folder: Of the sweep.
        frame: Its cells, with the column `folder`.

    Returns:
        The setting's name as on the command line, such as `data.n_train`, and values in the
        frame's order; None where there is no such setting, or more than one.
    """
    import yaml

    settings = []
    for name in frame["folder"]:
        path = folder / name / "config.yaml"
        if not path.is_file():
            return None
        settings.append(dict(_flat(yaml.safe_load(path.read_text(encoding="utf-8")))))
    keys = {key for found in settings for key in found}
    differing = [key for key in keys if len({str(found.get(key)) for found in settings}) > 1]
    if len(differing) != 1:
        return None
    values = [found.get(differing[0]) for found in settings]
    numbers = [float(v) for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    return (differing[0], numbers) if len(numbers) == len(values) else None


def seeds_of(cell: Cell) -> dict[str, object]:
    """Return the seeds of a cell by the names of their settings, such as `data.seed`."""
    seeds = {key: value for key, value in _flat(cell.config) if key.rpartition(".")[2] == "seed"}
    return {"seed": cell.values.get("seed")} | seeds


def _flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        name = f"{prefix}{key}"
        if not prefix and key in _ROLES:
            continue
        if isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        else:
            yield name, value
