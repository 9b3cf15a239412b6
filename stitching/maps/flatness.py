"""Penalties that the score does not determine: other ones score the same with another map."""

from typing import NamedTuple

import torch
from torch import Tensor

from stitching.maps.selection import Problem

#: Two maps differ where their held-out predictions do, by more than this multiple of the tolerance
#: as a share of the held-out error. Along a straight path of maps a score that is a share t above
#: its minimum belongs to a map that differs by t. Of 16 pairs of the packaged models, pixels and
#: noise at 150 to 1,600 fit images, 78 differ by at most 1.8 times a tolerance of 2 %, and the two
#: with broken curves by 7.5 and 9.
_STRAIGHT = 2.5

#: Held-out predictions that differ by less, as a share of the target's variance, are equal: this
#: is the rounding of float32 latents.
_LEAST_CHANGE = 1e-9


class OtherPenalty(NamedTuple):
    """A penalty that scores nearly as well as the best, with another map.

    Attributes:
        alpha: The penalty.
        gap: How much higher its score is, as a share of the lowest.
        change: How much its map differs, see `held_out_change`.
    """

    alpha: float
    gap: float
    change: float


def other_penalty(
    problem: Problem, alphas: Tensor, scores: Tensor, best: int, tolerance: float
) -> OtherPenalty | None:
    """Return the penalty that might as well have been chosen, None if there is none.

    This is the lowest of the other minima of the score that lie within the tolerance and have
    another map. Without such a minimum it is the penalty within the tolerance whose map differs
    most, if that is another map: an end of a plateau.

    Args:
        problem: Target and source.
        alphas: Penalties tried, ascending, shape (A,).
        scores: Of the penalties, shape (A,).
        best: Place of the chosen one.
        tolerance: Scores count as equal up to this share of the lowest, > 0.

    Example:
        >>> other = other_penalty(problem, alphas, scores, int(scores.argmin()), tolerance=0.02)
        >>> other and (other.alpha, other.gap, other.change)
    """
    change, moved = held_out_change(problem, alphas, alphas[[best]])
    differs = (change > _STRAIGHT * tolerance) & (moved > _LEAST_CHANGE)
    near = (scores <= (1 + tolerance) * scores[best]) & differs
    if not bool(near.any()):
        return None
    wall = scores.new_full((1,), torch.inf)
    minimum = (scores <= torch.cat([wall, scores[:-1]])) & (scores < torch.cat([scores[1:], wall]))
    # Among what is within the tolerance the lowest minimum, else the most different map.
    lowest = torch.where(near & minimum, scores, torch.inf)
    found = int(lowest.argmin()) if bool((near & minimum).any()) else -1
    if found < 0:
        found = int(torch.where(near, change, -1.0).argmax())
    gap = float(scores[found] / scores[best] - 1)
    return OtherPenalty(float(alphas[found]), gap, float(change[found]))


def held_out_change(problem: Problem, alphas: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Return how much predictions of held-out items differ between penalties.

    Generalised cross-validation takes the residual of an item, predicted from all others, as its
    training residual over the mean of 1 - leverage. Residuals of two penalties differ as their
    predictions do. In the singular basis of the source this is a difference of filters:

        sum_k (g_k(a) - g_k(b))^2 e_k,   g_k(a) = a / (s_k^2 + a) / (1 - (dof(a) + 1) / N)

    with e_k the target's sum of squares along direction k, and outside all of them with s = 0.
    Training residuals alone would not do: maps that pass near all training items agree there,
    whatever they predict elsewhere.

    Args:
        problem: Target and source.
        alphas: Penalties, shape (A,).
        alpha: The penalty to compare with, shape (1,).

    Returns:
        Mean squared differences as a share of the held-out squared error at `alpha`, and as a
        share of the target's variance, each of shape (A,), float64; 0 for a constant target.
    """
    basis = problem.basis
    energy, outside = problem.pooled

    def residuals(of: Tensor) -> tuple[Tensor, Tensor]:
        left = basis.residual_filter(of)
        spare = (left.sum(0) + basis.residual_rank) / basis.n_train
        return left / spare, 1 / spare

    (inside, rest), (inside_0, rest_0) = residuals(alphas), residuals(alpha)
    moved = (inside - inside_0).square().T @ energy + (rest - rest_0).square() * outside
    error = inside_0[:, 0].square() @ energy + rest_0.square() * outside
    total = problem.total.sum()

    def share(of: Tensor) -> Tensor:
        return torch.where(of > 0, moved / of, 0.0)

    return share(error), share(total)
