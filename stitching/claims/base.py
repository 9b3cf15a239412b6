"""Verdicts, and how intervals decide.

Every claim is put as numbers that must lie in a region. It is supported if the 95 % interval of
each of them lies inside: as all have to, chance cannot make it so more often for many numbers than
for one. It is not supported if the interval of any of them lies outside; as one is enough, these
intervals are made wider by their number (Bonferroni), so that chance makes it so in 5 % of cases
at most. Else the data cannot tell.

Intervals are of the images alone. Other models, or the same ones trained again, could give other
answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stitching.compute.intervals import COVERAGE
from stitching.results.differences import Quantity
from stitching.results.formats import with_interval

SUPPORTED = "supported"
NOT_SUPPORTED = "not supported"
EXPLAINED = "explained by pixels"
FRAGILE = "fragile"
CANNOT_TELL = "cannot tell"
NOT_RUN = "not run"

#: Every verdict, with its meaning.
VERDICTS = {
    SUPPORTED: "all numbers lie where the claim has them, with their intervals",
    NOT_SUPPORTED: "at least one number lies elsewhere, with an interval widened for their count",
    EXPLAINED: "what the claim describes is there, and a linear view of the pixels gives it too",
    FRAGILE: "the verdict depends on which of two equally good penalties a map has",
    CANNOT_TELL: "too few models or images, cells that failed, or intervals that are too wide",
    NOT_RUN: "cells are missing; the answer gives the command",
}


@dataclass(frozen=True)
class Number:
    """A number of an answer.

    Attributes:
        name: Its description.
        quantity: Its value and draws.
    """

    name: str
    quantity: Quantity

    def __str__(self) -> str:
        """Return name, value and 95 % interval."""
        return f"{self.name}: {' '.join(self.texts()).rstrip()}"

    def texts(self) -> tuple[str, str]:
        """Return value and interval as text; "" without an interval."""
        value = self.quantity.value
        return (
            ("undefined", "") if value is None else with_interval(value, self.quantity.interval())
        )


def exact(name: str, value: float | None) -> Number:
    """Return a number without uncertainty, such as a count."""
    return Number(name, Quantity(value, exact=value is not None))


@dataclass(frozen=True)
class Region:
    """Interval in which a claim expects its numbers.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float = -math.inf
    high: float = math.inf

    def __str__(self) -> str:
        """Return it in words."""
        if self.high == math.inf:
            return f"above {self.low:g}"
        if self.low == -math.inf:
            return f"below {self.high:g}"
        return f"between {self.low:g} and {self.high:g}"

    def inside(self, ends: tuple[float, float]) -> bool:
        """Whether an interval lies in the region."""
        return self.low < ends[0] and ends[1] < self.high

    def outside(self, ends: tuple[float, float]) -> bool:
        """Whether an interval has nothing in common with the region."""
        return ends[1] < self.low or ends[0] > self.high

    def margin(self, ends: tuple[float, float]) -> float:
        """Return how far inside an interval lies; negative where it does not."""
        return min(ends[0] - self.low, self.high - ends[1])


class Judgement(NamedTuple):
    """Verdict and reason of an `Answer`."""

    verdict: str
    reason: str


class Other(NamedTuple):
    """A verdict with other penalties.

    Attributes:
        cells: The maps that have them, in words.
        verdict: The verdict.
        reason: What decided.
    """

    cells: str
    verdict: str
    reason: str


@dataclass(frozen=True)
class Answer:
    """A verdict on a claim, with its evidence.

    Attributes:
        verdict: One of `VERDICTS`.
        reason: What decided, in one line.
        decisive: The numbers that had to lie in the region.
        facts: Other numbers that help to read the answer.
        notes: What was left out, and what the answer does not cover.
        run: Commands that compute the cells it lacks; empty where it lacks none.
        lacking: Cells or controls that the claim covers and that are not measured.
        others: Verdicts with the other penalty of maps that have two equally good ones.
    """

    verdict: str
    reason: str
    decisive: Sequence[Number] = ()
    facts: Sequence[Number] = ()
    notes: Sequence[str] = ()
    run: Sequence[str] = ()
    lacking: Sequence[str] = ()
    others: Sequence[Other] = ()


def judge(numbers: Sequence[Number], region: Region) -> Judgement:
    """Return whether numbers, at least one, lie in a region, by the rule of this module."""
    n = len(numbers)
    ends = [number.quantity.interval() for number in numbers]
    if all(found is not None and region.inside(found) for found in ends):
        nearest = _nearest(numbers, region)
        if n == 1:
            return Judgement(SUPPORTED, f"{region}: {nearest}")
        return Judgement(SUPPORTED, f"all {n} are {region}; the least clear is {nearest}")
    coverage = 1 - (1 - COVERAGE) / n
    wide = [number.quantity.interval(coverage) for number in numbers]
    out = _where(numbers, [x is not None and region.outside(x) for x in wide])
    if out:
        more = f", and {len(out) - 1} more of {n}" if len(out) > 1 else ""
        return Judgement(NOT_SUPPORTED, f"not {region}: {_nearest(out, region)}{more}")
    blind = _where(numbers, [x is None for x in ends])
    if blind:
        return Judgement(CANNOT_TELL, f"{len(blind)} of {n} without interval, as {blind[0]}")
    open_ = _where(numbers, [x is not None and not region.inside(x) for x in ends])
    which = f"{len(open_)} of {n} may be elsewhere" if n > 1 else "it may be elsewhere"
    return Judgement(CANNOT_TELL, f"must be {region}, {which}: {_nearest(open_, region)}")


def _where(numbers: Sequence[Number], chosen: Sequence[bool]) -> list[Number]:
    return [number for number, yes in zip(numbers, chosen, strict=True) if yes]


def _nearest(numbers: Sequence[Number], region: Region) -> Number:
    """Return the number that is least inside a region, for the width of its interval."""

    def depth(number: Number) -> float:
        ends = number.quantity.interval()
        if ends is None:
            return math.inf
        margin, width = region.margin(ends), ends[1] - ends[0]
        return margin / width if width > 0 else math.copysign(math.inf, margin)

    return min(numbers, key=depth)
