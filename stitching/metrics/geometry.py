"""Similarity of two latent spaces before any map, on the same items."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stitching.compute.threads import one_thread_each
from stitching.metrics.base import require_finite
from stitching.metrics.resampling import Resamples, Scores, undefined
from stitching.metrics.similarity import (
    CKA,
    MIN_ITEMS,
    CanonicalCorrelation,
    NeighbourOverlap,
    Procrustes,
    Similarity,
    Space,
)

#: Neighbours of an item, where it has ten times as many others.
MAX_NEIGHBOURS = 10

#: Principal components of each space, where there are ten times as many items.
MAX_COMPONENTS = 50

#: With more items the Procrustes distance, whose permutations cost n^3 each, gets only
#: `_FEW_PERMUTATIONS`: the fewest that reach p = 0.05. Its null narrows as n grows.
_MANY_ITEMS = 300
_FEW_PERMUTATIONS = 19

#: A permutation this close to the value equals it: singular values carry rounding.
_ROUNDING = 1e-6

#: Percentile of a null that similar spaces pass, for a distance.
_TAIL = 5.0


def geometry_scores(
    z_a: Tensor,
    z_b: Tensor,
    resamples: Resamples,
    n_permutations: int = 100,
    seed: int = 0,
) -> Scores:
    """Compare two models' own latents of the test items; symmetric in the two.

    - ``geometry/cka``: `similarity.CKA`, debiased, so it can be negative.
    - ``geometry/knn``: `similarity.NeighbourOverlap` with ``geometry/knn_k`` neighbours: n // 10,
      at least 1, at most 10.
    - ``geometry/cca``: `similarity.CanonicalCorrelation` of ``geometry/cca_components``
      components: n // 10, at least 1, at most 50 and the smaller rank. Unrelated spaces
      then reach less than 0.3 on average (n >= 20).
    - ``geometry/procrustes``: `similarity.Procrustes`, a distance.

    What a value means depends on n and the widths, so each has its null beside it: the same
    measure with the pairs shuffled, where the spaces have nothing to do with each other. ``.null``
    is its mean, ``.null_high`` its 95th percentile (``.null_low``, the 5th, for the distance), and
    ``.p`` the p-value (1 + permutations at least as similar) / (1 + permutations), whose floor is
    1 / (1 + permutations). ``geometry/n_permutations`` is their number, and
    ``geometry/procrustes_permutations`` that of the distance: 19 at most beyond 300 items.

    Cost: n^3, and the widths times n^2. At 1,000 items and 12,288 dimensions some seconds.

    Args:
        z_a: Shape (n, D_a), latents of one model.
        z_b: Shape (n, D_b), of the other, row i from the same image as row i of `z_a`.
        resamples: Of the n items.
        n_permutations: Shuffles for the nulls; 0 for none.
        seed: Of the shuffles.

    Returns:
        The scores. With fewer than 4 items, or where all latents of a model are equal, the four
        measures are None with the reason in ``KEY_missing``.

    Raises:
        ValueError: Not two matrices of n rows, as many as resampled, or n_permutations < 0, or a
            value is not finite (the rows are named).
    """
    _check(z_a, z_b, resamples, n_permutations)
    n = len(z_a)
    scores: Scores = {"geometry/n": n}
    if n < MIN_ITEMS:
        return scores | _missing(f"{n} items are compared, at least {MIN_ITEMS} are needed")
    with one_thread_each() as pool:
        spaces = list(pool.map(Space.of, (z_a, z_b)))
        for name, space in zip(("first", "second"), spaces, strict=True):
            if space.scale == 0:
                why = f"the {name} model's latents of the {n} items are all equal"
                return scores | _missing(why)
        # In a fixed order, so that the nulls too are the same for (a, b) and (b, a).
        a, b = sorted(spaces, key=lambda space: (space.width, space.scale))
        k = min(MAX_NEIGHBOURS, max(1, n // 10))
        components = min(MAX_COMPONENTS, max(1, n // 10), a.rank, b.rank)
        measures: dict[str, Similarity] = {
            "geometry/cka": CKA(a, b),
            "geometry/knn": NeighbourOverlap(a, b, k),
            "geometry/cca": CanonicalCorrelation(a, b, components),
            "geometry/procrustes": Procrustes(a, b),
        }
        shuffles = _shuffles(n, n_permutations, seed)
        few = shuffles[:_FEW_PERMUTATIONS] if n > _MANY_ITEMS else shuffles
        scores |= {
            "geometry/knn_k": k,
            "geometry/cca_components": components,
            "geometry/n_permutations": len(shuffles),
            "geometry/procrustes_permutations": len(few),
        }
        estimates = pool.map(lambda measure: measure.estimate(resamples), measures.values())
        for (key, measure), estimate in zip(measures.items(), estimates, strict=True):
            if estimate.value is None:
                scores |= {key: None, f"{key}_missing": measure.undefined}
                continue
            scores[key] = estimate
            orders = few if key == "geometry/procrustes" else shuffles
            if orders:
                null = np.array(list(pool.map(measure.permuted, orders)))
                scores |= _against(key, estimate.value, null, measure.lower_is_closer)
    return scores


def _against(
    key: str, value: float, null: NDArray[np.float64], lower_is_closer: bool
) -> dict[str, float]:
    """Return what a measure is when the spaces are unrelated, and how far its value is off."""
    if lower_is_closer:
        name, tail, n_closer = "null_low", _TAIL, int((null <= value + _ROUNDING).sum())
    else:
        name, tail, n_closer = "null_high", 100 - _TAIL, int((null >= value - _ROUNDING).sum())
    return {
        f"{key}.null": float(null.mean()),
        f"{key}.{name}": float(np.percentile(null, tail)),
        f"{key}.p": (1 + n_closer) / (1 + len(null)),
    }


def _shuffles(n: int, count: int, seed: int) -> list[NDArray[np.int64]]:
    generator = np.random.Generator(np.random.PCG64([seed, n]))
    return [generator.permutation(n) for _ in range(count)]


def _missing(why: str) -> Scores:
    result: Scores = {}
    for key in ("geometry/cka", "geometry/knn", "geometry/cca", "geometry/procrustes"):
        result |= undefined(key, why)
    return result


def _check(z_a: Tensor, z_b: Tensor, resamples: Resamples, n_permutations: int) -> None:
    n = resamples.n_items
    if z_a.ndim != 2 or z_b.ndim != 2 or len(z_a) != n or len(z_b) != n:
        raise ValueError(
            f"geometry needs latents (n, D) of the {n} resampled items from both models, got "
            f"shapes {tuple(z_a.shape)} and {tuple(z_b.shape)}: encode one split with both"
        )
    if n_permutations < 0:
        raise ValueError(f"n_permutations must be >= 0, got {n_permutations}")
    require_finite(z_a, "the first model's latents")
    require_finite(z_b, "the second model's latents")
