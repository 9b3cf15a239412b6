"""Progress of this process: a line in the terminal, and facts for a heartbeat.

Code that loops opens a `bar`; code that runs a cell names its stages by `stage`. Nothing here ends
or changes a computation.
"""

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Bar:
    """Progress of some work; made by `bar`, with its arguments."""

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

    def describe(self, text: str) -> None:
        """Change the description of the work."""
        with _now.lock:
            self.text = text
            _now.draw(self)


class _Now:
    """The stage of this process, and its open bars, the innermost last; `silent` draws none."""

    def __init__(self, silent: bool = False) -> None:
        self.lock = threading.RLock()
        self.silent = silent
        self.stage, self.started = "", time.time()
        self.bars: list[Bar] = []
        self._line: Any = None  # tqdm's, of the innermost bar

    def draw(self, changed: Bar | None = None, n: float = 0) -> None:
        """Draw the line again, after a change of a bar; call it with the lock held."""
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
        """Give the line to the innermost bar, after another one opened or closed."""
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
    """Start afresh in a forked process: its parent draws, and the lock may be held for ever."""
    global _now
    _now = _Now(silent=True)


os.register_at_fork(after_in_child=_forget)


def shown() -> bool:
    """Return whether bars are drawn: in a terminal or a notebook, by the main process.

    Worker processes of a sweep share the terminal, and their lines would overwrite each other.
    """
    seen = sys.stderr.isatty() or in_notebook()
    return seen and multiprocessing.parent_process() is None


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    get = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return get is not None and hasattr(get(), "kernel")


@contextmanager
def bar(
    total: float | None, text: str, unit: str = "", *, even: bool = True, begun: float = 0
) -> Iterator[Bar]:
    """Show the progress of some work while it lasts: one line with rate and time left.

    The line is drawn on standard error if `shown()`, in a notebook on standard output, which is
    not red there. It is removed afterwards. Of nested bars the innermost is visible.

    Args:
        total: Units in all. 0 shows nothing, None the elapsed time.
        text: Description of the work, such as "vae encodes train".
        unit: Name of a unit, singular; "B" for bytes, "%" for percent.
        even: Whether all units take about equally long. If not, rate and time left are not shown:
            they would mislead.
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
    """Set the stage of the process, such as "encode"; it lasts until the next one."""
    with _now.lock:
        _now.stage, _now.started = name, time.time()
    yield


def stage_started() -> float:
    """Return when the stage began, in seconds since the epoch."""
    return _now.started


def facts() -> dict[str, Any]:
    """Return stage and innermost bar of this process, as `progress.json` records them."""
    with _now.lock:
        now, last = time.time(), _now.bars[-1] if _now.bars else None
        spent = now - last.started if last and last.even else 0.0
        return {
            "stage": _now.stage,
            "text": last.text if last else "",
            "unit": last.unit if last else "",
            "done": _plain(last.done) if last else None,
            "total": _plain(last.total) if last and last.total is not None else None,
            "rate": (last.done - last.begun) / spent if last and spent > 0 else None,
            "started": _now.started,
            "written": now,
        }


def redraw() -> None:
    """Draw the line again, with the present time."""
    with _now.lock:
        _now.draw()


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
        unit_scale=of.unit == "B", leave=False, dynamic_ncols=True,
        # A line of text, not a widget: bars are many, and each widget leaves an empty one.
        file=sys.stdout if in_notebook() else sys.stderr,
        delay=1.0,  # not drawn before its state is set below
    )  # fmt: skip
    line.delay, line.n, line.start_t = 0.0, of.done, of.started
    line.refresh()
    return line


def _plain(number: float) -> float | int:
    return int(number) if float(number).is_integer() else float(number)
