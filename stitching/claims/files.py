"""The command: assesses every claim for every grid, prints the answers and writes them."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from stitching.claims.base import FRAGILE, NOT_RUN, VERDICTS, Answer, Number, Other
from stitching.claims.claim import Claim
from stitching.claims.encoders import C2, C3
from stitching.claims.evidence import Evidence, read_evidence
from stitching.claims.maps import C1, C7
from stitching.claims.probes import C4, C9
from stitching.claims.spaces import C8
from stitching.claims.training import C5, C6
from stitching.records.program import command_line
from stitching.results.formats import aligned, markdown_table
from stitching.results.output import CLAIMS as FILES
from stitching.results.output import Output

CLAIMS: tuple[Claim, ...] = (C1(), C2(), C3(), C4(), C5(), C6(), C7(), C8(), C9())

#: What a reader must know before the verdicts.
INTRODUCTION = (
    "Raw pixels, without any model, can be stitched too: a claim is supported only by what "
    "trained models add to such controls. The verdicts hold for these models on these images; "
    "intervals, in brackets, hold 95 % of resamples of the images and cover no other training. "
    'Where too few models or images were measured, or a cell failed, the answer is "cannot tell".'
)

#: Columns of the console that a reason may take before it is broken.
_WIDTH = 110

#: Numbers that `claims.md` lists of those that decided; `claims.json` has all.
_LISTED = 40


class Assessment(NamedTuple):
    """The answer of one grid to a claim.

    Attributes:
        where: Data set, protocol and seeds; "" where the claim applies to no grid.
        evidence: The grid; None where the claim applies to none.
        answer: The answer.
    """

    where: str
    evidence: Evidence | None
    answer: Answer


def main(argv: Sequence[str] | None = None) -> int:
    """Answer all claims from finished cells.

    Args:
        argv: Command line arguments without the program's name; None takes those of the process.

    Returns:
        0, whatever the answers are.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: A folder without a finished cell, or two cells of one pair of models that
            differ.
    """
    parser = argparse.ArgumentParser(
        command_line("claims"), description="Answer the paper's claims from finished cells."
    )
    parser.add_argument(
        "dirs", metavar="DIR", type=Path, nargs="+", help="folder of a sweep, with its cells in it"
    )
    found, paths = answer(parser.parse_args(argv).dirs)
    print(console(found))
    print("\n".join(["\nwritten:", *(f"  {path}" for path in paths)]))
    return 0


def answer(folders: Sequence[Path]) -> tuple[dict[Claim, list[Assessment]], list[Path]]:
    """Answer all claims, and write the answers into the first folder.

    Returns:
        The answers, and the files.

    Raises:
        FileNotFoundError: No such folder.
        ForeignFilesError: A file of other origin has the name of one to write.
        ValueError: A folder without a finished cell, or two cells of one pair of models that
            differ.
    """
    output = Output(folders[0])
    output.require_free(FILES)
    found = assess(list(read_evidence(folders)))
    texts = (markdown(found), as_json(found))
    return found, output.write(dict(zip(FILES, texts, strict=True)))


def assess(evidence: Sequence[Evidence]) -> dict[Claim, list[Assessment]]:
    """Return the answers to every claim, of all grids it applies to; else what to run."""
    labels = [found.label for found in evidence]
    where = {
        id(found): f"{found.label} ({found.grid.folder})"
        if labels.count(found.label) > 1
        else found.label
        for found in evidence
    }
    answers: dict[Claim, list[Assessment]] = {}
    for claim in CLAIMS:
        fitting = [found for found in evidence if claim.applies(found)]
        answers[claim] = [Assessment(where[id(x)], x, claim.assess(x)) for x in fitting]
        if not fitting:
            none = Answer(NOT_RUN, f"needs {claim.about}", run=claim.commands(()))
            answers[claim] = [Assessment("", None, none)]
    return answers


def console(found: dict[Claim, list[Assessment]]) -> str:
    """Return all answers as text: verdicts in a column, reasons beside them."""
    blocks = []
    for claim, answers in found.items():
        lines = [f"{claim.id}  {claim.text}"]
        heads = aligned([[x.where or "anywhere", x.answer.verdict] for x in answers], left=2)
        width = max(map(len, heads)) + 2
        for head, assessed in zip(heads, answers, strict=True):
            reason = textwrap.wrap(assessed.answer.reason, max(40, _WIDTH - width))
            lines += [
                f"    {start.ljust(width)}{line}"
                for start, line in zip([head, *[""] * len(reason)], reason, strict=False)
            ]
        commands = dict.fromkeys(line for assessed in answers for line in assessed.answer.run)
        lines += [f"    run: {command}" for command in commands]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def markdown(found: dict[Claim, list[Assessment]]) -> str:
    """Return all answers with their numbers as Markdown."""
    places = dict.fromkeys(x.where for answers in found.values() for x in answers if x.where)
    lines = ["# Claims", "", INTRODUCTION]
    table = []
    for claim, answers in found.items():
        verdicts = {x.where: x.answer.verdict for x in answers}
        nowhere = NOT_RUN if "" in verdicts else "-"
        table.append([claim.id, claim.text, *(verdicts.get(x, nowhere) for x in places)])
    lines += ["", *markdown_table(["", "claim", *places], table, left=2 + len(places))]
    used = {x.answer.verdict for answers in found.values() for x in answers}
    lines += ["", *(f"- *{word}*: {text}" for word, text in VERDICTS.items() if word in used)]
    lines += ["- `-`: cells of another kind than the claim is about"]
    for claim, answers in found.items():
        lines += ["", f"## {claim.id}", "", claim.text, "", f"Rule: {claim.rule}"]
        for assessed in answers:
            lines += _section(assessed)
    return "\n".join(lines) + "\n"


def _section(assessed: Assessment) -> list[str]:
    answer = assessed.answer
    lines = [
        "",
        f"### {assessed.where or 'Anywhere'}: {answer.verdict}",
        "",
        f"{answer.reason[:1].upper()}{answer.reason[1:]}.",
    ]
    numbers = [*answer.decisive[:_LISTED], *answer.facts]
    if numbers:
        rows = [[number.name, *number.texts()] for number in numbers]
        lines += ["", *markdown_table(["number", "value", "95 % interval"], rows)]
    if len(answer.decisive) > _LISTED:
        more = len(answer.decisive) - _LISTED
        lines += ["", f"{more} more numbers of those that decided are in `claims.json`."]
    notes = [
        f"{x.verdict} with {x.cells}: {x.reason}" for x in answer.others if _differs(x, answer)
    ]
    notes += answer.notes
    lines += ["", *(f"- {note}" for note in notes)] if notes else []
    if answer.run:
        lines += ["", "To run:", "", "```", *answer.run, "```"]
    return lines


def _differs(other: Other, answer: Answer) -> bool:
    """Whether a verdict at other penalties is news beside the answer's own."""
    return answer.verdict == FRAGILE or other.verdict != answer.verdict


