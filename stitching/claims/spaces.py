"""The claim on how alike latent spaces are: C8."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stitching.claims import base
from stitching.claims.base import Answer, Claim, Number, Region, judge
from stitching.claims.evidence import Evidence, NotRun
from stitching.results.commands import python
from stitching.results.differences import Numbers, Quantity, combine, mean
from stitching.results.grid import Pair

#: Fewest pairs of models that a rank correlation is taken of.
MIN_PAIRS = 6

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
        "expressiveness must be above 0. Expressiveness of a pair: LPIPS of the own "
        "reconstructions of the worse of the two, negated; likeness: linear CKA. Resamples of "
        "test images do not cover other models, and pairs share models, so the correlation must "
        "also be higher than with models put in another order, of which at most "
        f"{LEVEL:.0%} may do as well; for the opposite, at most {LEVEL:.0%} as badly. At "
        f"least {MIN_PAIRS} pairs."
    )

    def applies(self, evidence: Evidence) -> bool:
        """Whether the spaces of trained models were compared."""
        return any(cell.number("geometry/cka") is not None for cell in evidence.cells)

    def commands(self, options: Sequence[str]) -> list[str]:
        """Return the command line of a grid with five models."""
        return [python("launch.py", "experiment=grid-gan")]

    def answer(self, evidence: Evidence) -> Answer:
        """Judge the correlation, over test images and over models."""
        own = {
            name: cell.quantity("image/lpips")
            for name in evidence.trained
            if (cell := evidence.cell(name, name)) and cell.number("image/lpips") is not None
        }
        likeness = {
            pair: found
            for pair in itertools.combinations(own, 2)
            if (found := _likeness(evidence, pair)).value is not None
        }
        if len(likeness) < MIN_PAIRS:
            raise NotRun(
                f"needs at least {MIN_PAIRS} pairs of trained models with geometry/cka and own "
                f"reconstructions, found {len(likeness)}"
            )
        names = [name for name in own if any(name in pair for pair in likeness)]
        places = np.array([[names.index(name) for name in pair] for pair in likeness])
        k = len(names)

        def correlation(x: Numbers) -> Numbers:
            return _spearman(-x[:k][places].max(axis=1), x[k:])

        parts = [*(own[name] for name in names), *likeness.values()]
        decisive = [
            Number(f"rank correlation of {len(likeness)} pairs", combine(correlation, parts))
        ]
        as_well, as_badly, least = _chance([part.value or 0.0 for part in parts], places, k)
        facts = [
            Number(f"share of orders of the {k} models that do as well", _exact(as_well)),
            Number(f"share of orders of the {k} models that do as badly", _exact(as_badly)),
            *(Number(f"own LPIPS, {name}", own[name]) for name in names),
            *(Number(f"CKA, {' and '.join(pair)}", found) for pair, found in likeness.items()),
        ]
        notes = [
            "not tested: whether similar architectures are most alike (cells do not record them)"
        ]
        verdict = judge(decisive, Region(low=0))
        tails = {base.SUPPORTED: (as_well, "as well"), base.NOT_SUPPORTED: (as_badly, "as badly")}
        chance, how = tails.get(verdict.verdict, (0.0, ""))
        if chance > LEVEL:
            reason = f"{decisive[0]}, but {chance:.0%} of the orders of the models do {how}"
            if least > LEVEL:
                reason += f"; of {k} models at least {least:.0%} always do: add models"
            return Answer(base.NOT_RESOLVED, reason, decisive, facts, notes)
        return Answer(*verdict, decisive, facts, notes)


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


def _chance(values: list[float], places: NDArray[np.int64], k: int) -> tuple[float, float, float]:
    """Return shares of orders of models: as high a correlation, as low, and the fewest possible.

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
    # The worse of two does not depend on which of the two best models is the better one.
    return high, low, 2 / math.factorial(k)


def _exact(value: float) -> Quantity:
    return Quantity(value, exact=True)
