"""Start and end of a sweep: its identity, its planned cells, its report.

The starting process writes `sweep.json` into the sweep's folder before the first cell, and locks
the folder while it runs.
"""

import contextlib
import copy
import importlib.util
import logging
import secrets
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from os import getpid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig

from stitching.config import USER_ERRORS, build, label_models, to_plain
from stitching.records import plan
from stitching.records.files import now
from stitching.records.ledger import ForeignFilesError
from stitching.records.program import command_line, started_as
from stitching.sweeps import folders
from stitching.sweeps.folders import REMEDY
from stitching.sweeps.planning import fixed, leave_out, picked_models, planned_jobs

if TYPE_CHECKING:
    from filelock import BaseFileLock

log = logging.getLogger(__name__)

_SUBMITIT = ("hydra_submitit_launcher", "pip install 'stitching[submitit]'")

#: Plugins of Hydra by the option that needs them: module, and how to install it.
_PLUGINS = {
    "hydra/launcher=joblib": ("hydra_joblib_launcher", "pip install 'stitching[joblib]'"),
    "hydra/launcher=submitit_local": _SUBMITIT,
    "hydra/launcher=submitit_slurm": _SUBMITIT,
    "hydra/launcher=ray": (
        "hydra_ray_launcher",
        "pip install 'stitching[ray]' && pip install --no-deps hydra-ray-launcher",
    ),
    "hydra/sweeper=optuna": ("hydra_optuna_sweeper", "pip install 'stitching[optuna]'"),
}


@dataclass(frozen=True)
class _Started:
    """The sweep of this process: its folder, the lock on it, and its tracker's configuration."""

    folder: Path
    lock: "BaseFileLock"
    tracker: DictConfig


_started: _Started | None = None


class SweepStart(Callback):
    """Records the identity of each start of a sweep, and its planned cells.

    The folder alone does not identify a sweep: with a fixed `hydra.sweep.dir` cells of an older
    sweep may be in it too.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the folder of the only job; Hydra calls this before it writes files.

        Raises:
            SystemExit: The folder has files of other origin, or cannot be written.
        """
        try:
            label_models(copy.deepcopy(config), config.hydra.runtime.choices)
            folders.check_run(config)
        except OSError as error:
            raise SystemExit(f"cannot write to the folder of the cell: {error}") from None
        except ValueError as error:  # a name that no file can have
            raise SystemExit(str(error)) from None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check and record the sweep; Hydra calls this once, before the first job.

        Raises:
            SystemExit: A plugin is not installed, cells cannot run, or another sweep is at work in
                the folder. (Hydra turns other exceptions into warnings.)
        """
        global _started
        from stitching.results.output import Output  # which imports numpy

        _check_plugins(config)
        folder = Path(config.hydra.sweep.dir).absolute()
        try:
            found = folders.check_sweep(config, folder)
            Output(folder).require_free(remedy=REMEDY)
            jobs, narrowed = _checked_jobs(config)
            folder.mkdir(parents=True, exist_ok=True)
            _started = _Started(folder, _lock(folder), config.tracker)
            folders.prepare_sweep(config, folder, found)
            # Hydra is about to write multirun.yaml, and a lock is a file.
            plan.sweep_ledger(folder).save(
                _manifest(config, folder, jobs, narrowed), [*folders.sweep_files(config), ".lock"]
            )
        except OSError as error:
            raise SystemExit(f"cannot write to the folder of the sweep: {error}") from None


class TrainingStart(Callback):
    """Keeps Hydra from replacing files of other origin where it logs a training."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the folder; Hydra calls this before it writes files.

        Raises:
            SystemExit: The folder has files of other origin, or cannot be written.
        """
        try:
            folders.check_training(config)
        except OSError as error:
            raise SystemExit(f"cannot write to {config.hydra.run.dir}: {error}") from None

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Record the files of Hydra, which calls this after writing them."""
        folders.note_training(config)


def _check_plugins(config: DictConfig) -> None:
    for group in ("hydra/launcher", "hydra/sweeper"):
        option = f"{group}={config.hydra.runtime.choices.get(group)}"
        module, install = _PLUGINS.get(option, ("", ""))
        if module and not _is_installed(f"hydra_plugins.{module}"):
            raise SystemExit(f"{option} needs a plugin of Hydra that is not installed: {install}")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even its parent
        return False


