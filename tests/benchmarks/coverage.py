"""How often 95 % intervals contain the truth, in simulations where it is known.

    python tests/benchmarks/coverage.py [--n 30 128 1000] [--sims 1000] [--only NAME ...]
        [--out coverage.json]

Each simulation draws test items (and, where the name says so, fit items) again and again, computes
a measure with its interval by the project's code, and counts the intervals that contain the truth.
The truth is in closed form, or the value of a million items, or where a distance is meant at its
number of images its mean over the simulations. Dear measures get a share of `--sims`.
"""

import argparse
import json
import time
import warnings

import numpy as np
import torch

from stitching.maps import Ridge
from stitching.metrics.attributes import AttributePredictions, probe_scores
from stitching.metrics.base import FeatureSpace
from stitching.metrics.factors import FactorPredictions, factor_scores
from stitching.metrics.frechet import FrechetDistance, SmallSampleWarning
from stitching.metrics.geometry import geometry_scores
from stitching.metrics.jackknife import groups_of, noise, vary
from stitching.metrics.kernel import KernelDistance
from stitching.metrics.latent import latent_scores
from stitching.metrics.resampling import Estimate, Resamples
from stitching.metrics.shifted import ShiftedScores

N_FIT, N_GROUPS = 200, 20
#: Nominal 95 % may be off by so much.
LOW, HIGH = 0.93, 0.97


class Given(FeatureSpace):
    """Features as they are given."""

    name = "given"
    identity = "given"

    def _extract(self, x):
        return x


def tensor(x):
    return torch.from_numpy(np.ascontiguousarray(x))


# --- Simulations: each returns (function of a generator -> estimates by name, truths by name).
# --- A truth of None is the mean of the values.


def latents(n, r2, widths):
    """Mapped latents whose population R2 is known, in dimensions of these widths."""
    rows = Resamples(n, 1000, 0)
    noise = (r2 * (1 - r2)) ** 0.5

    def draw(rng):
        z = rng.normal(size=(n, len(widths))) * widths
        mapped = r2 * z + noise * rng.normal(size=z.shape) * widths
        found = latent_scores(tensor(z + 3), tensor(mapped + 3), rows)
        return {key: found[f"latent/{key}"] for key in ("r2", "rmse", "nmse", "cosine")}

    rng = np.random.default_rng(99)
    z = rng.normal(size=(20_000, len(widths))) * widths
    mapped = r2 * z + noise * rng.normal(size=z.shape) * widths
    lengths = np.linalg.norm(z, axis=1) * np.linalg.norm(mapped, axis=1)
    rmse = ((1 - r2) * (widths**2).mean()) ** 0.5
    cosine = float(((z * mapped).sum(1) / lengths).mean())
    return draw, {"r2": r2, "rmse": rmse, "nmse": 1 - r2, "cosine": cosine}


def paired(n):
    """The difference of R2 of two maps on the same test items."""
    rows, widths = Resamples(n, 1000, 0), 1 / np.arange(1, 51)

    def draw(rng):
        z = rng.normal(size=(n, 50)) * widths
        shared = rng.normal(size=z.shape) * widths
        found = []
        for own in (0.5, 0.6):
            error = 0.3 * shared + own * rng.normal(size=z.shape) * widths
            found.append(latent_scores(tensor(z), tensor(z + error), rows)["latent/r2"])
        one, other = found
        return {"r2": Estimate(one.value - other.value, one.draws - other.draws)}

    return draw, {"r2": 0.6**2 - 0.5**2}


def ridge(n):
    """A ridge map of which fit items, penalty and test items are new each time."""
    rows, wide, narrow = Resamples(n, 1000, 0), 80, 20
    weight = np.random.default_rng(5).normal(size=(wide, narrow)) / wide**0.5
    scales = np.arange(1, wide + 1) ** -0.5
    groups = tensor(groups_of([str(i) for i in range(N_FIT)], N_GROUPS))
    sizes = dict(zip(*(x.tolist() for x in groups.unique(return_counts=True)), strict=True))
    spread = float((scales**2 @ weight**2).sum() + narrow * 0.04)
    truths = []

    def sample(rng, size):
        x = rng.normal(size=(size, wide)) * scales
        return tensor(x), tensor(x @ weight + 0.2 * rng.normal(size=(size, narrow)))

    def draw(rng):
        (x, y), (x_test, y_test) = sample(rng, N_FIT), sample(rng, n)
        fitted = Ridge().fit(x, y)
        gap = fitted.weight.T.numpy() - weight
        missed = float((scales**2 @ gap**2).sum() + (fitted.bias.numpy() ** 2).sum())
        truths.append(1 - (missed + narrow * 0.04) / spread)
        mapped = fitted.predict(x_test)
        alone = latent_scores(y_test, mapped, rows)["latent/r2"]
        shifted = ShiftedScores(y_test, mapped)
        changes = fitted.without_groups(x, y, x_test, groups)
        before = shifted.items(torch.zeros_like(mapped))["latent/mse"].numpy()
        items = {group: shifted.items(change) for group, change in changes}
        without = {group: shifted.of_items(rows)["latent/r2"] for group, rows in items.items()}
        errors = {group: rows["latent/mse"].numpy() for group, rows in items.items()}
        chance = noise(before, errors, sizes)
        return {"both": vary(alone, without, sizes, N_GROUPS, chance)[0], "test": alone}

    mean = lambda: float(np.mean(truths))  # noqa: E731
    return draw, {"both": mean, "test": mean}


