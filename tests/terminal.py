"""Programs run in a terminal: what they write to it, and what of that stays to be seen."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def environment():
    # These two would be believed before the terminal itself.
    inherited = {k: v for k, v in os.environ.items() if k not in ("LINES", "COLUMNS")}
    return inherited | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TERM": "xterm"}


def in_terminal(*arguments, size=(24, 100), after=None, limit_s=30.0):
    """Run Python in a pseudo terminal; return its exit status and all that it wrote.

    Args:
        arguments: Of Python.
        size: Lines and columns.
        after: A text and what to call, with the process, once that text was written.
        limit_s: Seconds after which it is killed.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    process = subprocess.Popen(
        [sys.executable, *arguments], stdin=slave, stdout=slave, stderr=slave, env=environment()
    )
    os.close(slave)
    written = _read(master, process, after, limit_s)
    return _ended(process), written


def in_pipe(*arguments, after=None, limit_s=30.0):
    """Run Python without a terminal; return its exit status, standard output and errors.

    Arguments are those of `in_terminal`.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=errors, env=environment()
        )
        written = _read(os.dup(process.stdout.fileno()), process, after, limit_s)
        process.stdout.close()
        status = _ended(process)
        errors.seek(0)
        return status, written, errors.read().decode()


def interrupt(process):
    """Send Ctrl-C."""
    process.send_signal(signal.SIGINT)


def _read(source, process, after, limit_s):
    written, end = b"", time.monotonic() + limit_s
    while time.monotonic() < end:
        if not select.select([source], [], [], 0.2)[0]:
            continue
        try:
            block = os.read(source, 65536)
        except OSError:  # the other end of the terminal is closed
            break
        if not block:
            break
        written += block
        if after is not None and after[0].encode() in written:
            after[1](process)
            after = None
    os.close(source)
    return written.decode()


def _ended(process):
    try:
        return process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def screen(written):
    """Return the lines that stay in the terminal, of text with returns but no other controls."""
    lines = []
    for line in re.split(r"\r?\n", written):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return [line for line in lines if line]
