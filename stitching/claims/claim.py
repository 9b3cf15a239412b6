"""A claim: its text, its rule, and what keeps every verdict honest.

Three conditions hold for all claims. A verdict needs at least three trained models and six ordered
pairs of them. A cell that failed, or was never computed, keeps the verdict open. Where a map has
two equally good penalties, both must give the same verdict.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from stitching.claims.base import (
    CANNOT_TELL,
    FRAGILE,
    NOT_RUN,
    Answer,
    Other,
)
from stitching.claims.evidence import Evidence, NotRun
from stitching.claims.penalties import at_other_penalties
from stitching.records.program import command_line
from stitching.results.commands import options_of

#: Fewest trained models and ordered pairs of them behind a verdict. Two models have two pairs,
#: which differ in everything that the two do; three have six.
MIN_MODELS, MIN_PAIRS = 3, 6


class Claim(ABC):
    """A claim of the paper, with the rule that decides it.

    Attributes:
        id: Its number in the list of claims.
        text: The claim in words.
        rule: The rule that decides, in words.
        about: The cells that it applies to.
        of_pairs: Whether it is about pairs of models, and not about one model.
    """

    id: ClassVar[str]
    text: ClassVar[str]
    rule: ClassVar[str]
    about: ClassVar[str]
    of_pairs: ClassVar[bool] = True

    @abstractmethod
    def applies(self, evidence: Evidence) -> bool:
        """Whether the claim is about cells of this kind."""

    @abstractmethod
    def answer(self, evidence: Evidence) -> Answer:
        """Answer the claim, at the penalties that the cells have.

        Raises:
            NotRun: Cells that it needs are missing.
        """

    def commands(self, options: Sequence[str]) -> list[str]:
        """Return the command lines that compute the cells it needs, by default those of the grid.

        Args:
            options: Options that select data set and protocol; empty for the default.
        """
        return [command_line("run", "experiment=grid", *options)]

    def assess(self, evidence: Evidence) -> Answer:
        """Return the answer under the conditions of this module, or what to run."""
        try:
            found = self._answered(evidence)
        except NotRun as missing:
            return Answer(
                NOT_RUN,
                str(missing),
                notes=evidence.scope,
                run=self.commands(options_of(evidence.first)),
            )
        others = []
        for cells, other in at_other_penalties(evidence):
            try:
                answer = self._answered(other)
            except NotRun:
                continue
            others.append(Other(cells, answer.verdict, answer.reason))
        return _with_others(replace(found, notes=[*found.notes, *evidence.scope]), others)

    def _answered(self, evidence: Evidence) -> Answer:
        found = self.answer(evidence)
        why = []
        if self.of_pairs and (
            len(evidence.recipes) < MIN_MODELS or len(evidence.cells) < MIN_PAIRS
        ):
            why.append(
                f"a verdict needs {MIN_MODELS} trained models and {MIN_PAIRS} ordered pairs of "
                f"them, here are {len(evidence.recipes)} and {len(evidence.cells)}"
            )
        if found.lacking:
            why.append(f"not measured: {', '.join(found.lacking)}")
        if not why:
            return found
        verdict = "would be " + found.verdict if found.verdict != CANNOT_TELL else "is open too"
        reason = f"{'; '.join(why)}. What is there {verdict}: {found.reason}"
        run = found.run or self.commands(options_of(evidence.first))
        return replace(found, verdict=CANNOT_TELL, reason=reason, run=run)


def _with_others(found: Answer, others: Sequence[Other]) -> Answer:
    """Return an answer with those at other penalties: fragile if one of them differs.

    What is open for want of cells stays so: other penalties cannot close it.
    """
    differing = [other for other in others if other.verdict != found.verdict]
    if not differing:
        note = [f"the same verdict with {other.cells}" for other in others[:1]]
        return replace(found, notes=[*found.notes, *note], others=others)
    if found.lacking:
        return replace(found, others=others)
    reason = (
        f"{found.verdict} with the penalties that were chosen, {differing[0].verdict} with "
        f"{differing[0].cells}"
    )
    chosen = Other("the penalties that were chosen", found.verdict, found.reason)
    return replace(found, verdict=FRAGILE, reason=reason, others=[chosen, *others])