def means(n):
    """Means of skewed scores per image, such as LPIPS, and a root of one, RMSE."""
    rows = Resamples(n, 1000, 0)

    def draw(rng):
        scores = tensor(rng.gamma(4, 0.05, n))
        root = rows.of_means(scores[:, None], lambda x: x[..., 0].sqrt())
        return {"mean": rows.mean(scores), "root": root}

    return draw, {"mean": 0.2, "root": 0.2**0.5}


def distances(n, dim):
    """Distances of two Gaussians of features, pairs of which belong together."""
    rows = Resamples(n, 0, 100)
    scales = np.arange(1, dim + 1) ** -0.5
    fd, kd = FrechetDistance(Given(), "fd"), KernelDistance(Given(), "kd")

    def draw(rng):
        x = rng.normal(size=(n, dim)) * scales
        y = 0.8 * x + (0.3 * rng.normal(size=x.shape) + 0.1) * scales
        x, y = tensor(x).float(), tensor(y).float()
        found = fd.compute(x, y, rows) | kd.compute(x, y, rows)
        keys = {"fd": "image/fd", "extrapolated": "image/fd_extrapolated", "kd": "image/kd"}
        return {name: found.get(key) for name, key in keys.items()}

    gap = (scales**2).sum() * ((1 - 0.73**0.5) ** 2 + 0.01)
    return draw, {"fd": None, "extrapolated": float(gap), "kd": None}


def alignment(n):
    """Linear CKA of two spaces that share some dimensions."""
    rows = Resamples(n, 0, 100)
    mix = np.random.default_rng(6).normal(size=(2, 30, 40)) / 30**0.5

    def draw(rng):
        shared = rng.normal(size=(n, 30))
        a, b = (tensor(shared @ m + 0.7 * rng.normal(size=(n, 40))) for m in mix)
        return {"cka": geometry_scores(a, b, rows, 0)["geometry/cka"]}

    cross, *own = (x.T @ y for x, y in ((mix[0], mix[1]), (mix[0], mix[0]), (mix[1], mix[1])))
    norms = [np.linalg.norm(m + 0.49 * np.eye(40)) for m in own]
    return draw, {"cka": float(np.linalg.norm(cross) ** 2 / norms[0] / norms[1])}


def probes(n, kept):
    """Predictions of a label from own and mapped latents; `kept` is their correlation."""
    rows = Resamples(n, 1000, 0)
    keys = ("accuracy_mapped", "consistency", "kappa", "auc_mapped")

    def sample(rng, size):
        own = rng.normal(size=size) + 0.5
        mapped = 0.5 + kept * (own - 0.5) + (1 - kept**2) ** 0.5 * rng.normal(size=size)
        return own + 0.5 * rng.normal(size=size) > 0, own, mapped

    def scores(items, resamples):
        found = probe_scores([AttributePredictions("a", *items, 1, 0, resamples=resamples)], {})
        return {key: found[f"probe/{key}"] for key in keys}

    big = scores(sample(np.random.default_rng(9), 1_000_000), None)
    truths = {key: estimate.value for key, estimate in big.items()}
    return lambda rng: scores(sample(rng, n), rows), truths


def factors(n):
    """R2 of a probe of a continuous factor."""
    rows = Resamples(n, 1000, 0)

    def draw(rng):
        truth = rng.normal(size=n)
        own = 0.8 * truth + 0.4 * rng.normal(size=n)
        found = factor_scores([FactorPredictions("hue", truth, own, own, resamples=rows)], {})
        return {"r2": found["factor/r2_mapped"]}

    return draw, {"r2": 1 - (0.2**2 + 0.4**2)}


