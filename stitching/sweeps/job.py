"""One Hydra job: builds a cell, finds it finished or runs it, and writes its files.

A job writes `status.json` in any case, so that a report can distinguish a failed cell from one
that never ran.
"""

import logging
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from stitching import config
from stitching.config.values import check_values
from stitching.records.plan import read_manifest
from stitching.records.status import CellFolder, Index
from stitching.sweeps import cells, outputs
from stitching.sweeps.folders import hydra_files
from stitching.sweeps.heartbeat import follow

if TYPE_CHECKING:
    from stitching.pipeline.cell import Cell

log = logging.getLogger(__name__)

#: Warnings this process has shown; a sweep would repeat them in every cell.
_shown: set[str] = set()


class Terminated(KeyboardInterrupt):
    """The process received SIGTERM, as from a batch system: its cell ends as interrupted."""


@contextmanager
def terminable() -> Iterator[None]:
    """Raise `Terminated` on SIGTERM, unless something else handles it."""

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends the process at once
        raise Terminated

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, stop)
    yield


def run_job(cfg: DictConfig) -> float | None:
    """Run one cell and write its files into the job's output folder.

    Returns:
        `latent/validation_r2` or None: what a sweeper such as Optuna's maximises.

    Raises:
        Exception: Any error of the cell, inside a sweep; Hydra goes on with the next cell.
        SystemExit: Outside a sweep, after an error of the user's was logged.
    """
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    multirun = hydra.mode == RunMode.MULTIRUN
    manifest = read_manifest(Path(hydra.runtime.cwd, hydra.sweep.dir)) if multirun else {}
    record = CellFolder(folder, manifest.get("id", folder.name), hydra_files(hydra))
    try:
        _log_in_utf8()
        # Hydra has written its files; this is for folders that were not checked before.
        replace(record, beside=()).require_free("choose another folder")
        record.reserve()
        with _warnings_to_log(), follow(folder):
            line = _run(cfg, record, manifest.get("group", record.sweep))
    except BaseException as error:
        _fail(record, error)
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


def _fail(record: CellFolder, error: BaseException) -> None:
    """Record why a cell has failed; log it if that cannot be written."""
    problem = cells.record_failure(record, error)
    if problem is not None:
        log.error("%s: its failure cannot be written down: %s", record.folder.name, problem)


def _run(cfg: DictConfig, record: CellFolder, group: str) -> str:
    """Find the cell finished, or run it; return the line to show for it."""
    from stitching.config import assemble  # which imports torch

    # Values first, for the tracker: what fails after this has its failed run there.
    config.label_models(cfg)
    plain = config.to_plain(cfg)
    check_values(plain)
    index = Index(config.cache_root(plain["cache"]))

    def build() -> "Cell":
        return assemble.build_cell(config.resolve(cfg, settings=plain))

    return cells.run_cell(plain, build, record, group, index)


def _log_in_utf8() -> None:
    """Let the log file of this cell take any text, whatever the locale."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler) and handler.stream is not None:
            handler.stream.reconfigure(encoding="utf-8", errors="backslashreplace")


@contextmanager
def _warnings_to_log() -> Iterator[None]:
    """Log warnings as one line each, repeated ones at debug level."""

    def show(message: Warning | str, *place: object, **more: object) -> None:
        level = logging.DEBUG if str(message) in _shown else logging.WARNING
        _shown.add(str(message))
        log.log(level, "%s", message)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
