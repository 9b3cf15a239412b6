"""Choice of a penalty by a judge of mapped latents, such as one that decodes them to images."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stitching.maps.factorisation import fold_masks
from stitching.maps.matrix import working_dtype
from stitching.maps.selection import Problem

#: Most items that are held out, and the largest share of them.
_HELD_OUT, _SHARE = 128, 5

#: Penalties that are tried.
_TRIED = 12

#: They are spread over the range where generalised cross-validation is at most this multiple of
#: its lowest score: elsewhere images are not better either, and decoding is dear.
_PLAUSIBLE = 2.0


@dataclass(frozen=True, eq=False)
class Judge:
    """Errors of mapped latents of held-out items, by other means than these latents.

    Attributes:
        errors: Takes mapped latents of shape (h, D_t), of the items `held_out` is true for, in
            their order; returns a squared error for each, shape (h,). It must not depend on
            anything else.
    """

    errors: Callable[[Tensor], Tensor]


def held_out(n: int) -> Tensor:
    """Return which of n training items are held out: every k-th from the first, (n,) bool.

    They are a fifth of the items, but at most 128.
    """
    return ~fold_masks(n, _distance(n))[0]


def _distance(n: int) -> int:
    return max(_SHARE, math.ceil(n / _HELD_OUT))


def candidates(scores: Tensor) -> Tensor:
    """Return the places of at most 13 penalties to try, ascending.

    These are 12 at even distances over the range in which scores are at most twice the lowest,
    both ends of it included, and the one with the lowest.

    Args:
        scores: Cheap scores of a grid of penalties, shape (A,).
    """
    near = (scores <= _PLAUSIBLE * scores.min()).nonzero()[:, 0]
    low, high = int(near[0]), int(near[-1])
    steps = torch.linspace(low, high, min(_TRIED, high - low + 1), dtype=torch.float64)
    places = torch.cat([steps.round().long().to(near), scores.argmin()[None]])
    found: Tensor = places.sort().values.unique_consecutive()
    return found


def judged_scores(problem: Problem, alphas: Tensor, judge: Judge) -> Tensor:
    """Score penalties by the judge's mean error on items `held_out` of the fit, shape (A,).

    The penalties are the same for the remaining items as for all, as in cross-validation by folds.

    Raises:
        ValueError: Fewer than 2 items remain, or no penalty has a finite error.
    """
    source, target = problem.source, problem.target
    assert isinstance(source, Tensor)  # not streamed
    assert isinstance(target, Tensor)
    out = held_out(source.shape[0])
    if int((~out).sum()) < 2:
        raise ValueError(
            f"map.selection=images leaves fewer than 2 of {len(out)} items to fit on: use "
            "map.selection=gcv or more items"
        )
    fold = problem.basis.fold(source, _distance(len(out)), 0)
    out = out.to(source.device)
    inner = Problem.of(fold, source[~out], target[~out])
    coordinates = fold.coordinates(source[out], source[~out] if fold.dual else None)
    rotated, like = inner.rotated.double(), target.new_empty(0, dtype=working_dtype(target))
    found = []
    for shrink in fold.shrinkage(alphas).T:
        mapped = (coordinates @ (shrink[:, None] * rotated) + inner.mean).to(like)
        found.append(judge.errors(mapped).double().mean())
    scored = torch.stack(found).to(alphas).nan_to_num(nan=torch.inf, posinf=torch.inf)
    if not bool(scored.isfinite().any()):
        raise ValueError(
            "map.selection=images: at every penalty some held-out images are not finite: use "
            "map.selection=gcv, or look at the decoder"
        )
    return scored
