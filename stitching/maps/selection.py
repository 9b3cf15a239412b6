"""Scores of penalties: generalised, leave-one-out and k-fold cross-validation.

All estimate the squared error per element on a new item, from training items alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from stitching.maps.factorisation import Factorisation, fold_masks
from stitching.maps.matrix import (
    Rows,
    blocks,
    centred,
    column_mean,
    column_moments,
    lines,
    working_dtype,
)
from stitching.maps.scaling import EPS

Selection = Literal["gcv", "loo", "kfold", "images"]
SELECTIONS: tuple[Selection, ...] = ("gcv", "loo", "kfold", "images")


@dataclass(frozen=True)
class Problem:
    """A target and the factorised source.

    Attributes:
        basis: Factorisation of the source.
        source: Shape (N, D_s).
        target: Shape (N, D_t).
        mean: Column means of the target, float64.
        rotated: Of `Factorisation.rotate`, shape (K, D_t).
        total: Sum of squares of each centred target column, shape (D_t,), float64.
    """

    basis: Factorisation
    source: Rows
    target: Rows
    mean: Tensor
    rotated: Tensor
    total: Tensor

    @classmethod
    def of(cls, basis: Factorisation, source: Rows, target: Rows) -> "Problem":
        """Rotate a target, the step whose cost grows with its width times N^2."""
        mean, total = column_moments(target, basis.chunk)
        return cls(basis, source, target, mean, basis.rotate(source, target, mean), total)

    def energies(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield target columns, their squares (K, T) along directions and (T,) outside them."""
        root = self.basis.inverse_root()  # V' S' T to U' T
        for cols in blocks(self.total.shape[0], lines(root.shape[0])):
            energy = (self.rotated[:, cols] * root[:, None]).square()
            yield cols, energy, self.basis.outside(energy.sum(0), self.total[cols])

    @cached_property
    def pooled(self) -> tuple[Tensor, float]:
        """Squares along each direction, shape (K,), and outside them, summed over targets."""
        energy, outside = torch.zeros_like(self.basis.eigenvalues), 0.0
        for _, part, rest in self.energies():
            energy += part.sum(1)
            outside += float(rest.sum())
        return energy, outside


def scores(
    problem: Problem, alphas: Tensor, selection: Selection, n_folds: int, *, pooled: bool
) -> Tensor:
    """Score penalties (A,) per element: shape (A, 1) over all targets, or (A, D_t) for each.

    Raises:
        ValueError: Fewer items than folds need.
    """
    assert selection != "images", "see stitching.maps.judging"
    if selection == "loo":
        return _leave_one_out_scores(problem, alphas, pooled=pooled)
    if selection == "kfold":
        return _fold_scores(problem, alphas, n_folds, pooled=pooled)
    return gcv_scores(problem, alphas, pooled=pooled)


def gcv_scores(problem: Problem, alphas: Tensor, *, pooled: bool) -> Tensor:
    """Return (RSS / N) / (1 - (dof + 1) / N)^2, where dof + 1 counts the intercept.

    RSS and N - 1 - dof are summed from their positive parts, so nothing cancels when N - 1 - dof
    goes to 0. All penalties cost one pass over the rotated target.

    Source: Golub, Heath and Wahba (1979), doi:10.1080/00401706.1979.10489751
    """
    basis = problem.basis
    left = basis.residual_filter(alphas)
    squared, spare = left.square().T, left.sum(0) + basis.residual_rank
    if pooled:
        energy, outside = problem.pooled
        rss = (squared @ energy + outside)[:, None] / problem.total.shape[0]
    else:
        rss = torch.cat([squared @ e + outside for _, e, outside in problem.energies()], 1)
    return basis.n_train * rss / spare.square()[:, None]


def leave_one_out(basis: Factorisation, source: Rows, target: Tensor, alpha: Tensor) -> Tensor:
    """Predict each training item by the ridge map fitted on all the others, in closed form.

    The residual is that of the full fit divided by 1 - leverage, which is exact for ridge
    regression with a free intercept.

    Args:
        basis: Factorisation of the source.
        source: The factorised latents, shape (N, D_s).
        target: Shape (N, T).
        alpha: One penalty for all targets, shape (1,), or one for each, shape (T,).

    Returns:
        Predictions, shape (N, T), float64. NaN or infinite where the other items leave the
        prediction undetermined (leverage 1 despite residual degrees of freedom).

    Example:
        >>> held_out = leave_one_out(factorise(source), source, target, fitted.alpha_)

    Source: Allen (1974), doi:10.1080/00401706.1974.10489157
    """
    deviation = centred(target, column_mean(target))
    inside = deviation.new_zeros(basis.eigenvalues.shape[0], target.shape[1])
    for rows, left in basis.left_rows(source):
        inside += left.T @ deviation[rows]
    filtered = basis.residual_filter(alpha)
    out = torch.empty_like(deviation)
    for rows, left in basis.left_rows(source):
        residual, spare = left @ (filtered * inside), left.square() @ filtered
        if basis.residual_rank > 0:
            residual += deviation[rows] - left @ inside
            spare += (1 - 1 / basis.n_train - left.square().sum(1))[:, None]
            spare = torch.where(spare > 64 * EPS, spare, 0.0)  # a leverage of 1, but for rounding
        out[rows] = target[rows].to(torch.float64) - residual / spare
    return out


