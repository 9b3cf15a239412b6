"""The answers to the claims, as `claims.json` has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stitching.report.limits import Limits
from stitching.results.commands import python
from stitching.results.formats import with_interval
from stitching.results.output import CLAIMS, Output


def read_claims(folder: Path, limits: Limits) -> tuple[list[dict[str, Any]], str]:
    """Return one entry per claim, with numbers as texts; and why there is none, or ""."""
    paths = Output(folder).found(CLAIMS[1])
    if not paths:
        return [], f"not answered yet: `{python('-m', 'stitching.claims', str(folder))}`"
    try:
        (path,) = paths
        claims = json.loads(path.read_text(encoding="utf-8"))["claims"]
        return [_claim(claim, limits) for claim in claims], ""
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        return [], f"claims.json cannot be read ({type(error).__name__}: {error})"


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
    return {
        "where": ", ".join(map(str, where)) or "anywhere",
        "verdict": str(answer["verdict"]),
        "reason": str(answer["reason"]),
        "numbers": [_number(number) for number in [*decisive[: limits.numbers], *facts]],
        "more": max(0, len(decisive) - limits.numbers),
        "notes": [str(note) for note in answer.get("notes") or ()],
        "run": [str(line) for line in answer.get("run") or ()],
    }


def _number(number: dict[str, Any]) -> list[str]:
    if number["value"] is None:
        return [str(number["name"]), "undefined", ""]
    known = number.get("low") is not None and number.get("high") is not None
    ends = (float(number["low"]), float(number["high"])) if known else None
    return [str(number["name"]), *with_interval(float(number["value"]), ends)]
