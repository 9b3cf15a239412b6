"""Every command line that is shown to a user."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stitching.records.program import PLACES, PROGRAM, RUN, command_line, in_checkout

if TYPE_CHECKING:
    from stitching.records.plan import SweepPlan
    from stitching.results.cell import CellRecord
    from stitching.results.grid import Grid

#: Images seen at the checkpoints of the preset of figure 6.
AT = "0,5000,20000,46000,90000,180000,227520"

#: The figure whose preset brings its data, images that a GAN drew, and that of checkpoints.
_OWN_DATA, _COURSE = 2, 6

#: Overrides of a sweep that are set anew when it is resumed.
_OF_START = ("hydra.sweep.dir=", "resume=")

#: What Hydra's grammar takes as one word without quotes.
_PLAIN = re.compile(r"[A-Za-z0-9_/.+-]+")


def python(*words: str) -> str:
    """Return a command line for a shell: `python` with a script and its options."""
    return shlex.join(["python", *words])


def command_of(cell: CellRecord, plan: SweepPlan | None) -> tuple[str, bool]:
    """Return the command line that computes one cell again.

    Args:
        cell: In any state.
        plan: Contents of `sweep.json`; None without the file.

    Returns:
        The line, and whether it contains all settings: those of the sweep's plan, or of Hydra's
        own record beside the cell. Without both it names only the two models.
    """
    hydra = cell.path / ".hydra" / "overrides.yaml"
    own = _recorded(hydra) if cell.job is None else list(cell.overrides)
    known = own is not None
    if own is None:
        own = [f"encoder={cell.encoder}", f"decoder={cell.decoder}"]
    set_here = {_key(word) for word in own}
    shared = plan.overrides if plan else ()
    merged = [*(word for word in shared if _key(word) not in set_here), *own]
    kept = [x for x in merged if not _key(x).startswith("hydra") and _key(x) != "resume"]
    if any(_key(word) == "experiment" for word in kept):
        kept.append("hydra.mode=RUN")  # an experiment may be a sweep
    start, options = _started(plan.command) if plan and plan.command else (command_line(RUN), ())
    return f"{start} {shlex.join([*_places(options), *kept, 'resume=false'])}", known


def resumed(command: Sequence[str], folder: Path) -> list[str]:
    """Return the words of a sweep's command that continue it in its folder."""
    place = str(folder.absolute())
    if not _PLAIN.fullmatch(place):  # Hydra gives a meaning to spaces, commas and brackets
        place = '"{}"'.format(place.replace("\\", "\\\\").replace('"', '\\"'))
    return [*(x for x in command if not x.startswith(_OF_START)), f"hydra.sweep.dir={place}"]


def to_resume(folder: Path, plan: SweepPlan | None) -> list[str]:
    """Return command lines that continue a sweep; any one of them is enough."""
    place = str(folder.absolute())
    made = f"make resume DIR={shlex.quote(place)}"
    lines = [made if in_checkout() else command_line("resume", place)]
    if plan is not None and plan.command:
        start, words = _started(resumed(plan.command, folder))
        line = f"{start} {shlex.join(words)}"
        lines.append(f"cd {shlex.quote(plan.cwd)} && {line}" if plan.cwd else line)
    return lines


def options_of(cell: CellRecord) -> list[str]:
    """Return the options that select the data and the protocol of a cell."""
    data = cell.config.get("data") or {}
    found = [f"data={data.get('name', cell.values.get('data'))}"]
    found += [f"data.root={data['root']}"] if data.get("root") is not None else []
    name, *switches = cell.protocol.split(", ")
    found += [f"protocol={name}"] if name else []
    return found + [x if x.startswith("probe=") else f"protocol.{x}" for x in switches]


def figure_command(figure: int, grid: Grid) -> str:
    """Return what to run for a figure of the data of a grid; several commands are joined by &&."""
    cell = next(iter(grid.cells.values()))
    options = [x for x in options_of(cell) if x not in ("protocol=strict", "probe=none")]
    data = [x for x in options if x.startswith("data")]
    protocol = [x for x in options if x not in data]
    if data[0] in ("data=None", "data=faces", "data=drawn"):
        data = []
    if figure == _COURSE:
        launch = command_line(RUN, f"experiment=figure{figure}", *data, *protocol, "zoo=mine")
        return f"{train_with_checkpoints(data)} && {launch}"
    zoo = cell.config.get("zoo", "zoo:faces")
    weights = [f"zoo={zoo}"] if zoo != "zoo:faces" else []
    words = [] if figure == _OWN_DATA else [*data, *weights, *protocol]
    return command_line(RUN, f"experiment=figure{figure}", *words)


def train_with_checkpoints(data: Sequence[str]) -> str:
    """Return the command line of a training of `nf` with checkpoints, into the zoo `mine`.

    Args:
        data: Options that select the data; empty for drawn faces.
    """
    chosen = data or ["data=faces"]
    return command_line("train", "model=nf", *chosen, "out=mine", f"checkpoints_at=[{AT}]")


def _recorded(path: Path) -> list[str] | None:
    """Return the overrides that Hydra wrote beside a cell."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        found = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return [str(word) for word in found] if isinstance(found, list) else None


def _started(command: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Return what started a recorded command, for a shell, and the words after it."""
    program, *words = command
    if program == PROGRAM:
        return shlex.join([program, *words[:1]]), words[1:]
    return python(program) if program.endswith(".py") else shlex.quote(program), words


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0].partition("@")[0]


def _places(words: Iterable[str]) -> Iterator[str]:
    """Yield the options that say where a configuration lies, with their values."""
    words = iter(words)
    for word in words:
        if word in PLACES:
            yield from (word, next(words, ""))
        elif word.startswith(tuple(f"{option}=" for option in PLACES if option[1] == "-")):
            yield word
