"""Send offline runs of a sweep to Weights & Biases: `python -m stitching.sync DIR [DIR ...]`.

DIR is the folder of a sweep, or one above several. The command sends, by `wandb sync`, the runs in
the records of cells and sweeps (`runs` in `status.json` and `report.json`); if a record has none,
as in earlier versions, the runs with an identity, a kind and a group of this project's form. It
skips runs of other origin, runs that a later one replaced, runs sent before (wandb marks them by a
file `*.synced`), and those of cells at work. Files of cells are only read.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stitching.records.files import read_json
from stitching.records.program import command_line
from stitching.records.status import PROGRESS, STATUS
from stitching.tracking import environment
from stitching.tracking.stored import file_of
from stitching.tracking.weights_and_biases import check_server, is_own

#: Longest wait for the server's first answer, in seconds.
_TIMEOUT_S = 15.0

#: Runs per call of `wandb sync`, and runs that it sends at a time.
_BATCH, _AT_A_TIME = 16, 4

#: Longest time for a call, in seconds per run: a little longer than wandb retries a request.
_RUN_TIMEOUT_S = 60.0

#: A cell at work rewrites its `progress.json` every 5 s.
_ALIVE_S = 60.0


@dataclass(frozen=True)
class OfflineRun:
    """A run on disk.

    Attributes:
        path: Its folder, `offline-run-*`.
        label: Folder of its cell, relative to the folder searched; "." for a summary.
        own: Whether it is neither of other origin nor replaced by a later one.
        sent: Whether it was sent.
        at_work: Whether its cell is still running.
    """

    path: Path
    label: str
    own: bool
    sent: bool
    at_work: bool


def find_runs(folder: Path) -> list[OfflineRun]:
    """Return the offline runs below a folder, in order of their names.

    Raises:
        FileNotFoundError: No such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"not a folder: {folder}")
    found = []
    for place in map(Path, _folders(folder)):
        inside = place.name == "wandb"
        cell = place.parent if inside else place
        named = _named(cell)
        # If wandb cannot write to the folder of a cell, it takes another one.
        away = (run for run in named or () if run.parent != (cell / "wandb").resolve())
        runs = place.glob("offline-run-*/") if inside else away
        found += [
            OfflineRun(
                run,
                os.path.relpath(cell, folder),
                is_own(run) if named is None else run.resolve() in named,
                _was_sent(run),
                _at_work(cell),
            )
            for run in runs
            if file_of(run).is_file()
        ]
    return sorted(found, key=lambda run: run.path)


def _folders(folder: Path) -> Iterator[str]:
    """Yield a folder and those below it, but not those of runs."""
    for place, names, _ in os.walk(folder):
        names[:] = [x for x in names if not x.startswith(("offline-run-", "run-"))]
        yield place


def main(argv: Sequence[str] | None = None) -> int:
    """Send runs that were not sent, with one line per run.

    Args:
        argv: Command line arguments; by default those of the process.

    Returns:
        0 if all was sent or there was nothing to send; 1 if wandb is not installed, no key is
        configured, the server does not answer within 15 s, or a run could not be sent.

    Raises:
        FileNotFoundError: No such folder.
    """
    parser = argparse.ArgumentParser(
        command_line("sync"), description="Send offline runs to Weights & Biases."
    )
    parser.add_argument(
        "dirs", metavar="DIR", type=Path, nargs="+", help="folder of a sweep, or above several"
    )
    parser.add_argument("--project", help="project to send to, instead of that of the runs")
    parser.add_argument("--entity", help="user or team to send to, instead of that of the runs")
    parser.add_argument("--dry-run", action="store_true", help="list runs, send nothing")
    options = parser.parse_args(argv)
    if not environment.is_installed():
        print("error: sending runs needs wandb: run `pip install wandb`", file=sys.stderr)
        return 1
    found = {run.path.resolve(): run for folder in options.dirs for run in find_runs(folder)}
    runs = [*found.values()]
    waiting = [run for run in runs if run.own and not run.sent and not run.at_work]
    _print_skipped(runs)
    if not waiting:
        print("nothing to send")
        return 0
    if options.dry_run:
        print("\n".join(f"would send {run.label}: {run.path.name}" for run in waiting))
        return 0
    return _send(waiting, options.project, options.entity)


def _print_skipped(runs: Sequence[OfflineRun]) -> None:
    own = [run for run in runs if run.own]
    sent, at_work = sum(run.sent for run in own), sum(run.at_work for run in own)
    if len(own) < len(runs):
        print(f"left alone, of other origin or replaced: {len(runs) - len(own)} runs")
    if sent:
        print(f"sent before: {sent} runs")
    if at_work:
        print(f"left for later, their cells are at work: {at_work} runs")


def _send(runs: Sequence[OfflineRun], project: str | None, entity: str | None) -> int:
    with tempfile.TemporaryDirectory() as home, environment.private(Path(home)):
        try:
            url = check_server(_TIMEOUT_S)
        except ConnectionError as error:
            print(f"error: {error}; nothing was sent", file=sys.stderr)
            return 1
        print(f"sending {len(runs)} runs to {url}")
        command = [sys.executable, "-m", "wandb", "sync", "--yes", "-n", str(_AT_A_TIME)]
        command += [f"--project={project}"] if project else []
        command += [f"--entity={entity}"] if entity else []
        failed = 0
        for start in range(0, len(runs), _BATCH):
            failed += _send_batch(command, runs[start : start + _BATCH], url, Path(home))
    if failed:
        print(f"error: {failed} of {len(runs)} runs were not sent", file=sys.stderr)
    return 1 if failed else 0


def _send_batch(command: Sequence[str], runs: Sequence[OfflineRun], url: str, home: Path) -> int:
    """Send some runs; return how many of them failed."""
    # WANDB_MODE is meant for cells and would keep their runs from being sent; WANDB_SERVICE would
    # make the command share the service of this process, and its end.
    left_out = ("WANDB_MODE", "WANDB_SERVICE")
    variables = {key: value for key, value in os.environ.items() if key not in left_out}
    variables["WANDB_BASE_URL"] = url
    try:
        done = subprocess.run(
            # Given a folder, wandb would send all runs in it.
            [*command, *(str(file_of(run.path).resolve()) for run in runs)],
            env=variables,
            cwd=home,  # wandb writes a folder of logs to its working directory
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S + _RUN_TIMEOUT_S * len(runs),
            check=False,
        )
        lines = done.stderr.strip().splitlines()
        problems = [line for line in lines if "ERROR" in line] or lines[-1:]
    except subprocess.TimeoutExpired:
        problems = ["the server stopped answering"]
    lost = [run for run in runs if not _was_sent(run.path)]
    for run in runs:
        print(f"{'NOT SENT' if run in lost else 'sent'} {run.label}: {run.path.name}")
    if lost:
        print("\n".join(problems), file=sys.stderr)
    return len(lost)


def _was_sent(run: Path) -> bool:
    return file_of(run).with_suffix(".wandb.synced").exists()


def _named(folder: Path) -> set[Path] | None:
    """Return the runs in the records of a folder; None if no record has any entry of runs."""
    records = [read_json(folder / name) for name in (STATUS, "report.json")]
    lists = [runs for record in records if isinstance(runs := record.get("runs"), list)]
    return {(folder / str(run)).resolve() for runs in lists for run in runs} if lists else None


def _at_work(cell: Path) -> bool:
    try:
        written = (cell / PROGRESS).stat().st_mtime
    except OSError:
        return False
    return time.time() - written < _ALIVE_S


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except FileNotFoundError as problem:
        sys.exit(f"error: {problem}")