def _lock(folder: Path) -> "BaseFileLock":
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        other = plan.read_manifest(folder)
        raise SystemExit(
            f"another sweep is at work in {folder} (process {other.get('pid')} on "
            f"{other.get('host')}): wait for its end, or give this one its own hydra.sweep.dir"
        ) from None
    return lock


def _manifest(
    config: DictConfig,
    folder: Path,
    jobs: list[dict[str, Any]] | None,
    narrowed: Mapping[str, str],
) -> dict[str, Any]:
    started, choices = datetime.now(UTC), config.hydra.runtime.choices
    name = f"{folder.name}-{started:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    before = plan.sweep_ledger(folder).read()
    same = jobs is not None and before.get("jobs") == jobs
    overrides = list(config.hydra.overrides.task)
    # Cells finished by an earlier start of the same sweep count as cells of this one.
    earlier = [*before.get("starts", ()), before["id"]] if same else []
    goes_on = before.get("overrides") == overrides and config.get("resume", True)
    return {
        "id": name,
        "starts": earlier if goes_on else [],
        # Runs of kept cells are in the tracker's group of the first start.
        "group": before.get("group", name) if same else name,
        "started": now(),
        "host": socket.gethostname(),
        "pid": getpid(),
        "launcher": choices.get("hydra/launcher"),
        "sweeper": choices.get("hydra/sweeper"),
        "command": [narrowed.get(word, word) for word in started_as()],
        "cwd": str(Path.cwd()),
        "overrides": overrides,
        "jobs": jobs,
    }


def _checked_jobs(config: DictConfig) -> tuple[list[dict[str, Any]] | None, dict[str, str]]:
    """Check the cells of a sweep.

    Returns:
        Its jobs, or None if they are not fixed; and the overrides that `leave_out` replaced.
    """
    from stitching.config import preflight

    jobs, picked = planned_jobs(config), picked_models(config)
    try:
        checked = [fixed(config)] if jobs is None else jobs
    except HydraException:
        return None, {}  # the sweeper refuses the overrides with a message of its own
    try:
        found, left_out = preflight.check_sweep(
            config, checked, {role: names for role, (_, names) in picked.items()}
        )
    except preflight.SweepError as error:
        raise SystemExit(str(error)) from None
    if jobs is None:
        return None, {}
    narrowed = leave_out(config, picked, left_out)
    jobs = planned_jobs(config) or []
    # Hydra would now compose every job, 0.1 s each: 20 minutes for 10,000.
    Sweeper.validate_batch_is_legal = lambda *_: None  # type: ignore[method-assign]
    return [
        {"number": number, **planned._asdict(), "overrides": list(overrides)}
        for number, (planned, overrides) in enumerate(zip(found, jobs, strict=True))
    ], narrowed


def end_sweep(interrupted: bool) -> bool:
    """Report the sweep that this process started, if it started one.

    Args:
        interrupted: Whether cells may be missing because the user stopped the sweep.

    Returns:
        False if a sweep has no tables; True for a search, whose cells differ in their maps.
    """
    found = plan.sweep_ledger(_started.folder).read() if _started is not None else {}
    if _started is None or not found:
        return True
    folder = _started.folder
    with contextlib.suppress(OSError):  # a full disk: the report below has the message
        folders.end_sweep(folder, "interrupted" if interrupted else "finished")
    reported = _report(folder)
    if not interrupted:
        _summarise(folder, _started.tracker)
    _started.lock.release()
    return reported or found.get("sweeper") not in (None, "basic")


def _report(folder: Path) -> bool:
    """Write the report of a sweep; return whether it has tables."""
    from stitching.report import command

    try:
        command.report_sweeps([folder])
        return True
    except ForeignFilesError as problem:
        again = command_line("report", str(folder))
        print(f"no tables: {problem}; then run `{again}`", file=sys.stderr)
    except (ValueError, OSError) as problem:
        # No cell finished, and the messages of cells gave the reasons; or the sweep is over
        # another setting too, which a table of encoders by decoders cannot show.
        print(f"no tables: {problem}", file=sys.stderr)
        try:
            command.report_failures(folder)
        except (ValueError, OSError) as second:
            print(f"no page: {second}", file=sys.stderr)
    return False


def _summarise(folder: Path, tracker: DictConfig) -> None:
    from stitching.tracking.summary import write_summary

    try:
        built = build(to_plain(tracker))
    except USER_ERRORS:
        return  # each cell has failed with this message
    write_summary(folder, built)
