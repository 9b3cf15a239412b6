"""Stop a loop at its next safe place on Ctrl-C or SIGTERM."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether a signal has come."""

    requested = False


@contextmanager
def stopping() -> Iterator[Stop]:
    """Yield a `Stop` that records SIGINT or SIGTERM in place of raising an exception.

    A second signal has its usual effect, so that a step that hangs can be ended. Outside the main
    thread, where signals cannot be handled, nothing changes.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    # A handler that was not set from Python is None.
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in numbers}

    def ask(number: int, frame: FrameType | None) -> None:
        del frame
        stop.requested = True
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
