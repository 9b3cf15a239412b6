"""One Hydra job: build, run, write the files of a cell; and the report at the end of a sweep.

A job leaves a `status.json` whatever happens, so that a report can tell a failed cell from one
that never ran.
"""

import json
import logging
import os
import secrets
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from stitching import config

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stitching.cell import Pictures

log = logging.getLogger(__name__)

#: Identifies one start of a sweep; set by the starting process, inherited by its workers.
SWEEP_VARIABLE = "STITCHING_SWEEP"

#: Folder of the sweep that this process started, for the report at its end.
_sweep_folder: Path | None = None

#: Warnings this process has shown; a sweep would repeat them in every cell.
_shown: set[str] = set()


class SweepStart(Callback):
    """Gives each start of a sweep an identity, and remembers where its cells go.

    The folder alone does not identify a sweep: with a fixed `hydra.sweep.dir` an older sweep's
    cells may lie beside the new ones.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Called by Hydra once, before the first job."""
        global _sweep_folder
        _sweep_folder = Path(config.hydra.sweep.dir).absolute()
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        os.environ[SWEEP_VARIABLE] = f"{_sweep_folder.name}-{now}-{secrets.token_hex(3)}"


def run_job(cfg: DictConfig) -> None:
    """Run one cell and write its files into the job's output folder.

    Raises:
        Exception: Whatever the cell raised, inside a sweep; Hydra goes on with the next cell.
        SystemExit: The same outside a sweep, after its message.
    """
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    multirun = hydra.mode == RunMode.MULTIRUN
    sweep = os.environ.get(SWEEP_VARIABLE, folder.parent.name) if multirun else folder.name
    write_json(folder / "status.json", {"state": "running", "sweep": sweep})
    try:
        line = _run(cfg, folder, sweep)
    except BaseException as error:
        (folder / "error.txt").write_text(traceback.format_exc())
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        write_json(
            folder / "status.json",
            {"state": "failed", "sweep": sweep, "error": f"{type(error).__name__}: {text}"},
        )
        if not isinstance(error, Exception):
            raise
        known = isinstance(error, config.USER_ERRORS)
        log.error("%s: %s", folder.name, error, exc_info=not known)
        if multirun:
            raise
        if known:
            sys.exit(1)
        raise
    write_json(folder / "status.json", {"state": "done", "sweep": sweep})
    log.info(line)
    if not multirun:
        log.info("written to %s", folder)


def _run(cfg: DictConfig, folder: Path, sweep: str) -> str:
    plain = config.to_plain(cfg)
    # Kept apart from Hydra's own copy in .hydra, which has the interpolations unresolved.
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(plain)))
    with _warnings_to_log():
        return _run_cell(cfg, plain, folder, sweep)


@contextmanager
def _warnings_to_log() -> Iterator[None]:
    """Log warnings as one line each: the first time as such, in later cells at debug level."""

    def show(message: Warning | str, *place: object, **more: object) -> None:
        level = logging.DEBUG if str(message) in _shown else logging.WARNING
        _shown.add(str(message))
        log.log(level, "%s", message)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _run_cell(cfg: DictConfig, plain: dict[str, Any], folder: Path, sweep: str) -> str:
    name = "-to-".join(_model_name(plain[role]) for role in config.ROLES)
    with config.build(cfg.tracker) as tracker:
        # Started before anything is built, so that a cell that fails early has its failed run.
        tracker.start(plain, name, sweep, folder)
        result = config.build_cell(cfg).run()
        if plain["export_map"]:
            result.fitted.save(folder / "map.safetensors")
        write_json(folder / "metrics.json", result.metrics)
        write_draws(folder / "resamples.npz", result.draws)
        write_json(folder / "resources.json", {**result.resources, "sweep": sweep})
        tracker.log(result.metrics | result.resources)
        rows = attribute_rows(result.metrics)
        if rows:
            columns = ["attribute", "measure", "value", "low", "high"]
            tracker.table("probe/attributes", columns, rows)
        pictures = _write_pictures(result.pictures, folder, plain["picture"])
        for key, path in (pictures | _write_curves(result.curves, folder)).items():
            tracker.image(key, path)
    shown = ("latent/r2", "image/rmse", "image/lpips", "image/fid", "probe/consistency")
    values = "  ".join(
        f"{key.partition('/')[2]} {result.metrics[key]:.4f}"
        for key in shown
        if isinstance(result.metrics.get(key), float)
    )
    return f"{name}: {values}  ({result.resources['time/total_s']:.1f} s)"