DECAYING, FLAT = 1 / np.arange(1, 101), np.ones(100)

#: By name: simulation, share of `--sims`, least n, and words for each of its results.
SIMULATIONS = {
    "latents-0": (lambda n: latents(n, 0.0, DECAYING), 1, 0, {
        "r2": "`latent/r2` 0: a constant prediction", "nmse": "`latent/nmse` 1"}),
    "latents-0.5": (lambda n: latents(n, 0.5, DECAYING), 1, 0, {
        "r2": "`latent/r2` .5, widths decay", "rmse": "`latent/rmse`, widths decay",
        "nmse": "`latent/nmse`, widths decay", "cosine": "`latent/cosine`, widths decay"}),
    "latents-0.99": (lambda n: latents(n, 0.99, DECAYING), 1, 0, {
        "r2": "`latent/r2` .99, widths decay", "nmse": "`latent/nmse` .01, widths decay"}),
    "latents-flat": (lambda n: latents(n, 0.5, FLAT), 1, 0, {
        "r2": "`latent/r2` .5, equal widths", "rmse": "`latent/rmse`, equal widths",
        "nmse": "`latent/nmse`, equal widths", "cosine": "`latent/cosine`, equal widths"}),
    "paired": (paired, 1, 0, {"r2": "difference of two `latent/r2`"}),
    "ridge": (ridge, 1, 0, {
        "both": "`latent/r2` of a ridge map, fit images new too",
        "test": "the same without refits (`protocol.fit_groups=0`)"}),
    "means": (means, 1, 0, {"mean": "mean of skewed scores (LPIPS)", "root": "its root (RMSE)"}),
    "distances": (lambda n: distances(n, 64), 0.3, 0, {
        "kd": "kernel distance", "fd": "Fréchet distance, 64 features, at its n",
        "extrapolated": "Fréchet distance, extrapolated"}),
    "alignment": (alignment, 0.3, 0, {"cka": "`geometry/cka`"}),
    "probes-0.8": (lambda n: probes(n, 0.8), 1, 0, {
        "accuracy_mapped": "probe accuracy .78", "consistency": "consistency .82",
        "kappa": "kappa .58", "auc_mapped": "AUC .84"}),
    "probes-0.9998": (lambda n: probes(n, 0.9998), 1, 0, {
        "consistency": "consistency .994", "kappa": "kappa .99"}),
    "factors": (factors, 1, 0, {"r2": "`factor/r2_mapped` .8"}),
}  # fmt: skip


def covered(make, n, sims, seed=0):
    """Return coverage, misses below and above, and the number of intervals, by result."""
    draw, truths = make(n)
    found = {name: [] for name in truths}
    for number in range(sims):
        for name, estimate in draw(np.random.default_rng([seed, n, number])).items():
            if isinstance(estimate, Estimate) and estimate.interval[0] is not None:
                found[name].append((estimate.value, *estimate.interval))
    result = {}
    for name, rows in found.items():
        if len(rows) < 0.9 * sims:
            continue
        values, low, high = np.array(rows).T
        truth = truths[name]
        truth = values.mean() if truth is None else truth() if callable(truth) else truth
        result[name] = {
            "coverage": float(((low <= truth) & (truth <= high)).mean()),
            "above": float((truth < low).mean()),
            "below": float((truth > high).mean()),
            "sims": len(rows),
            "bias": float((values.mean() - truth) / max(values.std(), 1e-300)),
            "truth": float(truth),
        }
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, nargs="+", default=[30, 128, 1000])
    parser.add_argument("--sims", type=int, default=1000)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--out")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    warnings.simplefilter("ignore", SmallSampleWarning)
    rows = []
    for name, (make, share, _, words) in SIMULATIONS.items():
        if asked.only and name not in asked.only:
            continue
        by_n = {}
        for n in asked.n:
            started = time.perf_counter()
            sims = max(100, round(asked.sims * share * (0.3 if n >= 1000 else 1)))
            by_n[n] = covered(make, n, sims)
            print(name, n, f"{time.perf_counter() - started:.0f} s", flush=True)
            for key, one in by_n[n].items():
                text = ", ".join(f"{k} {v:.3f}" for k, v in one.items())
                print(f"    {key}: {text}", flush=True)
        for key, text in words.items():
            found = {str(n): part[key] for n, part in by_n.items() if key in part}
            rows.append({"simulation": name, "key": key, "words": text, "n": found})
        if asked.out:  # after each, for a run takes long
            with open(asked.out, "w") as file:
                json.dump({"n": asked.n, "n_fit": N_FIT, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
