"""How far the work of this process is: a line in the terminal, and a file for `status`.

Code that loops opens a `bar`, whoever runs a cell names its stages by `stage` and has them written
down by `follow`. All of it is about looks: nothing here ends or changes a computation.
"""

import json
import logging
import math
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from stitching.records.ledger import replacing

__all__ = ["FILE", "Bar", "bar", "follow", "shown", "stage"]

log = logging.getLogger(__name__)

#: Name of the file in a cell's folder.
FILE = "progress.json"

#: Seconds after which the file is written again though nothing has changed. Readers take a cell
#: whose file is a minute old for dead.
EVERY_S = 5.0

#: Seconds between two writes at least.
LEAST_S = 1.0

#: Seconds between two looks at whether there is something to write.
_NAP_S = 0.25


class Bar:
    """Work of which a known part is done; made by `bar`.

    Args:
        total: Units in all; None where nobody knows.
        text: What is done, such as "vae encodes train".
        unit: Of what, singular: "image".
        even: Whether units take about as long as each other.
        begun: Units that were done before.
    """

    def __init__(
        self, total: float | None, text: str, unit: str, even: bool, begun: float
    ) -> None:
        self.total, self.text, self.unit, self.even = total, text, unit, even
        self.begun = self.done = begun
        self.started = time.time()

    def update(self, n: float = 1) -> None:
        """Add units that are done; from any thread."""
        with _now.lock:
            self.done += n
            _now.draw(self, n)

    def say(self, text: str) -> None:
        """Say something else of what is done."""
        with _now.lock:
            self.text = text
            _now.draw(self)


class _Now:
    """What this process is at: the stage, and the bars that are open, the innermost last.

    Args:
        silent: Whether to leave the terminal alone.
    """

    def __init__(self, silent: bool = False) -> None:
        self.lock = threading.RLock()
        self.silent = silent
        self.stage, self.started = "", time.time()
        self.bars: list[Bar] = []
        self._line: Any = None  # tqdm's, of the innermost bar

    def enter(self, stage: str) -> None:
        """Begin a stage."""
        with self.lock:
            self.stage, self.started = stage, time.time()

    def facts(self) -> dict[str, Any]:
        """Return the content of the file."""
        with self.lock:
            now, last = time.time(), self.bars[-1] if self.bars else None
            spent = now - last.started if last and last.even else 0.0
            return {
                "stage": self.stage,
                "text": last.text if last else "",
                "unit": last.unit if last else "",
                "done": _plain(last.done) if last else None,
                "total": _plain(last.total) if last and last.total is not None else None,
                "rate": (last.done - last.begun) / spent if last and spent > 0 else None,
                "started": self.started,
                "written": now,
            }

    def draw(self, changed: Bar | None = None, n: float = 0) -> None:
        """Draw the line again, of a bar that changed: the lock is held."""
        if self._line is None or (changed is not None and changed is not self.bars[-1]):
            return
        with self._forgiving():
            if n:
                self._line.update(n)
            else:
                if changed is not None:
                    self._line.set_description_str(changed.text, refresh=False)
                self._line.refresh()

    def switch(self) -> None:
        """Give the line to the innermost bar, since another one opened or closed."""
        with self._forgiving():
            if self._line is not None:
                self._line.close()
            self._line = None
            if self.bars and not self.silent and shown():
                self._line = _line(self.bars[-1])

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):  # the terminal is gone, or the stream is closed
            self.silent, self._line = True, None


_now = _Now()


def _forget() -> None:
    """Start afresh in a forked process: its parent draws, and its locks may be held for ever."""
    global _now
    _now = _Now(silent=True)


os.register_at_fork(after_in_child=_forget)


def shown() -> bool:
    """Whether bars are drawn: in a terminal, by the process that it belongs to.

    Worker processes of a sweep write to the same terminal, and their lines would overwrite each
    other: they draw none.
    """
    return sys.stderr.isatty() and multiprocessing.parent_process() is None


