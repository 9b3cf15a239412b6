"""Claims on how representations come about in training: C5, C6."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stitching.claims.base import CANNOT_TELL, Answer, Judgement, Number, Region, exact, judge
from stitching.claims.claim import Claim
from stitching.claims.evidence import Evidence, NotRun
from stitching.compute.attributes import GENDER, SMILING
from stitching.records.program import command_line
from stitching.results.cell import CellRecord
from stitching.results.commands import AT, train_with_checkpoints
from stitching.results.differences import Quantity, combine

#: The model whose training is examined, as decoder: probes are of its own latents.
MODEL = "nf"

#: Fewest checkpoints that show the course of a training: the start, one before the
#: plateau begins, one where it begins, the end.
MIN_CHECKPOINTS = 4

#: Where the plateau begins by the claim, as a share of all images seen.
PLATEAU = 0.2

#: The first checkpoint on the plateau must not come later than this share: if it does, nothing
#: was measured where the plateau begins by the claim.
PLATEAU_SEEN_BY = 0.4

#: Largest change of the mean balanced accuracy on a plateau: two answers in a hundred, a twentieth
#: of what lies between guessing (0.5) and a probe that is right in nine of ten (0.9).
PLATEAU_MARGIN = 0.02

#: The first checkpoint of C6 must not come later than this share of the training.
EARLY = 0.1

#: Largest change of one attribute's balanced accuracy that counts as hardly any: a tenth of what
#: lies between guessing and being always right.
ATTRIBUTE_MARGIN = 0.05

#: Fewest test images: with 128 a change of balanced accuracy below about 0.05 is not seen, and
#: of an attribute that one image in ten has, none below 0.1.
MIN_TEST = 1000

_KEY = "probe/balanced_accuracy_own"

_RESOLVED = f"There must be {MIN_TEST:,} test images; the smallest change that they resolve, half "
_RESOLVED += "the width of the interval of the change, is printed."


class _OfTraining(Claim):
    """A claim on the checkpoints of one training."""

    of_pairs = False

    def applies(self, evidence: Evidence) -> bool:
        """Whether there are several checkpoints of the model."""
        return len({seen for seen, _ in evidence.trained_on(MODEL)}) > 1

    def commands(self, options: Sequence[str]) -> list[str]:
        """Return the command lines that train with checkpoints and put them into a grid."""
        train = train_with_checkpoints([x for x in options if x.startswith("data")])
        words = ["zoo=mine", "encoder=random", f"decoder={MODEL}", f"decoder.checkpoint={AT}"]
        words.append(f"decoder.name={MODEL}-${{.checkpoint}}")
        data = [*(options or ["data=faces"]), f"data.n_test={MIN_TEST}"]
        return [train, command_line("run", "-m", *data, *words)]

    def judged(
        self,
        course: dict[int, CellRecord],
        changes: Sequence[Number],
        margin: float,
        facts: Sequence[Number],
        notes: Sequence[str] = (),
    ) -> Answer:
        """Judge changes, none of which may be larger than a margin, by enough test images."""
        ends = [found for x in changes if (found := x.quantity.interval())]
        widths = [(high - low) / 2 for low, high in ends]
        seen = [
            exact("smallest change that is resolved, of the least clear", max(widths)),
            exact("smallest change that is resolved, median", float(np.median(widths))),
        ]
        verdict = judge(changes, Region(-margin, margin))
        n = min(int(x.number("probe/n_test") or x.number("n_test") or 0) for x in course.values())
        if n < MIN_TEST:
            smallest = f", changes below {max(widths):.2g} are not resolved" if widths else ""
            verdict = Judgement(
                CANNOT_TELL,
                f"{n} test images{smallest}: needs {MIN_TEST:,}. With these it would be "
                f"{verdict.verdict}: {verdict.reason}",
            )
        return Answer(*verdict, changes, [*(seen if widths else []), *facts], notes)

    def course(self, evidence: Evidence) -> dict[int, CellRecord]:
        """Return a cell for each number of images seen, ascending.

        Raises:
            NotRun: There are too few, or they are of several trainings.
        """
        found = evidence.checkpoints(MODEL)
        if len(found) < MIN_CHECKPOINTS:
            seen = ", ".join(map(str, found))
            raise NotRun(
                f"needs at least {MIN_CHECKPOINTS} checkpoints of `{MODEL}`, found {len(found)} "
                f"(images seen: {seen})"
            )
        return found


class C5(_OfTraining):
    """Probe accuracy reaches a plateau early."""

    id = "C5"
    about = "several checkpoints of nf as decoders"
    text = f"The accuracy of probes of `{MODEL}` hardly grows after about 20 % of its training."
    rule = (
        f"Balanced accuracy of the probes on own latents of `{MODEL}`, mean over attributes: the "
        f"last checkpoint minus every one from {PLATEAU:.0%} of the images on must lie within "
        f"{PLATEAU_MARGIN:g} of 0. There must be {MIN_CHECKPOINTS} checkpoints, one of them "
        f"between {PLATEAU:.0%} and {PLATEAU_SEEN_BY:.0%}. {_RESOLVED}"
    )

    def answer(self, evidence: Evidence) -> Answer:
        """Judge the change from every checkpoint on the plateau to the last."""
        course = self.course(evidence)
        *before, last = course
        plateau = [seen for seen in before if seen >= PLATEAU * last]
        if not plateau or plateau[0] > PLATEAU_SEEN_BY * last:
            raise NotRun(
                f"needs a checkpoint between {PLATEAU:.0%} and {PLATEAU_SEEN_BY:.0%} of {last} "
                f"images, found {', '.join(map(str, course))}"
            )
        decisive = [
            Number(f"{last} - {seen} images", _change(course[seen], course[last], _KEY))
            for seen in plateau
        ]
        facts = [Number(f"after {x} images", cell.quantity(_KEY)) for x, cell in course.items()]
        return self.judged(course, decisive, PLATEAU_MARGIN, facts)


class C6(_OfTraining):
    """Gender and smiles are represented from the first checkpoint on."""

    id = "C6"
    about = "several checkpoints of nf as decoders"
    text = (
        f"The accuracy of probes of `{MODEL}` for attributes that go with gender, and for "
        f"`{SMILING}`, hardly changes after the first checkpoint."
    )
    rule = (
        f"Balanced accuracy of the probes on own latents of `{MODEL}` for "
        f"{', '.join(GENDER)} (those that go with gender in CelebA) and {SMILING}: every later "
        "checkpoint minus the first one after more than 0 images must lie within "
        f"{ATTRIBUTE_MARGIN:g} of 0. The first must lie in the first {EARLY:.0%} of the training. "
        f"{_RESOLVED}"
    )

    def answer(self, evidence: Evidence) -> Answer:
        """Judge the change of four attributes from the first checkpoint on."""
        course = self.course(evidence)
        first, *later = [seen for seen in course if seen > 0]
        if not later or first > EARLY * later[-1]:
            raise NotRun(
                f"needs a first checkpoint in the first {EARLY:.0%} of the training, and later "
                f"ones, found {', '.join(map(str, course))} images"
            )
        names = [*GENDER, SMILING]
        missing = [
            name
            for name in names
            if any(course[x].number(f"{_KEY}/{name}") is None for x in (first, *later))
        ]
        if missing:
            raise NotRun(f"needs probes of {', '.join(missing)} at every checkpoint")
        decisive = [
            Number(
                f"{name}, {seen} - {first} images",
                _change(course[first], course[seen], f"{_KEY}/{name}"),
            )
            for name in names
            for seen in later
        ]
        facts = [
            Number(f"{name}, {later[-1]} - {first} images", change)
            for name in course[first].attributes(_KEY)
            if name not in names
            and (change := _change(course[first], course[later[-1]], f"{_KEY}/{name}")).value
            is not None
        ]
        notes = ["facts are the other attributes"]
        return self.judged(course, decisive, ATTRIBUTE_MARGIN, facts, notes)


def _change(first: CellRecord, last: CellRecord, key: str) -> Quantity:
    return combine(lambda x: x[1] - x[0], [first.quantity(key), last.quantity(key)])
