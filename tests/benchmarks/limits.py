"""Coverage of the intervals of limits of learning curves, where the population value is known.

    python tests/benchmarks/limits.py [--repeats 100] --out limits.json

Prints the share of intervals that hold the population R2 of simulated ridge regressions, for five
sizes and for the last four, and how wide they are beside the change over all sizes.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "results"))

from ridge_curves import CASES, SIZES, ridge_curve

from stitching.results.extrapolation import extrapolate


def rows(repeats):
    """One row for each case and number of sizes."""
    for number, (width, decay, noise) in enumerate(CASES):
        rng = np.random.default_rng([1, number])
        curves = [ridge_curve(rng, width, decay, noise) for _ in range(repeats)]
        for used in (len(SIZES), 4):
            found = [
                (extrapolate(SIZES[-used:], values[-used:], str(k), high=1.0), values, true)
                for k, (values, true) in enumerate(curves)
            ]
            ends = [(one.limit.interval(), values, true) for one, values, true in found]
            yield {
                "measure": "limit of latent/r2",
                "case": f"width {width}, spectrum i^-{decay:g}, noise {noise:g}",
                "sizes": used,
                "n": 200,
                "coverage": float(np.mean([low <= true <= high for (low, high), _, true in ends])),
                "width over change": float(
                    np.median([(h - w) / (v[-1].value - v[0].value) for (w, h), v, _ in ends])
                ),
                "open": float(np.mean(["open" in one.flags for one, _, _ in found])),
                "simulations": repeats,
            }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = []
    for row in rows(options.repeats):
        found.append(row)
        print(row, flush=True)
    if options.out:
        options.out.write_text(json.dumps({"rows": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
