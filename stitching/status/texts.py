"""A sweep as lines of text for a terminal."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from stitching.status.cells import CellProgress
from stitching.status.sweeps import SweepProgress

#: Signs of cells in the grid. Of several cells of one pair the sign that comes first is shown.
SIGNS = {
    "failed": "x",
    "interrupted": "~",
    "dead": "!",
    "running": ">",
    "missing": ".",
    "done": "+",
    "reused": "=",
}

#: Cells of one state that are named; the rest are counted.
_NAMED = 20

_BAR = 10


def describe(sweep: SweepProgress, width: int = 100) -> str:
    """Return the progress of a sweep in lines; only the grid depends on the terminal's width."""
    blocks = [_heading(sweep), *([] if sweep.single else [_grid(sweep, width)])]
    for state, line_of in (("running", _running), ("failed", _failed), ("interrupted", _name),
                           ("dead", _dead)):  # fmt: skip
        lines = [line_of(sweep, cell) for cell in sweep.cells if cell.state == state]
        blocks.append(_listed(state, lines) if lines else "")
    blocks.append("\n".join(f"note: {note}" for note in sweep.notes))
    commands = sweep.commands()
    if commands:
        blocks.append("\n".join(["to go on, either of" if commands[1:] else "to go on",
                                 *(f"  {command}" for command in commands)]))  # fmt: skip
    return "\n\n".join(block for block in blocks if block)


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units, such as "2 h 5 min"."""
    left, parts = round(seconds), []
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        n, left = divmod(left, size)
        parts.append((n, unit))
    first = next((i for i, (n, _) in enumerate(parts) if n), len(parts) - 1)
    return " ".join(f"{n} {unit}" for n, unit in parts[first : first + 2] if n) or "0 s"


def _heading(sweep: SweepProgress) -> str:
    plan = sweep.plan
    title = f"{_name(sweep, sweep.cells[0])} of {sweep.name}" if sweep.single else sweep.name
    lines = [f"{title}: {_state(sweep)}"]
    if sweep.started is not None:
        where = f" on {sweep.host}" if sweep.host else ""
        by = f" by process {plan.pid}" if plan and plan.pid is not None else ""
        launcher = f", launcher {plan.launcher}" if plan and plan.launcher else ""
        start = datetime.fromtimestamp(sweep.started, UTC)
        lines.append(f"  started {start:%Y-%m-%d %H:%M:%S} UTC{where}{by}{launcher}")
    if plan and plan.command:
        lines.append(f"  {shlex.join(plan.command)}")
    lines.append(f"  {_counts(sweep)}")
    times = [f"{duration(sweep.elapsed_s)} elapsed"] if sweep.elapsed_s is not None else []
    if sweep.rate_per_h is not None and not sweep.single:
        times.append(f"{sweep.rate_per_h:,.3g} cells/h")
    if sweep.left_s is not None and not sweep.single:
        times.append(f"about {duration(sweep.left_s)} left")
    return "\n".join([*lines, f"  {', '.join(times)}"] if times else lines)


def _state(sweep: SweepProgress) -> str:
    if sweep.state == "unknown":
        return (
            f"no sign of life; it was started on {sweep.host}, and its jobs may wait in a queue: "
            "look there"
        )
    if sweep.state == "interrupted":
        return "interrupted by Ctrl-C or a signal to end; finished cells keep their files"
    if sweep.state == "dead" and sweep.plan is not None and not sweep.single:
        return f"dead: its process {sweep.plan.pid} is gone, and no cell runs"
    return sweep.state


def _counts(sweep: SweepProgress) -> str:
    counts = sweep.counts
    reused = f" ({counts['reused']} reused)" if counts["reused"] else ""
    words = {state: state for state in ("failed", "interrupted", "running", "dead")}
    words["missing"] = "to come" if sweep.state in ("running", "unknown") else "missing"
    parts = [f"{counts['done']} done{reused}"]
    parts += [f"{counts[key]} {word}" for key, word in words.items() if counts[key]]
    planned = f"{sweep.planned} planned: " if sweep.planned is not None else ""
    return planned + ", ".join(parts)


def _grid(sweep: SweepProgress, width: int) -> str:
    """Return encoders by decoders with a sign each."""
    rank = list(SIGNS.values()).index
    signs: dict[tuple[str, str], str] = {}
    several = False
    for cell in sweep.cells:
        sign = SIGNS["reused" if cell.state == "done" and cell.reused else cell.state]
        pair = (cell.encoder, cell.decoder)
        several = several or pair in signs
        signs[pair] = min(signs.get(pair, sign), sign, key=rank)
    signs.pop(("", ""), None)
    if not signs:
        return ""
    encoders, decoders = (list(dict.fromkeys(pair[i] for pair in signs)) for i in (0, 1))
    margin = max(len(name) for name in (*encoders, "encoder"))
    columns = [[name] for name in decoders]
    size = max(map(len, decoders)) + 1
    if margin + size * len(decoders) > width:  # names from top to bottom
        size = 2
        columns = [list(name) for name in decoders]
    per_block = max((width - margin) // size, 1)
    blocks = []
    for first in range(0, len(decoders), per_block):
        shown = slice(first, first + per_block)
        blocks.append("\n".join(_rows(signs, encoders, decoders[shown], columns[shown], size)))
    used = set(signs.values())
    names = {"missing": "to come"} if sweep.state in ("running", "unknown") else {}
    legend = "   ".join(f"{s} {names.get(k, k)}" for k, s in SIGNS.items() if s in used)
    if several:
        legend += "   (of several cells of a pair, the one that needs attention first)"
    return "\n".join([*blocks, legend])


def _rows(
    signs: Mapping[tuple[str, str], str],
    encoders: Sequence[str],
    decoders: Sequence[str],
    heads: Sequence[Sequence[str]],
    size: int,
) -> Iterator[str]:
    margin = max(len(name) for name in (*encoders, "encoder"))
    height = max(map(len, heads))
    for line in range(height):
        words = ((head[line - height + len(head)] if line >= height - len(head) else "")
                 for head in heads)  # fmt: skip
        start = "encoder" if line == height - 1 else ""
        yield f"{start:<{margin}}{''.join(f'{word:>{size}}' for word in words)}"
    for encoder in encoders:
        row = (f"{signs.get((encoder, decoder), ' '):>{size}}" for decoder in decoders)
        yield f"{encoder:<{margin}}{''.join(row)}".rstrip()


def _listed(title: str, lines: Sequence[str]) -> str:
    more = len(lines) - _NAMED
    rest = [f"  and {more:,} more: --json names all"] if more > 0 else []
    return "\n".join([title, *(f"  {line}" for line in lines[:_NAMED]), *rest])


def _running(sweep: SweepProgress, cell: CellProgress) -> str:
    parts = [f"{_name(sweep, cell)}  {_progress(cell.progress)}".rstrip()]
    if cell.age_s is not None:
        heart = "heartbeat" if cell.progress else "no heartbeat yet, begun"
        parts.append(f"{heart} {duration(cell.age_s)} ago")
    if cell.host and cell.host != sweep.machine.host:
        parts.append(f"on {cell.host}")
    return ", ".join(parts)


def _progress(progress: Mapping[str, Any] | None) -> str:
    """Return where a cell is, such as "encode: vae encodes train [###..] 3/5 images, 2.5/s"."""
    if not progress:
        return ""
    stage, text, unit = (str(progress.get(key) or "") for key in ("stage", "text", "unit"))
    where = f"{stage}: {text}" if text else stage
    done, total, rate = (progress.get(key) for key in ("done", "total", "rate"))
    if isinstance(done, (int, float)) and isinstance(total, (int, float)) and total > 0:
        filled = min(int(_BAR * done / total), _BAR)
        units = f"{unit}s" if unit.islower() and total != 1 else unit
        where += f" [{'#' * filled}{'-' * (_BAR - filled)}] {done:,}/{total:,} {units}".rstrip()
    if isinstance(rate, (int, float)):
        where += f", {rate:,.3g}/s"
    return where


def _failed(sweep: SweepProgress, cell: CellProgress) -> str:
    return f"{_name(sweep, cell)}  {cell.reason}\n    {sweep.folder / cell.folder / 'error.txt'}"


def _dead(sweep: SweepProgress, cell: CellProgress) -> str:
    stage = str((cell.progress or {}).get("stage") or "")
    at = f" in {stage}" if stage else ""
    seen = f"; last seen{at} {duration(cell.age_s)} ago" if cell.age_s is not None else ""
    host = f" (on {cell.host})" if cell.host and cell.host != sweep.machine.host else ""
    return f"{_name(sweep, cell)}  {cell.reason}{host}{seen}"


def _name(sweep: SweepProgress, cell: CellProgress) -> str:
    return sweep.folder.absolute().name if cell.folder == "." else cell.folder