def as_json(found: dict[Claim, list[Assessment]]) -> str:
    """Return all answers as JSON; what is undefined, or has no interval, is null."""
    claims = [
        {
            "id": claim.id,
            "text": claim.text,
            "rule": claim.rule,
            "answers": [_plain(assessed) for assessed in answers],
        }
        for claim, answers in found.items()
    ]
    plain = {"claims": claims, "introduction": INTRODUCTION, "verdicts": VERDICTS}
    return json.dumps(plain, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _plain(assessed: Assessment) -> dict[str, object]:
    answer, evidence = assessed.answer, assessed.evidence
    return {
        "folder": str(evidence.grid.folder) if evidence else None,
        "data": evidence.data if evidence else None,
        "protocol": evidence.variant.protocol if evidence else None,
        "seeds": dict(evidence.variant.seeds) if evidence else {},
        "images": evidence.images if evidence else None,
        "changed": evidence.changed if evidence else [],
        "verdict": answer.verdict,
        "reason": answer.reason,
        "other_penalties": [other._asdict() for other in answer.others],
        "decisive": [_number(number) for number in answer.decisive],
        "facts": [_number(number) for number in answer.facts],
        "notes": list(answer.notes),
        "run": list(answer.run),
    }


def _number(number: Number) -> dict[str, object]:
    quantity = number.quantity
    low, high = quantity.interval() or (None, None)
    return {"name": number.name, "value": quantity.value, "low": low, "high": high}
