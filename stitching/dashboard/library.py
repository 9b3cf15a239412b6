"""Lazy import of `wandb-workspaces`, and its filters."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

#: Characters of filters, which the library writes as text without escaping.
_SYNTAX = "'\"\\=<>"


def workspaces() -> Any:
    """Return the module of workspaces; raise ModuleNotFoundError without wandb-workspaces."""
    return _module("wandb_workspaces.workspaces")


def reports() -> Any:
    """Return the module of reports; raise ModuleNotFoundError without wandb-workspaces."""
    return _module("wandb_workspaces.reports.v2")


def filter_of(job_type: str, group: str | None) -> Any:
    """Return the filter for runs of a kind, and of a sweep.

    Args:
        job_type: "cell" or "summary".
        group: Id of the sweep; None for all.

    Raises:
        ModuleNotFoundError: wandb-workspaces is not installed.
        ValueError: The id has a character that the library's own language of filters uses.
    """
    ws = workspaces()
    kind = ws.Metric("JobType") == job_type
    if group is None:
        return ws.And(kind)
    if set(group) & set(_SYNTAX):
        raise ValueError(
            f"no dashboard can be made of the sweep {group!r}: its id must have none of {_SYNTAX}"
        )
    return ws.And(kind, ws.Metric("Group") == group)


def _module(name: str) -> Any:
    try:
        with warnings.catch_warnings():  # it uses deprecated parts of pydantic
            warnings.simplefilter("ignore", DeprecationWarning)
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        message = "a dashboard needs wandb-workspaces: run `pip install 'stitching[dashboard]'`"
        raise ModuleNotFoundError(message, name=error.name) from None
