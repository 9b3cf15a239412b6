"""The claim on how alike latent spaces are: C8."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stitching.claims.base import (
    CANNOT_TELL,
    NOT_SUPPORTED,
    SUPPORTED,
    Answer,
    Number,
    Region,
    exact,
    judge,
)
from stitching.claims.claim import Claim
from stitching.claims.evidence import Evidence, NotRun
from stitching.claims.samples import FILE, read_samples
from stitching.records.program import command_line
from stitching.results.commands import python
from stitching.results.differences import Numbers, Quantity, combine, mean
from stitching.results.grid import Pair

#: Fewest models: of four, 8 % of their orders always do as well as the best (two of 4!).
MIN_MODELS = 5

#: Largest probability, with models put to expressiveness at random, of a correlation as high.
LEVEL = 0.05

#: All orders of up to so many models are tried; of more, so many random ones.
_MAX_ORDERED, _RANDOM_ORDERS = 7, 5000


class C8(Claim):
    """Expressive models are more alike."""

    id = "C8"
    about = "a grid of trained models with geometry/cka"
    text = "Expressive models are more alike than weak ones, those of similar architecture most."
    rule = (
        "Over unordered pairs of trained models, the rank correlation (Spearman) of likeness and "
        "expressiveness must be above 0. Expressiveness of a pair: the distance of samples of the "
        f"worse of the two to real images, negated (`{FILE}` in the folder); not its "
        "reconstructions, which a flow has perfect whatever it has learnt. Likeness: linear CKA. "
        "Resamples of test images do not cover other models, and pairs share models, so the "
        "correlation must also be higher than with models put in another order, of which at most "
        f"{LEVEL:.0%} may do as well; for the opposite, at most {LEVEL:.0%} as badly. At "
        f"least {MIN_MODELS} models that draw samples; two trainings of one model are one."
    )

    def applies(self, evidence: Evidence) -> bool:
        """Whether the spaces of trained models were compared."""
        return any(cell.number("geometry/cka") is not None for cell in evidence.cells)

    def commands(self, options: Sequence[str]) -> list[str]:
        """Return the command lines of a grid and of its samples."""
        return [
            command_line("run", "experiment=grid-gan"),
            python("tests/benchmarks/samples.py", "DIR"),
        ]

    def answer(self, evidence: Evidence) -> Answer:
        """Judge the correlation, over test images and over models."""
        measure, samples = read_samples(evidence.grid.folder)
        quality = {
            name: samples[weights]
            for name in evidence.trained
            if (weights := evidence.models[name].weights or "") in samples
        }
        models = {evidence.models[name].recipe for name in quality}
        if not quality:
            raise NotRun(
                f"needs the quality of samples of each model ({FILE} in the folder of the sweep)"
            )
        likeness = {
            pair: found
            for pair in itertools.combinations(quality, 2)
            if not evidence.one_model(*pair)
            and (found := _likeness(evidence, pair)).value is not None
        }
        facts = [exact(f"samples, {measure}, {name}", x) for name, x in quality.items()]
        facts += [Number(f"CKA, {' and '.join(pair)}", found) for pair, found in likeness.items()]
        notes = [
            "not tested: whether similar architectures are most alike (cells do not record them)",
            "the interval is of test images; that of the samples is not part of it",
        ]
        if len(models) < MIN_MODELS:
            reason = (
                f"needs {MIN_MODELS} models that draw samples, here are {len(models)} with a "
                f"number in {FILE} ({', '.join(quality)})"
            )
            run = self.commands(())
            return Answer(CANNOT_TELL, reason, (), facts, notes, run)
        names = [name for name in quality if any(name in pair for pair in likeness)]
        places = np.array([[names.index(name) for name in pair] for pair in likeness])
        k = len(names)

        def correlation(x: Numbers) -> Numbers:
            return _spearman(-x[:k][places].max(axis=1), x[k:])

        own = [Quantity(quality[name], exact=True) for name in names]
        parts = [*own, *likeness.values()]
        decisive = [
            Number(f"rank correlation of {len(likeness)} pairs", combine(correlation, parts))
        ]
        as_well, as_badly = _chance([part.value or 0.0 for part in parts], places, k)
        facts = [
            exact(f"share of orders of the {k} models that do as well", as_well),
            exact(f"share of orders of the {k} models that do as badly", as_badly),
            *facts,
        ]
        verdict = judge(decisive, Region(low=0))
        tails = {SUPPORTED: (as_well, "as well"), NOT_SUPPORTED: (as_badly, "as badly")}
        chance, how = tails.get(verdict.verdict, (0.0, ""))
        lacking = evidence.lacking(evidence.pairs())
        if chance > LEVEL:
            reason = f"{decisive[0]}, but {chance:.0%} of the orders of the models do {how}"
            return Answer(CANNOT_TELL, reason, decisive, facts, notes, lacking=lacking)
        return Answer(*verdict, decisive, facts, notes, lacking=lacking)


def _likeness(evidence: Evidence, pair: Pair) -> Quantity:
    """Return CKA, which does not depend on the direction: the mean of those measured."""
    cells = [evidence.cell(*pair), evidence.cell(*reversed(pair))]
    found = [cell.quantity("geometry/cka") for cell in cells if cell is not None]
    return mean([x for x in found if x.value is not None])


def _spearman(a: Numbers, b: Numbers) -> Numbers:
    """Return the rank correlation along the first axis; NaN where one side is constant."""
    from scipy.stats import rankdata

    x, y = (rankdata(side, axis=0) for side in (a, b))
    x, y = x - x.mean(0), y - y.mean(0)
    norm = np.sqrt((x**2).sum(0) * (y**2).sum(0))
    result = np.full(norm.shape, np.nan)
    np.divide((x * y).sum(0), norm, out=result, where=norm > 0)
    return result


def _chance(values: list[float], places: NDArray[np.int64], k: int) -> tuple[float, float]:
    """Return shares of orders of models: with as high a correlation, and with as low a one.

    The order of expressiveness among models is exchanged, while pairs keep their likeness: pairs
    that share a model stay together, which an exchange among pairs would not respect.
    """
    own, likeness = np.array(values[:k]), np.array(values[k:])
    if k <= _MAX_ORDERED:
        orders = np.array(list(itertools.permutations(range(k))))
    else:
        generator = np.random.Generator(np.random.PCG64(k))
        drawn = [generator.permutation(k) for _ in range(_RANDOM_ORDERS)]
        orders = np.array([np.arange(k), *drawn])
    worse = -own[orders][:, places].max(axis=2).T  # (orders, pairs, 2) -> (pairs, orders)
    found = _spearman(worse, np.broadcast_to(likeness[:, None], worse.shape))
    tolerance = 1e-9  # of the same correlation, summed in another order
    high = float((found >= found[0] - tolerance).mean())
    low = float((found <= found[0] + tolerance).mean())
    return high, low
