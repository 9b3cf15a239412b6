"""Writes the files of a cell."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stitching.records.files import as_json, read_json
from stitching.records.ledger import Ledger

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from stitching.pipeline.cell import Pictures, Result

#: Measures in the line of a finished cell.
_SHOWN = (
    "latent/validation_r2", "latent/r2", "image/rmse", "image/lpips", "image/fid",
    "probe/consistency",
)  # fmt: skip


def write_result(result: "Result", ledger: Ledger, sweep: str, picture: int) -> None:
    """Write all files of a cell but its map.

    Args:
        result: Result of the cell.
        ledger: The ledger of its folder.
        sweep: Id of the start of a sweep.
        picture: Index of the test image that the grid of pictures shows.
    """
    files = {
        "metrics.json": as_json(result.metrics),
        "resamples.npz": _draws(result.draws),
        "resources.json": as_json({**result.resources, "sweep": sweep}),
        **_pictures(result.pictures, picture),
        **_curves(result.curves),
    }
    ledger.write_all(files)


def summary_line(folder: Path) -> str:
    """Return the main measures of a finished cell, and its time, in one line."""
    metrics = read_json(folder / "metrics.json")
    values = "  ".join(
        f"{key.partition('/')[2]} {metrics[key]:.4f}"
        for key in _SHOWN
        if isinstance(metrics.get(key), float)
    )
    resources = read_json(folder / "resources.json")
    name = f"{metrics['encoder']}-to-{metrics['decoder']}"
    return f"{name}: {values}  ({resources['time/total_s']:.1f} s)"


def objective(folder: Path) -> float | None:
    """Return R2 on held-out fit images; None if the cell did not measure it."""
    return read_json(folder / "metrics.json").get("latent/validation_r2")


def _draws(draws: "dict[str, NDArray[np.float32]]") -> bytes:
    """Return an `.npz` file of measures on every resample."""
    import numpy as np

    file = io.BytesIO()
    np.savez_compressed(file, **draws)  # type: ignore[arg-type]  # a key is any file name
    return file.getvalue()


def _pictures(pictures: "Pictures", picture: int) -> dict[str, bytes]:
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
    return {f"{name}.png": _png(image) for name, image in images.items()}


def _png(image: "Image.Image") -> bytes:
    file = io.BytesIO()
    image.save(file, format="png", compress_level=3)  # half the time, a tenth larger
    return file.getvalue()


def _curves(curves: dict[str, list[dict[str, Any]]]) -> dict[str, bytes]:
    """Return each curve as CSV and as a picture."""
    import pandas as pd

    from stitching.report.drawing.curves import penalty_curve, rank_curve

    draw = {"penalty_curve": penalty_curve, "rank_curve": rank_curve}
    files = {}
    for name, rows in curves.items():
        table = pd.DataFrame(rows)
        files[f"{name}.csv"] = table.to_csv(index=False, lineterminator="\n").encode()
        files[f"{name}.png"] = draw[name](table)
    return files
