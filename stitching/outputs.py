"""The files that a cell leaves."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stitching.finished import write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stitching.cell import Pictures, Result

#: What the line of a finished cell shows.
_SHOWN = (
    "latent/validation_r2", "latent/r2", "image/rmse", "image/lpips", "image/fid",
    "probe/consistency",
)  # fmt: skip


def write_result(result: "Result", folder: Path, sweep: str, picture: int) -> None:
    """Write all files of a cell but its map.

    Args:
        result: What the cell found.
        folder: Where to write.
        sweep: Which start of a sweep it belongs to.
        picture: Test image that the grid of pictures shows.
    """
    write_json(folder / "metrics.json", result.metrics)
    write_draws(folder / "resamples.npz", result.draws)
    write_json(folder / "resources.json", {**result.resources, "sweep": sweep})
    _write_pictures(result.pictures, folder, picture)
    _write_curves(result.curves, folder)


def summary_line(folder: Path) -> str:
    """Return the most important numbers of a finished cell, and its time, in one line."""
    metrics = json.loads((folder / "metrics.json").read_text())
    values = "  ".join(
        f"{key.partition('/')[2]} {metrics[key]:.4f}"
        for key in _SHOWN
        if isinstance(metrics.get(key), float)
    )
    resources = json.loads((folder / "resources.json").read_text())
    name = f"{metrics['encoder']}-to-{metrics['decoder']}"
    return f"{name}: {values}  ({resources['time/total_s']:.1f} s)"


def objective(folder: Path) -> float | None:
    """Return R2 on held-out fit images, where the cell was asked for it."""
    found: float | None = json.loads((folder / "metrics.json").read_text()).get(
        "latent/validation_r2"
    )
    return found


def write_draws(path: Path, draws: "dict[str, NDArray[np.float32]]") -> None:
    """Write measures on every resample by key, atomically; numpy reads them without unpickling."""
    import numpy as np

    partial = path.with_name(f"{path.stem}.{os.getpid()}.partial.npz")
    try:
        np.savez_compressed(partial, **draws)  # type: ignore[arg-type]  # a key is any file name
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_pictures(pictures: "Pictures", folder: Path, picture: int) -> None:
    from PIL import Image

    from stitching.report import render_reconstructions

    original, own, stitched = (
        x.permute(0, 2, 3, 1).numpy()  # (N, 3, S, S) -> (N, S, S, 3)
        for x in (pictures.original, pictures.own, pictures.stitched)
    )
    picture = min(picture, len(original) - 1)  # fewer where invalid items are excluded
    images = {
        "reconstructions": render_reconstructions(original, own, stitched),
        "picture": Image.fromarray(stitched[picture]),
        "picture_original": Image.fromarray(original[picture]),
    }
    for name, image in images.items():
        path = folder / f"{name}.png"
        partial = path.with_suffix(".partial")
        image.save(partial, format="png", compress_level=3)  # half the time, a tenth larger
        partial.replace(path)


def _write_curves(curves: dict[str, list[dict[str, Any]]], folder: Path) -> None:
    """Write each curve as CSV and as a picture."""
    import pandas as pd

    from stitching.report.curves import penalty_curve, rank_curve

    draw = {"penalty_curve": penalty_curve, "rank_curve": rank_curve}
    for name, rows in curves.items():
        table = pd.DataFrame(rows)
        table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
        (folder / f"{name}.png").write_bytes(draw[name](table))
