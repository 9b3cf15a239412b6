"""Runs one cell into its folder, or finds it finished: for a Hydra job, and from Python."""

import traceback
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from stitching import config
from stitching.compute import progress
from stitching.records import status
from stitching.records.ledger import ForeignFilesError
from stitching.records.status import CellFolder, Index
from stitching.records.text import as_utf8, first_line
from stitching.sweeps import outputs
from stitching.tracking.cells import log_cell

if TYPE_CHECKING:
    from stitching.pipeline.cell import Cell, Result


def run_cell(
    plain: dict[str, Any],
    build: Callable[[], "Cell"],
    record: CellFolder,
    group: str,
    index: Index | None,
    *,
    remember: bool = True,
) -> str:
    """Find a cell finished, or run it; write its files and return the line to show for it.

    Args:
        plain: All values of the configuration, with the models' labels.
        build: Builds the cell; errors are those of the configuration.
        record: Its folder.
        group: Of the tracker's runs.
        index: Finished cells; None for a cell without a lasting identity, which always runs.
        remember: Whether other runs may find it in its folder later.
    """
    from stitching.sweeps.cell_key import cell_identity

    folder, name = record.folder, "-to-".join(model_name(plain[role]) for role in config.ROLES)
    with config.build(plain["tracker"], "tracker") as tracker:

        def begin(*tags: str) -> None:
            tracker.start(plain, name, group, folder, tags=tags)
            if tracker.place is not None:
                record.note_run(tracker.place)

        try:
            cell = build()
            key = cell_identity(plain, cell)
        except BaseException:
            if not status.holds_finished(folder):
                begin()
            raise
        with nullcontext() if index is None else index.claim(key):
            if plain["resume"] and status.is_whole(folder, key):
                record.keep()
                return f"{name}: finished before, kept"
            source = index.find(key) if index is not None and plain["resume"] else None
            record.begin()
            facts = {}
            if source is None:
                begin()
                write_config(plain, record)  # before the run, for the status of a failed cell
                write_result(cell.run(), plain, record)
            else:
                begin("reused")
                record.copy_from(source)
                facts["reused"] = str(source)
            with progress.stage("track"):
                log_cell(tracker, folder)
                tracker.finish()
            record.mark_done(key, **facts)
            if index is not None and remember:
                index.record(key, folder)
    if source is not None:
        return f"{name}: taken from {source}"
    return outputs.summary_line(folder)


def write_config(plain: dict[str, Any], record: CellFolder) -> None:
    """Write the values of a cell's configuration, apart from Hydra's copy with references."""
    text = OmegaConf.to_yaml(OmegaConf.create(plain))
    record.ledger.write("config.yaml", as_utf8(text))


def write_result(result: "Result", plain: dict[str, Any], record: CellFolder) -> None:
    """Write the files of a cell that has run."""
    ledger = record.ledger
    if plain["export_map"]:
        with ledger.writing("map.safetensors") as partial:
            result.fitted.save(partial)
    with progress.stage("write"):
        outputs.write_result(result, ledger, record.sweep, plain["picture"])


def record_failure(record: CellFolder, error: BaseException) -> str | None:
    """Record why a cell has failed; return why that cannot be written, if so."""
    if isinstance(error, ForeignFilesError):
        return None  # the folder is not this project's
    text = as_utf8(first_line(error)).decode()
    trace = as_utf8("".join(traceback.format_exception(error)))
    state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
    try:
        record.mark_failed(text, state)
        record.ledger.write("error.txt", trace)
    except OSError as problem:  # a full disk must not hide the first error
        return str(problem)
    return None


def model_name(node: Any) -> str:
    """Return the name of a role's model in a configuration."""
    return str(node["name"]) if isinstance(node, dict) and "name" in node else str(node)
