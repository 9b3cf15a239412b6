"""The result of a check, in one line."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from stitching.records.text import first_line


class Level(StrEnum):
    """Outcome of a check: `FAIL` breaks the contract, `skipped` means not applicable."""

    OK = "ok"
    WARNING = "warning"
    FAIL = "FAIL"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        check: Name of the check.
        level: Its outcome.
        text: The numbers and, unless the level is ok, a remedy.
    """

    check: str
    level: Level
    text: str

    def __str__(self) -> str:
        return f"{self.level:<8} {self.check:<20} {self.text}"


def guarded(check: str, function: Callable[[], Finding]) -> Finding:
    """Return the finding of a check; an exception of the model is a FAIL."""
    try:
        return function()
    except Exception as error:  # a user's model may raise anything
        return Finding(check, Level.FAIL, first_line(error))
