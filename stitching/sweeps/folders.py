"""Checks the folders of cells, sweeps and trainings before Hydra writes there."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from stitching.records import status
from stitching.records.files import now
from stitching.records.ledger import ForeignFilesError, Ledger, hashes_in
from stitching.records.plan import sweep_ledger
from stitching.records.status import CellFolder
from stitching.results.folders import is_job

#: Files of Hydra in the folder of a sweep, and those of its Optuna sweeper.
_OF_SWEEP, _OF_SEARCH = ("multirun.yaml",), ("optimization_results.yaml",)

_LOCK = ".lock"

REMEDY = "set hydra.sweep.dir to another folder"

_SUBDIR = "${encoder.name}-to-${decoder.name}_${hydra.job.num}"


def hydra_files(hydra: Any) -> list[str]:
    """Return the names of files that Hydra writes into the folder of a cell."""
    below = hydra.output_subdir
    names = [f"{below}/{name}.yaml" for name in ("config", "hydra", "overrides")] if below else []
    return [*names, f"{hydra.job.name}.log"]


def sweep_files(config: DictConfig) -> list[str]:
    """Return the names of files that Hydra writes into the folder of a sweep."""
    searched = config.hydra.runtime.choices.get("hydra/sweeper") != "basic"
    return [*_OF_SWEEP, *(_OF_SEARCH if searched else ())]


def check_run(config: DictConfig) -> None:
    """Check the folder of a single cell, and list the files that Hydra will write.

    Raises:
        OSError: Files of other origin have names that the cell needs, or the folder cannot be
            written.
    """
    folder = Path(config.hydra.run.dir).absolute()
    cell = CellFolder(folder, folder.name, hydra_files(config.hydra))
    cell.require_free("set hydra.run.dir to another folder")
    cell.set_edited_aside()
    cell.reserve()


def check_training(config: DictConfig) -> None:
    """Check the folder in which Hydra logs a training, and list the files that it will write.

    Raises:
        OSError: Files of other origin have such names, or the folder cannot be written.
    """
    folder, names = Path(config.hydra.run.dir).absolute(), hydra_files(config.hydra)
    ledger = _training_ledger(folder)
    ledger.require_free(names, "set hydra.run.dir to another folder")
    ledger.set_edited_aside(status.replaced(names))
    folder.mkdir(parents=True, exist_ok=True)
    ledger.save({"started": now()}, names)


def note_training(config: DictConfig) -> None:
    """Record the content of the files that Hydra wrote for a training."""
    ledger = _training_ledger(Path(config.hydra.runtime.output_dir))
    found = ledger.read()
    if found:  # jobs of a sweep have none
        ledger.save(found, as_is=status.replaced(hydra_files(config.hydra)))


def _training_ledger(folder: Path) -> Ledger:
    return Ledger(folder, "training.json", ours=("started", "files"))


class Found(NamedTuple):
    """Existing folders of cells where a sweep starts: those whose record is lost, and others."""

    lost: list[Path]
    cells: list[Path]


def check_sweep(config: DictConfig, folder: Path) -> Found:
    """Check the folder of a sweep and those of its cells that exist.

    Raises:
        ForeignFilesError: Files of other origin have names that the sweep or a cell needs.
    """
    ledger = sweep_ledger(folder)
    before = ledger.read()
    lock = folder / _LOCK
    # Locking a file empties it: a lock of a sweep is an empty file.
    taken = [] if lock.is_file() and not lock.stat().st_size else [_LOCK]
    # `foreign` leaves out what is listed; earlier versions listed nothing.
    names = [] if before and "files" not in before else sweep_files(config)
    ledger.require_free([*names, *taken], REMEDY)
    beside = hydra_files(config.hydra)
    planned = {str(job.get("folder")) for job in _jobs(before)}
    found = Found([], [])
    for cell in _cell_folders(config, folder):
        if cell.name in planned and not status.read_status(cell):
            found.lost.append(cell)
        else:
            CellFolder(cell, beside=beside).require_free(REMEDY)
            found.cells.append(cell)
    return found


def prepare_sweep(config: DictConfig, folder: Path, found: Found) -> None:
    """Set aside the files of cells whose record is lost, and edited files of Hydra."""
    for cell in found.lost:
        status.ledger_of(cell).set_aside([status.STATUS, *status.NAMES])
    for cell in found.cells:
        CellFolder(cell, beside=hydra_files(config.hydra)).set_edited_aside()
    sweep_ledger(folder).set_edited_aside(sweep_files(config))


def end_sweep(folder: Path, how: str) -> None:
    """Record that a sweep is "finished" or "interrupted", and the content of Hydra's files."""
    ledger = sweep_ledger(folder)
    found = ledger.read()
    present = [name for name in (*_OF_SWEEP, *_OF_SEARCH) if name in hashes_in(found)]
    ledger.save(found | {how: now()}, as_is=present)


def _jobs(record: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    jobs = record.get("jobs")
    return [job for job in jobs if isinstance(job, Mapping)] if isinstance(jobs, list) else []


def _cell_folders(config: DictConfig, folder: Path) -> Iterator[Path]:
    """Yield the existing folders that a cell of the sweep may be written to."""
    raw = OmegaConf.to_container(config.hydra.sweep, resolve=False)
    assert isinstance(raw, dict)
    usual = raw.get("subdir") == _SUBDIR
    if not usual:
        # The folders are known only when jobs run: any existing one may be a cell's.
        subdir = Path(str(raw.get("subdir")))
        if subdir.is_absolute() or ".." in subdir.parts:
            raise ForeignFilesError(
                f"hydra.sweep.subdir={subdir} leads out of the sweep's folder: use a path in it"
            )
        yield folder
    found = folder.iterdir() if usual else folder.rglob("*")
    for path in sorted(found) if folder.is_dir() else ():
        if path.is_dir() and (not usual or is_job(path.name)):
            yield path
