"""One Hydra job: build a cell, find it finished or run it, write its files.

A job leaves a `status.json` whatever happens, so that a report can tell a failed cell from one
that never ran.
"""

import logging
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from stitching import config, finished, outputs, progress
from stitching.manifest import read_manifest
from stitching.tracking.cells import log_cell

if TYPE_CHECKING:
    from stitching.cell import Cell

log = logging.getLogger(__name__)

#: Warnings this process has shown; a sweep would repeat them in every cell.
_shown: set[str] = set()


@dataclass(frozen=True)
class _Job:
    """Where one job writes, and what it belongs to."""

    folder: Path
    sweep: str
    group: str
    started: str


def run_job(cfg: DictConfig) -> float | None:
    """Run one cell and write its files into the job's output folder.

    Returns:
        What a sweeper such as Optuna's maximises: `latent/validation_r2`, where it was asked for.

    Raises:
        Exception: Whatever the cell raised, inside a sweep; Hydra goes on with the next cell.
        SystemExit: The same outside a sweep, after its message.
    """
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    multirun = hydra.mode == RunMode.MULTIRUN
    manifest = read_manifest(Path(hydra.runtime.cwd, hydra.sweep.dir)) if multirun else {}
    sweep = manifest.get("id", folder.name)
    job = _Job(folder, sweep, manifest.get("group", sweep), finished.now())
    try:
        # A finished cell keeps its files until another identity is known to need the place.
        if not finished.holds_finished(folder):
            finished.clear(folder)
            finished.mark(folder, "running", job.sweep, job.started)
        with _warnings_to_log(), progress.follow(folder):
            line = _run(cfg, job)
    except BaseException as error:
        _fail(job, error)
        if not isinstance(error, Exception):
            raise
        known = isinstance(error, config.USER_ERRORS)
        log.error("%s: %s", folder.name, error, exc_info=not known)
        if multirun:
            raise
        if known:
            sys.exit(1)
        raise
    log.info(line)
    if not multirun:
        log.info("written to %s", folder)
    return outputs.objective(folder)


def _fail(job: _Job, error: BaseException) -> None:
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    text = f"{type(error).__name__}: {text}"
    try:
        (job.folder / "error.txt").write_text(traceback.format_exc())
        finished.mark_failed(job.folder, job.sweep, job.started, text)
    except OSError as problem:  # a full disk must not hide what went wrong before
        log.error("%s: its failure cannot be written down: %s", job.folder.name, problem)


def _run(cfg: DictConfig, job: _Job) -> str:
    """Find the cell finished, or run it; return the line to show for it."""
    from stitching.identity import cell_identity

    plain, folder = config.to_plain(cfg), job.folder
    name = "-to-".join(_model_name(plain[role]) for role in config.ROLES)
    index = finished.Index(config.cache_root(plain["cache"]))
    with config.build(cfg.tracker, "tracker") as tracker:

        def begin(*tags: str) -> None:
            tracker.start(plain, name, job.group, folder, tags=tags)

        try:
            cell = config.build_cell(cfg)
            key = cell_identity(plain, cell)
        except BaseException:
            if not finished.holds_finished(folder):
                begin()  # so that a cell that fails early has its failed run
            raise
        with index.claim(key):
            if plain["resume"] and finished.is_whole(folder, key):
                finished.keep(folder, job.sweep)
                return f"{name}: finished before, kept"
            source = index.find(key) if plain["resume"] else None
            finished.clear(folder)
            finished.mark(folder, "running", job.sweep, job.started)
            facts = {}
            if source is None:
                begin()
                _compute(cell, plain, job)
            else:
                begin("reused")
                finished.copy_files(source, folder)
                facts["reused"] = str(source)
            with progress.stage("track"):
                log_cell(tracker, folder)
                tracker.finish()
            finished.mark_done(folder, key, job.sweep, job.started, **facts)
            index.record(key, folder)
    if source is not None:
        return f"{name}: taken from {source}"
    return outputs.summary_line(folder)


def _compute(cell: "Cell", plain: dict[str, Any], job: _Job) -> None:
    # Kept apart from Hydra's own copy in .hydra, which has the interpolations unresolved.
    (job.folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(plain)))
    result = cell.run()
    if plain["export_map"]:
        result.fitted.save(job.folder / "map.safetensors")
    with progress.stage("write"):
        outputs.write_result(result, job.folder, job.sweep, plain["picture"])


def _model_name(node: Any) -> str:
    return str(node["name"]) if isinstance(node, dict) and "name" in node else str(node)


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
