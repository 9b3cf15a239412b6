"""The command: shows a sweep once, or until it ends."""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stitching.records.program import command_line
from stitching.status.cells import CellProgress
from stitching.status.sweeps import SweepProgress, look
from stitching.status.texts import describe

_EPILOG = """\
exit status: 0 every planned cell is done; 1 some failed, died or are missing, and nothing runs;
3 the sweep runs; 4 it was started on another machine and shows no sign of life (jobs may wait in
a queue); 2 there is no such sweep.

A cell of this machine is dead when its process is gone, one of another machine when its
heartbeat (progress.json, written every 5 s) is more than 60 s old.
"""

#: Exit status by state; of a finished or dead sweep with cells that are not done it is 1.
_CODES = {"running": 3, "unknown": 4}

_NO_PLAN = "it is not known which cells the sweep plans"
_NO_CELL = "no cell was computed yet"

#: Columns where the output is no terminal.
_WIDTH = 100

_HOME_AND_CLEAR = "\x1b[H\x1b[J"


def main(argv: Sequence[str] | None = None) -> int:
    """Show the progress of a sweep.

    Args:
        argv: Command line arguments without the program's name; None takes those of the process.

    Returns:
        The exit status, see `--help`.
    """
    parser = argparse.ArgumentParser(
        command_line("status"),
        description="Show the progress of a sweep, running or not, from its files alone.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "dir", metavar="DIR", type=Path, help="folder of a sweep, or of one of its cells"
    )
    parser.add_argument(
        "--watch", metavar="SECONDS", type=_seconds, help="show it again and again until it ends"
    )
    parser.add_argument("--json", action="store_true", help="all of it as JSON, one line a look")
    given = parser.parse_args(argv)
    try:
        return _show(given.dir, given.watch, given.json)
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _show(folder: Path, every_s: float | None, as_json: bool) -> int:
    redraws = every_s is not None and not as_json and sys.stdout.isatty()
    while True:
        sweep = look(folder)
        goes_on = every_s is not None and sweep.state in _CODES
        text = json.dumps(facts(sweep), allow_nan=False) if as_json else _text(sweep)
        if redraws:
            text = _HOME_AND_CLEAR + (_cut(text) if goes_on else text)
        end = "\n" if as_json or redraws or not goes_on else "\n\n"
        print(text, end=end, flush=True)
        if not goes_on or every_s is None:
            return 0 if sweep.complete else _CODES.get(sweep.state, 1)
        time.sleep(every_s)


def facts(sweep: SweepProgress) -> dict[str, Any]:
    """Return a sweep as plain values for JSON.

    Times are unix s. An unknown value is None, of `planned`, `elapsed_s`, `rate_per_h` and
    `left_s` with the reason in `KEY_missing`.
    """
    plan = sweep.plan
    known: dict[str, Any] = {
        "planned": (sweep.planned, _NO_PLAN),
        "elapsed_s": (sweep.elapsed_s, "it is not known when it began or ended"),
        "rate_per_h": (sweep.rate_per_h, _NO_CELL),
        "left_s": (sweep.left_s, _no_estimate(sweep)),
    }
    found: dict[str, Any] = {
        "folder": str(sweep.folder.absolute()),
        "id": sweep.name,
        "state": sweep.state,
        "complete": sweep.complete,
        "host": sweep.host or None,
        "pid": plan.pid if plan else None,
        "launcher": (plan.launcher or None) if plan else None,
        "command": list(plan.command) if plan else None,
        "started": sweep.started,
        "ended": sweep.ended,
        "looked": sweep.machine.now,
        "counts": sweep.counts,
    }
    for key, (value, reason) in known.items():
        found[key] = value
        if value is None:
            found[f"{key}_missing"] = reason
    return found | {
        "cells": [_cell_facts(sweep, cell) for cell in sweep.cells],
        "notes": list(sweep.notes),
        "go_on": sweep.commands(),
    }


def _cell_facts(sweep: SweepProgress, cell: CellProgress) -> dict[str, Any]:
    found = asdict(cell) | {"seconds": cell.seconds}
    if cell.state in ("failed", "interrupted"):
        found["error_file"] = str((sweep.folder / cell.folder / "error.txt").absolute())
    return found


def _no_estimate(sweep: SweepProgress) -> str:
    if sweep.state != "running":
        return f"the sweep does not run: its state is {sweep.state}"
    return _NO_PLAN if sweep.planned is None else _NO_CELL


def _text(sweep: SweepProgress) -> str:
    width = shutil.get_terminal_size((_WIDTH, 24)).columns if sys.stdout.isatty() else _WIDTH
    return describe(sweep, width or _WIDTH)


def _cut(text: str) -> str:
    """Return as many lines as the terminal has, so that redrawing does not scroll."""
    lines, height = text.split("\n"), max(shutil.get_terminal_size((_WIDTH, 24)).lines, 2)
    if len(lines) < height:
        return text
    return "\n".join([*lines[: height - 2], f"... {len(lines) - height + 2} more lines"])


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"must be from 0.1 to 86400 seconds, got {text}")
    return value
