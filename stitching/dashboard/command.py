"""The command: build the workspace and the report, and save them or write them to a file."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stitching.dashboard.library import workspaces
from stitching.dashboard.page import build_report
from stitching.dashboard.target import Target, target_of
from stitching.dashboard.workspace import build_workspace
from stitching.records.program import command_line
from stitching.tracking.weights_and_biases import check_server

#: Longest wait for the server's first answer, in seconds.
_TIMEOUT_S = 15.0


def main(argv: Sequence[str] | None = None) -> int:
    """Build a dashboard and save it on the server, as a new view and a new report.

    Args:
        argv: Command line arguments without the program's name; None takes those of the process.

    Returns:
        0; 1 where no key is configured, the server does not answer within 15 s, or refuses.

    Raises:
        FileExistsError: The file to write is there already.
        FileNotFoundError: No such folder.
        ModuleNotFoundError: wandb-workspaces is not installed.
        ValueError: A folder without a finished cell, or with `--group`.
    """
    parser = argparse.ArgumentParser(
        command_line("dashboard"),
        description="Make a workspace and a report on Weights & Biases.",
    )
    parser.add_argument("project", help="project that the runs are in")
    parser.add_argument("--entity", default="", help="user or team; default: the account's")
    parser.add_argument("--group", help="id of a sweep; default: all of the project")
    parser.add_argument(
        "--dir", type=Path, help="folder of a sweep: show it, and what it measured"
    )
    parser.add_argument(
        "--dry-run",
        type=Path,
        metavar="FILE",
        help="write both as JSON to a new file, send nothing",
    )
    options = parser.parse_args(argv)
    if options.dir and options.group:
        raise ValueError("give --dir or --group: the folder of a sweep names its group")
    if options.dry_run and os.path.lexists(options.dry_run):
        raise FileExistsError(f"{options.dry_run} exists: remove it, or give --dry-run a new file")
    workspaces()  # raises if the library is missing, before anything is read
    target = (
        target_of(options.dir, options.project, options.entity)
        if options.dir
        else Target(options.project, options.entity, options.group)
    )
    if options.dry_run:
        text = json.dumps(specification(target), indent=1, allow_nan=False, ensure_ascii=False)
        options.dry_run.parent.mkdir(parents=True, exist_ok=True)
        with options.dry_run.open("x", encoding="utf-8") as file:
            file.write(text)
        print(f"written: {options.dry_run}")
        return 0
    return _save(target)


def specification(target: Target) -> dict[str, Any]:
    """Return workspace and report as the JSON that the server would get.

    Raises:
        ModuleNotFoundError: wandb-workspaces is not installed.
    """
    parts = {"workspace": build_workspace(target), "report": build_report(target)}
    return {
        name: json.loads(part._to_model().model_dump_json(by_alias=True, exclude_none=True))
        for name, part in parts.items()
    }


def _save(target: Target) -> int:
    try:
        check_server(_TIMEOUT_S)
        import wandb

        entity = target.entity or wandb.Api().default_entity or ""
        target = Target(**{**vars(target), "entity": entity})
        print(f"workspace: {build_workspace(target).save().url}")
        print(f"report: {build_report(target, linked=True).save().url}")
    except Exception as error:  # no key, no server, no rights: the library has many kinds
        print(f"error: no dashboard: {error or type(error).__name__}", file=sys.stderr)
        return 1
    return 0
