"""Coverage of the intervals of probe measures, where the true values are known.

    python tests/benchmarks/probe_intervals.py [--repeats 400] [--labels 1,10]

A case is a distribution of (truth, own prediction, mapped prediction). Sets of n test items are
drawn from it, each is measured as a cell's, and intervals that contain the true value are counted.
"""

import argparse
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import norm

from stitching.metrics.agreement import binary_measures
from stitching.metrics.attributes import AttributePredictions, probe_scores
from stitching.metrics.resampling import Estimate, Resamples

MEASURES = (
    "accuracy_own", "accuracy_mapped", "balanced_accuracy_own", "balanced_accuracy_mapped",
    "majority", "consistency", "kappa", "percent_delta",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """Independent items with a share of yes, of wrong own predictions and of differing ones.

    Attributes:
        yes: Share of items whose truth is yes.
        wrong: Share of own predictions that are wrong, as many of either kind.
        different: Share of mapped predictions that differ from own ones, as many of either kind.
        rho: Correlation of errors over the labels of one item, by a Gaussian copula.
    """

    yes: float
    wrong: float
    different: float
    rho: float = 0.0

    def flips(self, share: float, given: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Flip predictions so that as many turn from yes as to it."""
        rate = np.where(given, share / (2 * self.yes), share / (2 * (1 - self.yes)))
        return given ^ (norm.cdf(u) < rate)

    def table(self) -> torch.Tensor:
        """Return the probabilities of (truth, own, mapped), shape (2, 2, 2, 1)."""
        found = np.zeros((2, 2, 2, 1))
        for t, o, m in itertools.product((0, 1), repeat=3):
            side = (1 - self.yes, self.yes)
            wrong, different = (
                share / (2 * side[given])
                for share, given in ((self.wrong, t), (self.different, o))
            )
            found[t, o, m] = (
                side[t] * (wrong if o != t else 1 - wrong)
                * (different if m != o else 1 - different)
            )  # fmt: skip
        return torch.from_numpy(found)

    def true_values(self) -> dict[str, float]:
        """Return the measures in the limit of many items."""
        found = binary_measures(self.table(), self.yes > 0.5)
        found["percent_delta"] = found["accuracy_mapped"] / found["accuracy_own"] - 1
        return {name: float(values) for name, values in found.items()}

    def sample(
        self, n: int, n_labels: int, generator: np.random.Generator, resamples: Resamples
    ) -> list[AttributePredictions]:
        """Return predictions of labels of n items."""
        shared = generator.standard_normal((2, n))
        labels = []
        for place in range(n_labels):
            own_part = generator.standard_normal((2, n))
            u = np.sqrt(self.rho) * shared + np.sqrt(1 - self.rho) * own_part
            truth = generator.random(n) < self.yes
            own = self.flips(self.wrong, truth, u[0])
            mapped = self.flips(self.different, own, u[1])
            labels.append(
                AttributePredictions(
                    f"label {place}", truth, np.where(own, 1.0, -1.0), np.where(mapped, 1.0, -1.0),
                    int(100 * self.yes), 100 - int(100 * self.yes), resamples=resamples,
                )
            )  # fmt: skip
        return labels


def coverage(
    case: Case,
    n: int,
    measures: Sequence[str] = MEASURES,
    repeats: int = 400,
    n_labels: int = 1,
    n_draws: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float, float]]:
    """Return by measure the share of intervals that contain the true value.

    Also their mean width, and the share of sets of items for which there is an interval.
    """
    torch.set_num_threads(1)
    generator = np.random.default_rng([seed, n])
    resamples, true = Resamples(n, n_draws, 0), case.true_values()
    found: dict[str, list[tuple[float, float]]] = {measure: [] for measure in measures}
    for _ in range(repeats):
        scores = probe_scores(case.sample(n, n_labels, generator, resamples), {})
        for measure in measures:
            estimate = scores[f"probe/{measure}"]
            if isinstance(estimate, Estimate) and estimate.interval[0] is not None:
                found[measure].append(estimate.interval)
    result = {}
    for measure, intervals in found.items():
        low, high = np.array(intervals or [(np.nan, np.nan)]).T
        inside = (low <= true[measure] + 1e-12) & (true[measure] - 1e-12 <= high)
        result[measure] = float(inside.mean()), float((high - low).mean()), len(low) / repeats
    return result


def cases() -> Iterator[Case]:
    """Yield cases: balanced and rare labels, from poor to near-perfect agreement."""
    for yes, different in itertools.product((0.5, 0.2, 0.05), (0.2, 0.05, 0.02, 0.005)):
        if different < 2 * yes:
            yield Case(yes, min(0.05, yes / 2), different)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--labels", type=int, default=1)
    parser.add_argument("--rho", type=float, default=0.0)
    parser.add_argument("--n", default="30,128,1000")
    arguments = parser.parse_args()
    print("n yes different |", " ".join(MEASURES))
    for n in map(int, arguments.n.split(",")):
        for case in cases():
            case = Case(case.yes, case.wrong, case.different, arguments.rho)
            found = coverage(case, n, repeats=arguments.repeats, n_labels=arguments.labels)
            numbers = "  ".join(
                f"{x:.3f}" + (f" ({there:.2f})" if there < 1 else "")
                for x, _, there in found.values()
            )
            print(f"{n:5d} {case.yes:.2f} {case.different:.3f} | {numbers}", flush=True)


if __name__ == "__main__":
    main()
