"""Write the files of a report into the folder of its sweep."""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stitching.report import tables
from stitching.report.cells import Grid, read_grid
from stitching.report.curves import setting_curve
from stitching.report.measures import MEASURES
from stitching.report.plots import heatmap, picture_grid
from stitching.report.settings import swept_setting

if TYPE_CHECKING:
    from PIL import Image


def main(argv: Sequence[str] | None = None) -> int:
    """Write and print the report of a sweep.

    Args:
        argv: Command line arguments without the program's name; None takes those of the process.

    Returns:
        0, also where cells failed: the summary names them.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No finished cell, or two cells of one pair of models that differ.
    """
    parser = argparse.ArgumentParser(
        "python -m stitching.report", description="Make tables and pictures from finished cells."
    )
    parser.add_argument("dir", type=Path, help="folder of a sweep, with one folder per cell")
    grid = read_grid(parser.parse_args(argv).dir)
    paths = [_write_csv(grid)]
    swept = swept_setting(grid.folder, grid.frame)
    if swept is not None and len(grid.frame) > len(grid.paths):
        # Every pair has several cells: curves show them, a table of pairs cannot.
        print(_curve_summary(grid, swept, paths + _write_curves(grid, swept)))
        return 0
    paths += _write_heatmaps(grid)
    paths += _write_pictures(grid)
    paths.append(_write(grid.folder / "table.md", tables.markdown(grid).encode()))
    print(_summary(grid, paths))
    return 0


def _write_curves(grid: Grid, swept: tuple[str, list[float]]) -> list[Path]:
    import pandas as pd

    setting, values = swept
    frame = grid.frame.assign(**{setting: values})
    paths = []
    for measure in tables.shown(grid):
        numbers = pd.to_numeric(frame[measure.key], errors="coerce")
        image = setting_curve(frame.assign(**{measure.key: numbers}), setting, measure)
        paths.append(_write(grid.folder / f"curve_{measure.key.replace('/', '_')}.png", image))
    return paths


def _curve_summary(grid: Grid, swept: tuple[str, list[float]], paths: Sequence[Path]) -> str:
    setting, values = swept
    keys = [measure.key for measure in tables.shown(grid) if measure.printed]
    columns = ["encoder", "decoder", setting, *keys]
    table = grid.frame.assign(**{setting: values})[columns]
    blocks = [
        f"{len(table)} cells finished, over {setting}:",
        table.to_string(index=False, float_format=lambda x: f"{x:.4g}"),
        "\n".join(note for note in grid.notes if not note.startswith("repeats")),
        "\n".join(["written:", *(f"  {path}" for path in paths)]),
    ]
    return "\n\n".join(block for block in blocks if block)


def _summary(grid: Grid, paths: Sequence[Path]) -> str:
    pairs = len(grid.encoders) * len(grid.decoders)
    counts = f"{pairs - len(grid.absent)} of {pairs} cells finished"
    blocks = [
        f"{counts}: {tables.setting(grid.frame)}",
        tables.print_table(grid),
        "\n".join([*tables.not_measured(grid), *grid.notes]),
        "\n".join(["written:", *(f"  {path}" for path in paths)]),
    ]
    return "\n\n".join(block for block in blocks if block)


def _write_csv(grid: Grid) -> Path:
    text = grid.frame.to_csv(index=False, lineterminator="\n")
    return _write(grid.folder / "grid.csv", text.encode())


def _write_heatmaps(grid: Grid) -> list[Path]:
    paths = []
    shown = tables.shown(grid)
    for measure in MEASURES:
        path = grid.folder / f"heatmap_{measure.key.replace('/', '_')}.png"
        values = tables.grid_values(grid, measure) if measure in shown else []
        if not any(isinstance(value, float) for row in values for value in row):
            path.unlink(missing_ok=True)  # of an earlier report, when there were values
            continue
        image = heatmap(
            values,
            [[tables.format_value(value, measure) for value in row] for row in values],
            grid.encoders,
            grid.decoders,
            title=measure.label,
            subtitle=tables.direction(measure),
            lower_is_better=measure.lower_is_better,
            by_column=measure.by_column,
            floor=measure.floor,
            notes=[tables.setting(grid.frame), *tables.caveats(grid.frame, measure)],
        )
        paths.append(_write(path, image))
    return paths


def _write_pictures(grid: Grid) -> list[Path]:
    """Write `pictures.png` from the pictures that cells left, if any did.

    Raises:
        ValueError: Cells show different test images.
    """
    path = grid.folder / "pictures.png"
    originals: dict[bytes, str] = {}
    original: Image.Image | None = None
    stitched: dict[tuple[str, str], Image.Image | str] = dict(grid.absent)
    for pair, folder in grid.paths.items():
        try:
            stitched[pair] = _open(folder / "picture.png")
            original = _open(folder / "picture_original.png")
        except OSError as error:
            stitched[pair] = "missing" if isinstance(error, FileNotFoundError) else "invalid"
            grid.notes.append(f"{folder.name} without pictures: {error}")
            continue
        originals.setdefault(original.tobytes(), folder.name)
    if len(originals) > 1:
        raise ValueError(
            f"the cells {' and '.join(originals.values())} show different test images: sweep one "
            "setting of `data` and `picture` per folder"
        )
    if original is None:
        path.unlink(missing_ok=True)
        return []
    tiles = [
        [stitched[encoder, decoder] for encoder in grid.encoders] for decoder in grid.decoders
    ]
    buffer = io.BytesIO()
    picture_grid(original, tiles, grid.encoders, grid.decoders).save(buffer, format="png")
    return [_write(path, buffer.getvalue())]


def _open(path: Path) -> Image.Image:
    from PIL import Image

    with Image.open(path) as image:
        return image.convert("RGB")


def _write(path: Path, data: bytes) -> Path:
    """Write a file so that a reader sees the old one or the new one, whole."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path
