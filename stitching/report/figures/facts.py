"""What is said of a grid beside its figures: on which items, and which command makes another."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any

from stitching.results.cell import BASELINES, CellRecord
from stitching.results.formats import setting
from stitching.results.grid import Grid

__all__ = ["AT", "INTERVAL", "commands", "map_pairs", "probe_setting"]

INTERVAL = "In brackets: 95 % intervals over resamples of the test images."

#: The figure whose preset brings its data, images that a GAN drew, and that of checkpoints.
_OWN_DATA, _COURSE = 2, 6

#: Images seen at the checkpoints of the preset of figure 6.
AT = "0,5000,20000,46000,90000,180000,227520"


def map_pairs(grid: Grid) -> list[CellRecord]:
    """Return the finished cells of two different models of which neither is a baseline."""
    return [cell for cell in grid.off_diagonal if not set(cell.kinds) & set(BASELINES)]


def probe_setting(grid: Grid, cells: Iterable[CellRecord], *, maps: bool = True) -> str:
    """Return what cells have in common, with the number of items that probes are asked about.

    Args:
        grid: Finished cells.
        cells: Those that are shown.
        maps: Whether maps take part in what is shown.
    """
    counts = sorted({n for cell in cells for n in _probed(cell)})
    text = setting(grid.frame if maps else grid.frame.drop(columns="map", errors="ignore"))
    if counts and counts != [grid.frame["n_test"].iloc[0]]:
        items = f"{counts[0]:g}" if len(counts) == 1 else f"{counts[0]:g} to {counts[-1]:g}"
        text += f"; probes are asked about {items} items"
        text += " by attribute" if len(counts) > 1 else ""
    return text


def _probed(cell: CellRecord) -> list[float]:
    """Return the numbers of items that the attributes of a cell were measured on."""
    same = cell.number("probe/n_test")
    if same is not None:
        return [same]
    keys = [key for key in cell.values if key.startswith("probe/n_test/")]
    return [n for key in keys if (n := cell.number(key)) is not None]


def commands(figure: int, grid: Grid) -> str:
    """Return what to run for a figure of the data of a grid; several commands are joined by &&."""
    config = next(iter(grid.cells.values())).config
    options = [] if figure == _OWN_DATA else _options(config, grid)
    if figure != _COURSE:
        return _line(f"python launch.py experiment=figure{figure}", options)
    data = [x for x in options if x.startswith("data")] or ["data=faces"]
    train = _line("python -m stitching.train model=nf", [*data, "out=mine"])
    rest = [x for x in options if not x.startswith("zoo=")]
    launch = _line("python launch.py experiment=figure6", [*rest, "zoo=mine"])
    return f"{train} checkpoints_at=[{AT}] && {launch}"


def _line(command: str, options: list[str]) -> str:
    return " ".join([command, *map(shlex.quote, options)])


def _options(config: dict[str, Any], grid: Grid) -> list[str]:
    """Return the options of the command line that choose data, weights and protocol."""
    cell = next(iter(grid.cells.values()))
    data = config.get("data") or {}
    parts = []
    name = data.get("name", cell.values.get("data"))
    if name not in (None, "faces", "drawn"):
        parts.append(f"data={name}")
        parts += [f"data.root={data['root']}"] if data.get("root") else []
    if config.get("zoo", "zoo:faces") != "zoo:faces":
        parts.append(f"zoo={config['zoo']}")
    protocol, *switches = cell.protocol.split(", ")
    parts += [f"protocol={protocol}"] if protocol not in ("", "strict") else []
    switches = [x for x in switches if x != "probe=none"]  # figures are of probes, or need none
    return parts + [x if x.startswith("probe=") else f"protocol.{x}" for x in switches]