def _model_name(node: Any) -> str:
    return str(node["name"]) if isinstance(node, dict) and "name" in node else str(node)


def _write_pictures(pictures: "Pictures", folder: Path, picture: int) -> dict[str, Path]:
    from PIL import Image

    from stitching.report import render_reconstructions

    original, own, stitched = (
        x.permute(0, 2, 3, 1).numpy()  # (N, 3, S, S) -> (N, S, S, 3)
        for x in (pictures.original, pictures.own, pictures.stitched)
    )
    picture = min(picture, len(original) - 1)  # fewer where invalid items are excluded
    paths = {
        "pictures/reconstructions": folder / "reconstructions.png",
        "pictures/stitched": folder / "picture.png",
        "pictures/original": folder / "picture_original.png",
    }
    images = (
        render_reconstructions(original, own, stitched),
        Image.fromarray(stitched[picture]),
        Image.fromarray(original[picture]),
    )
    for path, image in zip(paths.values(), images, strict=True):
        partial = path.with_suffix(".partial")
        image.save(partial, format="png")
        partial.replace(path)
    return paths


def _write_curves(curves: dict[str, list[dict[str, Any]]], folder: Path) -> dict[str, Path]:
    """Write each curve as CSV and as a picture; return the pictures by key."""
    import pandas as pd

    from stitching.report.curves import penalty_curve, rank_curve

    draw, paths = {"penalty_curve": penalty_curve, "rank_curve": rank_curve}, {}
    for name, rows in curves.items():
        table = pd.DataFrame(rows)
        table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
        paths[f"curves/{name}"] = folder / f"{name}.png"
        paths[f"curves/{name}"].write_bytes(draw[name](table))
    return paths


def attribute_rows(metrics: dict[str, Any]) -> list[list[Any]]:
    """Return rows (attribute, measure, value, low, high) of keys `probe/MEASURE/ATTRIBUTE`."""
    rows = []
    for key, value in metrics.items():
        part, *names = key.split("/")
        if part != "probe" or len(names) != 2 or not isinstance(value, (int, float)):
            continue
        if not key.endswith((".low", ".high")):
            ends = [metrics.get(f"{key}.{end}") for end in ("low", "high")]
            rows.append([names[1], names[0], float(value), *ends])
    return rows


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write flat values as JSON, atomically.

    Raises:
        ValueError: A value is NaN or infinite, which JSON does not have.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n")
    partial.replace(path)


def write_draws(path: Path, draws: "dict[str, NDArray[np.float32]]") -> None:
    """Write measures on every resample by key, atomically; numpy reads them without unpickling."""
    import numpy as np

    partial = path.with_name(f"{path.stem}.{os.getpid()}.partial.npz")
    np.savez_compressed(partial, **draws)  # type: ignore[arg-type]  # a key is any file name
    partial.replace(path)


def report_sweep() -> None:
    """Write tables and pictures of the sweep this process started, if it started one."""
    if _sweep_folder is None or not _sweep_folder.is_dir():
        return
    from stitching import report

    try:
        report.main([str(_sweep_folder)])
    except (ValueError, FileNotFoundError) as problem:
        # No cell finished, and the cells' own messages, already shown, say why; or the sweep went
        # over another setting too, and a table of encoders by decoders cannot show it.
        print(f"no report: {problem}", file=sys.stderr)
