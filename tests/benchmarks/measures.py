"""What intervals cost: 1,000 test images of 64 x 64, latents of 12,288, ten attributes.

    python tests/benchmarks/measures.py [--n 1000] [--rounds 3] [--out measures.json]

Times every measure with and without resampling, features computed beforehand; medians of rounds.
Numbers are drawn: times do not depend on them.
"""

import argparse
import json
import statistics
import time
import warnings

import numpy as np
import torch

from stitching.metrics.attributes import AttributePredictions, probe_scores
from stitching.metrics.base import FeatureSpace
from stitching.metrics.frechet import FrechetDistance
from stitching.metrics.geometry import geometry_scores
from stitching.metrics.kernel import KernelDistance
from stitching.metrics.latent import latent_scores
from stitching.metrics.lpips import LPIPS
from stitching.metrics.neighbours import PrecisionRecall
from stitching.metrics.pixel import PSNR, RMSE
from stitching.metrics.resampling import Resamples
from stitching.metrics.ssim import SSIM

#: Groups of the limits that issue 5 sets: means over items, and measures of sets.
PER_ITEM, SETS, SPACES = "per item", "sets of images", "spaces"


class Given(FeatureSpace):
    """Features as they are given."""

    name = "given"
    identity = "given"

    def _extract(self, x):
        return x


def tasks(n):
    """Return (group, name, function of resamples) for every measure."""
    generator = torch.Generator().manual_seed(0)
    rng = np.random.default_rng(0)

    def noise(*shape):
        return torch.randn(*shape, generator=generator)

    true = noise(n, 12288)
    mapped = true + noise(n, 12288)
    other = noise(n, 512)
    x = torch.randint(0, 256, (n, 3, 64, 64), dtype=torch.uint8, generator=generator)
    y = (x.float() + 20 * noise(*x.shape)).clamp(0, 255).to(torch.uint8)
    yield PER_ITEM, "latents", lambda r: latent_scores(true, mapped, r)
    for metric in (RMSE(), PSNR(), SSIM(), LPIPS("alex", None)):
        a, b = metric.space.features(x), metric.space.features(y)
        yield PER_ITEM, metric.name, lambda r, m=metric, a=a, b=b: m.compute(a, b, r)

    def probes(resamples):
        predictions = []
        for k in range(10):
            truth = rng.random(n) < 0.3
            scores = [truth + rng.normal(size=n) - 0.5 for _ in range(4)]
            predictions.append(
                AttributePredictions(
                    f"a{k}", truth, scores[0], scores[1], 300, 700,
                    control=(truth, scores[2], scores[3]), resamples=resamples,
                )
            )  # fmt: skip
        return probe_scores(predictions, {})

    yield PER_ITEM, "probes, 10 attributes", probes
    for d in (64, 1280, 2048):
        a = noise(n, d)
        b = a + noise(n, d)
        for kind in (FrechetDistance, KernelDistance):
            metric = kind(Given(), f"{kind.__name__}, {d}")
            yield SETS, metric.name, lambda r, m=metric, a=a, b=b: m.compute(a, b, r)
    metric = PrecisionRecall(Given(), 3)
    yield SETS, "precision and recall, 2048", lambda r: metric.compute(a, b, r)
    yield SPACES, "geometry, 512 to 12,288", lambda r: geometry_scores(other, true, r)


def median_s(function, rounds):
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", default=None)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    rows, plain = [], Resamples(args.n, 0, 0)
    for group, name, function in tasks(args.n):
        resamples = Resamples(args.n)
        _ = resamples.counts, resamples.halves
        both = [median_s(lambda r=r, f=function: f(r), args.rounds) for r in (resamples, plain)]
        rows.append(
            {"group": group, "measure": name, "s": both[0], "without_intervals_s": both[1]}
        )
        print(f"{group:15s} {name:28s} {both[0]:7.2f} s, without intervals {both[1]:7.2f} s")
    for group in (PER_ITEM, SETS, SPACES):
        parts = [row for row in rows if row["group"] == group]
        total, without = (sum(row[k] for row in parts) for k in ("s", "without_intervals_s"))
        print(f"{group}: {total:.2f} s a cell, of which intervals {total - without:.2f} s")
    if args.out:
        with open(args.out, "w") as file:
            json.dump({"n": args.n, "rounds": args.rounds, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
