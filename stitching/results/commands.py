"""The command line that makes a cell again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from stitching.records.plan import SweepPlan
from stitching.results.cell import CellRecord

__all__ = ["command_of"]

#: Options of Hydra's command line that say where a configuration lies, and take a value.
_PLACES = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn")


def command_of(cell: CellRecord, sweep: SweepPlan | None) -> tuple[str, bool]:
    """Return the command line of one cell.

    Args:
        cell: In whatever state.
        sweep: What `sweep.json` says; None where there is none.

    Returns:
        The line for a shell, and whether it is known to name all settings: the sweep's plan or
        Hydra's own record beside the cell tells. Else it names the two models alone.
    """
    own: Sequence[str] | None = cell.overrides if cell.job is not None else None
    if own is None:
        own = _recorded(cell.path / ".hydra" / "overrides.yaml")
    known = own is not None
    if own is None:
        own = [f"encoder={cell.encoder}", f"decoder={cell.decoder}"]
    set_here = {_key(word) for word in own}
    shared = sweep.overrides if sweep else ()
    merged = [*(word for word in shared if _key(word) not in set_here), *own]
    kept = [x for x in merged if not _key(x).startswith("hydra") and _key(x) != "resume"]
    if any(_key(word) == "experiment" for word in kept):
        kept.append("hydra.mode=RUN")  # an experiment may be a sweep
    words = (sweep.command if sweep else ()) or ("launch.py",)
    line = ["python", words[0], *_places(words[1:]), *kept, "resume=false"]
    return shlex.join(line), known


def _recorded(path: Path) -> list[str] | None:
    """Return the overrides that Hydra wrote beside a cell."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        found = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return [str(word) for word in found] if isinstance(found, list) else None


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0].partition("@")[0]


def _places(words: Iterable[str]) -> list[str]:
    found: list[str] = []
    words = iter(words)
    for word in words:
        if word in _PLACES:
            found += [word, next(words, "")]
        elif word.startswith(tuple(f"{option}=" for option in _PLACES if option[1] == "-")):
            found.append(word)
    return found
