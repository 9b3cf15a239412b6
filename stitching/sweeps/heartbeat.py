"""The heartbeat of a cell: `progress.json` in its folder, for `python -m stitching.status`."""

import logging
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from stitching.compute import progress
from stitching.records.files import write_json
from stitching.records.status import PROGRESS

log = logging.getLogger(__name__)

#: Seconds after which the file is written again though nothing has changed. Readers take a cell
#: whose file is a minute old for dead.
EVERY_S = 5.0

#: Seconds between two writes at least.
LEAST_S = 1.0

#: Seconds between two looks at whether there is something to write.
_NAP_S = 0.25


@contextmanager
def follow(folder: Path, begin: str = "build") -> Iterator[None]:
    """Write `progress.json` into a cell's folder while the cell runs, and remove it at its end.

    A thread writes it every `EVERY_S` seconds, also while a long call into a library runs, and
    soon after a new stage begins. If it cannot be written, the cell goes on without. Lines logged
    meanwhile to a terminal appear above the bar.

    Args:
        folder: Of the cell; it exists.
        begin: Name of the first stage.
    """
    owner = os.getpid()
    heart = _Heart(folder / PROGRESS)
    with ExitStack() as stack:
        stack.enter_context(progress.stage(begin))
        with suppress(RuntimeError):  # no thread available: run without the heartbeat
            heart.start()
        if progress.shown():
            from tqdm.contrib.logging import logging_redirect_tqdm

            stack.enter_context(logging_redirect_tqdm())
        try:
            yield
        finally:
            if os.getpid() == owner:  # in a forked process the file is still its parent's
                heart.end()


class _Heart(threading.Thread):
    """Writes the progress of this process to a file until `end` is called."""

    def __init__(self, path: Path) -> None:
        super().__init__(name="progress", daemon=True)
        self.path, self._over = path, threading.Event()

    def run(self) -> None:
        """Write at once, then at every new stage and every few seconds."""
        written, seen = -math.inf, 0.0
        while not self._over.is_set():
            since, stage = time.monotonic() - written, progress.stage_started()
            if since >= EVERY_S or (since >= LEAST_S and stage != seen):
                written, seen = time.monotonic(), stage
                self._write()
            progress.redraw()  # while one long step lasts, only the time on the line changes
            self._over.wait(_NAP_S)

    def end(self) -> None:
        """Write no more, and remove the file."""
        self._over.set()
        if self.is_alive():
            self.join(EVERY_S)  # a disk that hangs must not hold the cell
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        try:
            write_json(self.path, progress.facts(), durable=False)
        except OSError as error:
            log.debug("%s cannot be written: %s", self.path, error)