@contextmanager
def bar(
    total: float | None, text: str, unit: str = "", *, even: bool = True, begun: float = 0
) -> Iterator[Bar]:
    """Show how far some work is while it lasts: one line with rate and time left.

    The line is drawn on standard error where `shown` says so, and is gone afterwards. Of bars
    inside each other the innermost is seen.

    Args:
        total: Units in all. 0 shows nothing, None the time that it has taken.
        text: What is done.
        unit: Of what, singular; "B" for bytes, "%" where that is all there is to count.
        even: Whether units take about as long as each other. If not, there is neither rate nor
            time left: they would mislead.
        begun: Units that an earlier run has done.
    """
    opened = Bar(total, text, unit, even, begun)
    if total == 0:
        yield opened
        return
    now = _now
    with now.lock:
        now.bars.append(opened)
        now.switch()
    try:
        yield opened
    finally:
        with now.lock:
            innermost = now.bars[-1] is opened
            now.bars.remove(opened)
            if innermost:
                now.switch()


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Say that the process is at a stage of its cell, such as "encode", until the next one."""
    _now.enter(name)
    yield


@contextmanager
def follow(folder: Path, begin: str = "build") -> Iterator[None]:
    """Write `progress.json` into a cell's folder while the cell runs, and remove it at its end.

    A thread writes it every `EVERY_S` seconds, also while a long call into a library runs, and
    soon after a new stage begins. Where it cannot be written, there is none, and the cell goes
    on. Lines logged meanwhile to a terminal appear above the bar.

    Args:
        folder: Of the cell; it exists.
        begin: Name of the first stage.
    """
    owner = os.getpid()
    _now.enter(begin)
    heart = _Heart(folder / FILE)
    with suppress(RuntimeError):  # no thread is to be had: a cell without a heartbeat
        heart.start()
    try:
        with ExitStack() as stack:
            if shown():
                from tqdm.contrib.logging import logging_redirect_tqdm

                stack.enter_context(logging_redirect_tqdm())
            yield
    finally:
        if os.getpid() == owner:  # in a forked process the file is still its parent's
            heart.end()


class _Heart(threading.Thread):
    """Writes what the process is at, until `end` is called.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(name="progress", daemon=True)
        self.path, self._now, self._over = path, _now, threading.Event()

    def run(self) -> None:
        """Write at once, then at every new stage and every few seconds."""
        written, seen = -math.inf, 0.0
        while not self._over.is_set():
            since, stage = time.monotonic() - written, self._now.started
            if since >= EVERY_S or (since >= LEAST_S and stage != seen):
                written, seen = time.monotonic(), stage
                self._write()
            with self._now.lock:
                self._now.draw()  # while one long step lasts, only the time on the line changes
            self._over.wait(_NAP_S)

    def end(self) -> None:
        """Write no more, and remove the file."""
        self._over.set()
        if self.is_alive():
            self.join(EVERY_S)  # a disk that hangs must not hold the cell
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        text = json.dumps(self._now.facts(), allow_nan=False) + "\n"
        try:
            with replacing(self.path, durable=False) as partial:
                partial.write_text(text, encoding="utf-8")
        except OSError as error:
            log.debug("%s cannot be written: %s", self.path, error)


def _line(of: Bar) -> Any:
    """Return tqdm's line for a bar, drawn as far as it is."""
    from tqdm import tqdm

    layout = None  # tqdm's own: with rate and time left
    if of.total is None and of.unit != "B":
        layout = "{desc} [{elapsed}]"
    elif not of.even:
        layout = "{l_bar}{bar}| {n_fmt}/{total_fmt}{unit} [{elapsed}]"
    elif of.unit == "%":
        layout = "{l_bar}{bar}| [{elapsed}<{remaining}]"
    line = tqdm(
        total=of.total, initial=of.begun, desc=of.text, unit=f" {of.unit}", bar_format=layout,
        unit_scale=of.unit == "B", leave=False, dynamic_ncols=True, file=sys.stderr,
        delay=1.0,  # not drawn before it is told how far it is
    )  # fmt: skip
    line.delay, line.n, line.start_t = 0.0, of.done, of.started
    line.refresh()
    return line


def _plain(number: float) -> float | int:
    return int(number) if float(number).is_integer() else float(number)
