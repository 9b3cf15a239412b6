"""Encoding of text: files are UTF-8, terminals may not be."""

import io
import sys


def as_utf8(text: str) -> bytes:
    r"""Return any text in UTF-8.

    Bytes of file names that Python could not decode, as in the locale C, are taken as UTF-8;
    characters that still cannot be encoded become escapes such as `\udc80`.
    """
    try:
        found = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")
    return found.decode("utf-8", "backslashreplace").encode()


def first_line(error: BaseException) -> str:
    """Return type and first line of an error, as in `status.json`."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"{type(error).__name__}: {text}"


def make_printable() -> None:
    """Let this process print any text: characters that a terminal lacks become escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
