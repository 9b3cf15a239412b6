"""Messages that every cell of a sweep would repeat, logged the first time in a process."""

import functools
import logging


@functools.lru_cache(maxsize=256)
def log_once(log: logging.Logger, level: int, text: str, *values: str) -> None:
    """Log a message, unless an equal one was logged before in this process."""
    log.log(level, text, *values)
