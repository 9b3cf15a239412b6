"""Environment of Weights & Biases: variables with their documented meaning, and the package.

An option of the tracker that is set has priority over a variable. Not followed are WANDB_RUN_ID
and WANDB_RESUME, because every cell is a run of its own, and WANDB_JOB_TYPE, which distinguishes
cells from summaries.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

#: Modes and what they mean; "dryrun" and "run" are older names.
MODES = {mode: mode for mode in ("online", "offline", "disabled", "shared")}
MODES |= {"dryrun": "offline", "run": "online"}

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
    """Return WANDB_DIR, or another folder; runs are in a folder `wandb` in it."""
    return Path(os.environ.get("WANDB_DIR") or default)


def shortened(text: str) -> str:
    """Return a name of at most 128 characters: of a longer one its beginning and its end."""
    if len(text) <= LONGEST_NAME:
        return text
    half = (LONGEST_NAME - 3) // 2
    return f"{text[: LONGEST_NAME - 3 - half]}...{text[-half:]}"


def is_installed() -> bool:
    """Return whether wandb is installed, without importing it."""
    try:
        spec = importlib.util.find_spec("wandb")
    except ValueError:  # a module of this name without a specification
        return False
    # A folder called wandb (where runs are stored) counts as a package without origin.
    return spec is not None and spec.origin is not None


@contextlib.contextmanager
def private(dir: Path) -> Iterator[None]:
    """Keep wandb's home-folder files in `dir` and its telemetry off, unless the user set them."""
    wanted = {
        "WANDB_CACHE_DIR": str(dir / "wandb" / "cache"),
        "WANDB_DATA_DIR": str(dir / "wandb" / "data"),
        "WANDB_ERROR_REPORTING": "false",
    }
    added = {key: value for key, value in wanted.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            os.environ.pop(key, None)
