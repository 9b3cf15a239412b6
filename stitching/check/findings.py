"""What a check found, in one line."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How a check ends: `FAIL` breaks the contract, `skipped` says there was nothing to check."""

    OK = "ok"
    WARNING = "warning"
    FAIL = "FAIL"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        check: What was checked.
        level: How it ended.
        text: The numbers and, unless all is well, what to do.
    """

    check: str
    level: Level
    text: str

    def __str__(self) -> str:
        return f"{self.level:<8} {self.check:<20} {self.text}"


def guarded(check: str, function: Callable[[], Finding]) -> Finding:
    """Return what a check finds; an exception of the model under it is a finding, too."""
    try:
        return function()
    except Exception as error:  # a user's model may raise anything
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Finding(check, Level.FAIL, f"{type(error).__name__}: {text}")