def _leave_one_out_scores(problem: Problem, alphas: Tensor, *, pooled: bool) -> Tensor:
    """Mean squared error of `leave_one_out`; a product of N x K by K x D_t for every penalty."""
    basis, target = problem.basis, problem.target
    assert isinstance(target, Tensor)  # not streamed
    dtype = working_dtype(target)
    root = basis.inverse_root()
    exact = torch.cat([rows for _, rows in basis.left_rows(problem.source)])
    left = exact.to(dtype)
    filters = basis.residual_filter(alphas)
    spare = exact.square() @ filters  # 1 - leverage, (N, A)
    if basis.residual_rank > 0:
        spare += (1 - 1 / basis.n_train - exact.square().sum(1))[:, None]
    found = []
    for cols in blocks(target.shape[1]):
        rotated = (problem.rotated[:, cols] * root[:, None]).to(dtype)
        rest: Tensor | float = 0.0
        if basis.residual_rank > 0:
            rest = centred(target[:, cols], problem.mean[cols]).to(dtype) - left @ rotated
        errors = [
            ((left @ (filters[:, [a]].to(dtype) * rotated) + rest).double() / spare[:, [a]])
            .square()
            .mean(0)
            for a in range(alphas.shape[0])
        ]
        found.append(torch.stack(errors))
    scored = torch.cat(found, 1)
    scored = scored.mean(1, keepdim=True) if pooled else scored
    # Penalties that leave a prediction undetermined (a leverage of 1) must not win.
    return scored.nan_to_num(nan=torch.inf, posinf=torch.inf)


def _fold_scores(problem: Problem, alphas: Tensor, n_folds: int, *, pooled: bool) -> Tensor:
    """Mean squared error on the rows i, i + k, ... of maps fitted without them."""
    source, target = problem.source, problem.target
    assert isinstance(source, Tensor)  # not streamed
    assert isinstance(target, Tensor)
    n = source.shape[0]
    if n - -(-n // n_folds) < 2:
        raise ValueError(
            f"map.n_folds={n_folds} leaves fewer than 2 of {n} items to fit on: use "
            "map.selection=gcv or more items"
        )
    if n_folds > n:
        raise ValueError(f"map.n_folds={n_folds} is more than the {n} items: lower it")
    width = 1 if pooled else target.shape[1]
    total = alphas.new_zeros(alphas.shape[0], width)
    folds = problem.basis.folds(source, n_folds)
    for fold, mask in zip(folds, fold_masks(n, n_folds).to(source.device), strict=True):
        inner = Problem.of(fold, source[mask], target[mask])
        held = fold.coordinates(source[~mask], source[mask] if fold.dual else None)
        truth, shrink = target[~mask], fold.shrinkage(alphas)
        total += (_pooled_errors if pooled else _errors)(inner, held, truth, shrink)
    return total / (n * (target.shape[1] if pooled else 1))


def _pooled_errors(inner: Problem, held: Tensor, truth: Tensor, shrink: Tensor) -> Tensor:
    """Sum of squared errors, shape (A, 1): |T|^2 - 2 tr(T' C D R) + tr(R' D C'C D R)."""
    square, cross = 0.0, torch.zeros_like(shrink[:, 0])
    gram = held.new_zeros(shrink.shape[0], shrink.shape[0])
    for cols in blocks(truth.shape[1]):
        part = centred(truth[:, cols], inner.mean[cols])
        rotated = inner.rotated[:, cols].double()
        square += float(part.square().sum())
        cross += ((held.T @ part) * rotated).sum(1)
        gram.addmm_(rotated, rotated.T)
    gram *= held.T @ held
    bent = (shrink * (gram @ shrink)).sum(0)
    return (square - 2 * (cross @ shrink) + bent).clamp(0)[:, None]


def _errors(inner: Problem, held: Tensor, truth: Tensor, shrink: Tensor) -> Tensor:
    """Sum of squared errors of each target, shape (A, D_t)."""
    found = []
    for cols in blocks(truth.shape[1]):
        part = centred(truth[:, cols], inner.mean[cols])
        rotated = inner.rotated[:, cols].double()
        columns = [held @ (shrink[:, [a]] * rotated) for a in range(shrink.shape[1])]
        found.append(torch.stack([(part - c).square().sum(0) for c in columns]))
    return torch.cat(found, 1)
