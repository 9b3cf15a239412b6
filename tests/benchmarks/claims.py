"""Verdicts on the claims under the rules of two versions, for the same finished cells.

    python tests/benchmarks/claims.py DIR [DIR ...] [--before e51fa3c]

Prints a Markdown table. The earlier version is taken from git, and gets copies of those cells
alone whose encoders it knew: to it, a control that came later is a trained model.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from stitching.claims import CLAIMS, read_evidence
from stitching.claims.evidence import Evidence

#: Controls of the version before claims were contrasts.
KNOWN = ("random", "mean", "pixels", "pca", "untrained")

ROOT = Path(__file__).parents[2]


def copied(evidence: Evidence, folder: Path) -> None:
    """Copy the cells that an earlier version reads as what they are."""
    for cell in evidence.grid.cells.values():
        if cell.encoder in evidence.trained or cell.kinds[0] in KNOWN:
            shutil.copytree(cell.path, folder / cell.path.name)


def before(version: str, evidence: Evidence) -> dict[str, str]:
    """Return the verdicts under the rules of an earlier version."""
    with tempfile.TemporaryDirectory() as place:
        tree, cells = Path(place) / "tree", Path(place) / "cells"
        tree.mkdir()
        archive = subprocess.run(
            ["git", "archive", version, "stitching"], cwd=ROOT, check=True, capture_output=True
        )
        subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)
        cells.mkdir()
        copied(evidence, cells)
        subprocess.run(
            [sys.executable, "-m", "stitching.claims", str(cells)],
            cwd=tree, env=os.environ | {"PYTHONPATH": str(tree)}, check=True, capture_output=True,
        )  # fmt: skip
        found = json.loads((cells / "claims.json").read_text())["claims"]
    return {claim["id"]: claim["answers"][0]["verdict"] for claim in found}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dirs", type=Path, nargs="+")
    parser.add_argument("--before", default="e51fa3c")
    args = parser.parse_args()
    for evidence in read_evidence(args.dirs):
        old = before(args.before, evidence)
        print(
            f"\n{evidence.label}\n\n| claim | rules of {args.before} | rules now | what decided |"
        )
        print("|---|---|---|---|")
        for claim in CLAIMS:
            if claim.applies(evidence):
                found = claim.assess(evidence)
                row = [claim.id, old[claim.id], found.verdict, found.reason]
            else:
                row = [claim.id, old[claim.id], "not run", f"needs {claim.about}"]
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
