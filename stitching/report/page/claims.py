"""The answers to the claims, as `claims.json` has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stitching.records.program import command_line
from stitching.report.limits import Limits
from stitching.results.formats import with_interval
from stitching.results.output import CLAIMS, Output


def read_claims(folder: Path, limits: Limits) -> tuple[dict[str, Any], str]:
    """Return the answers with numbers as texts; and why there is none, or "".

    Returns:
        `introduction`, `verdicts` with their meanings, and `claims`, one entry each; empty where
        there are no answers.
    """
    paths = Output(folder).found(CLAIMS[1])
    if not paths:
        return {}, f"not answered yet: `{command_line('claims', str(folder))}`"
    try:
        (path,) = paths
        found = json.loads(path.read_text(encoding="utf-8"))
        claims = [_claim(claim, limits) for claim in found["claims"]]
        used = {answer["verdict"] for claim in claims for answer in claim["answers"]}
        meanings = {str(k): str(v) for k, v in (found.get("verdicts") or {}).items() if k in used}
        introduction = str(found.get("introduction") or "")
        return {"introduction": introduction, "verdicts": meanings, "claims": claims}, ""
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        return {}, f"claims.json cannot be read ({type(error).__name__}: {error})"


def _claim(claim: dict[str, Any], limits: Limits) -> dict[str, Any]:
    return {
        "id": str(claim["id"]),
        "text": str(claim["text"]),
        "rule": str(claim["rule"]),
        "answers": [_answer(answer, limits) for answer in claim["answers"]],
    }


def _answer(answer: dict[str, Any], limits: Limits) -> dict[str, Any]:
    seeds = [f"{key}={value}" for key, value in (answer.get("seeds") or {}).items()]
    where = [x for x in (answer.get("data"), answer.get("protocol"), *seeds) if x]
    decisive, facts = answer.get("decisive") or [], answer.get("facts") or []
    others = [
        f"{x['verdict']} with {x['cells']}: {x['reason']}"
        for x in answer.get("other_penalties") or ()
        if str(answer["verdict"]) == "fragile"
    ]
    return {
        "where": ", ".join(map(str, where)) or "anywhere",
        "verdict": str(answer["verdict"]),
        "reason": str(answer["reason"]),
        "numbers": [_number(number) for number in [*decisive[: limits.numbers], *facts]],
        "more": max(0, len(decisive) - limits.numbers),
        "scope": _scope(answer),
        "notes": [*others, *(str(note) for note in answer.get("notes") or ())],
        "run": [str(line) for line in answer.get("run") or ()],
    }


def _scope(answer: dict[str, Any]) -> str:
    """Return on which images an answer holds, and which models were changed for stitching."""
    images = str(answer.get("images") or "")
    names = [str(line).partition(":")[0] for line in answer.get("changed") or ()]
    changed = f"; changed for stitching: {', '.join(names)}" if names else ""
    return f"on {images}{changed}" if images else ""


def _number(number: dict[str, Any]) -> list[str]:
    if number["value"] is None:
        return [str(number["name"]), "undefined", ""]
    known = number.get("low") is not None and number.get("high") is not None
    ends = (float(number["low"]), float(number["high"])) if known else None
    return [str(number["name"]), *with_interval(float(number["value"]), ends)]
