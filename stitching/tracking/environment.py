"""Environment variables of Weights & Biases: they mean here what its documentation says.

An option of the tracker that is set wins over a variable. Not followed are WANDB_RUN_ID and
WANDB_RESUME, because every cell is a run of its own, and WANDB_JOB_TYPE, by which cells and
summaries are told apart.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["LONGEST_NAME", "MODES", "group", "mode", "name", "root", "shortened", "tags"]

#: Modes by what W&B calls them; "dryrun" and "run" are older names.
MODES = {
    "online": "online",
    "offline": "offline",
    "disabled": "disabled",
    "shared": "shared",
    "dryrun": "offline",
    "run": "online",
}

#: Characters of the name or group of a run: W&B refuses a longer one.
LONGEST_NAME = 128

_TRUE = ("true", "1", "yes", "on", "t", "y")


def mode() -> str:
    """Return WANDB_MODE, "disabled" where WANDB_DISABLED is true, "offline" without either."""
    if os.environ.get("WANDB_DISABLED", "").strip().lower() in _TRUE:
        return "disabled"
    return os.environ.get("WANDB_MODE") or "offline"


def name(default: str) -> str:
    """Return WANDB_NAME, or another name."""
    return shortened(os.environ.get("WANDB_NAME") or default)


def group(default: str) -> str:
    """Return WANDB_RUN_GROUP, or another group."""
    return shortened(os.environ.get("WANDB_RUN_GROUP") or default)


def tags() -> list[str]:
    """Return the labels in WANDB_TAGS, which commas separate."""
    return [tag for tag in os.environ.get("WANDB_TAGS", "").split(",") if tag]


def root(default: Path) -> Path:
    """Return WANDB_DIR, or another folder; runs lie in a folder `wandb` in it."""
    return Path(os.environ.get("WANDB_DIR") or default)


def shortened(text: str) -> str:
    """Return a name of at most 128 characters: of a longer one its beginning and its end."""
    if len(text) <= LONGEST_NAME:
        return text
    half = (LONGEST_NAME - 3) // 2
    return f"{text[: LONGEST_NAME - 3 - half]}...{text[-half:]}"
