"""Text that every locale can write: files are UTF-8, terminals may not be."""

import io
import sys

__all__ = ["as_utf8", "make_printable"]


def as_utf8(text: str) -> bytes:
    r"""Return text in UTF-8, whatever it holds.

    Bytes of file names that Python could not decode, as in the locale C, are taken as the UTF-8
    they mostly are; what still cannot be encoded is written as an escape such as `\udc80`.
    """
    try:
        found = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")
    return found.decode("utf-8", "backslashreplace").encode()


def make_printable() -> None:
    """Let this process print any text: a terminal that has no sign for it gets an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
