"""Ask a loop to stop at its next safe place, by Ctrl-C or by SIGTERM."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether someone has asked to stop."""

    asked = False


@contextmanager
def stopping() -> Iterator[Stop]:
    """Yield what says whether SIGINT or SIGTERM has come, in place of an exception anywhere.

    A second signal does what it does elsewhere, so that a step that hangs can be ended. Outside
    the main thread, where signals cannot be handled, nothing changes.
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
        stop.asked = True
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
