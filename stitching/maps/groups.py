"""Refits of a ridge map without groups of its training items, in closed form.

A ridge map with a free intercept and a fixed penalty is a linear smoother: its predictions are
H T for training targets T. Without a group g of items it predicts what it predicts from all items
after their targets are replaced by the refit's own predictions of them: these have no residual,
so the refit's loss and the loss of all items have one minimum. With r the residuals of the full
fit, the residuals of the left-out items are

    r_g(-g) = (I - H_gg)^-1 r_g

and the prediction of a new item t changes by -H_tg r_g(-g). So G refits cost less than one fit.

Source: of one item, Allen (1974), doi:10.1080/00401706.1974.10489157; of groups, Cook and Weisberg
(1982), Residuals and Influence in Regression, section 3.6
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from stitching.maps.factorisation import Factorisation
from stitching.maps.matrix import centred, column_mean, working_dtype

#: Largest condition number of I - H_gg: beyond it the items that stay do not determine the map.
_CONDITION = 1e11


class UndeterminedRefit(ValueError):
    """Without a group of items a map without penalty has no unique solution."""


def leave_groups_out(
    basis: Factorisation,
    alpha: Tensor,
    source: Tensor,
    target: Tensor,
    latents: Tensor,
    groups: Tensor,
    coefficients: Tensor | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Yield the change of a ridge map's predictions when it is refitted without each group.

    Args:
        basis: Factorisation of the source, in memory (`chunk` is None).
        alpha: Penalty of the fit, kept by the refits: shape (1,), or (D_t,) with one per target.
        source: The factorised latents, shape (N, D_s).
        target: Of the fit, shape (N, D_t).
        latents: Latents to predict from, shape (n, D_s).
        groups: Group of each training item, shape (N,), int64, at least two different ones.
        coefficients: `basis.shrinkage(alpha) * basis.rotate(source, target, mean)`, shape
            (K, D_t), where the fit has them; computed if None.

    Yields:
        The group, ascending, and what is added to the predictions, shape (n, D_t), in the
        precision of the target, float32 at least.

    Raises:
        UndeterminedRefit: The items that stay do not determine the map: no penalty, and fewer
            of them than source dimensions.
        ValueError: Latents are streamed, or `groups` has another length or a single group.

    Example:
        >>> for group, change in leave_groups_out(basis, alpha, source, target, test, groups):
        ...     without = predictions + change  # of the map fitted without this group
    """
    if basis.chunk is not None:
        raise ValueError("refits without groups need latents in memory: factorise with chunk=None")
    n_train, present = len(source), groups.unique().tolist()
    if groups.shape != (n_train,) or len(present) < 2:
        raise ValueError(
            f"refits need one group for each of {n_train} training items and at least two "
            f"groups, got shape {tuple(groups.shape)} with {len(present)}"
        )
    mean = column_mean(target)
    if coefficients is None:
        coefficients = basis.rotate(source, target, mean)
        coefficients = (coefficients * basis.shrinkage(alpha)).to(coefficients.dtype)
    coordinates = basis.coordinates(latents, source)
    values, which = alpha.unique(return_inverse=True)
    dtype = working_dtype(target)
    for group in present:
        places = (groups == group).nonzero().flatten().to(source.device)
        left = _left(basis, source, places)
        residuals = _residuals(basis, left, target[places], mean, coefficients, dtype)
        change = residuals.new_empty(len(latents), target.shape[1])
        for number, value in enumerate(values):
            step = -_leverage(basis, value, coordinates, left).to(dtype)
            if len(values) == 1:
                torch.mm(step, residuals, out=change)
            else:
                cols = which == number
                change[:, cols] = step @ residuals[:, cols]
        yield int(group), change


def _left(basis: Factorisation, source: Tensor, places: Tensor) -> Tensor:
    """Some rows of U in float64, 0 where s is 0, shape (m, K)."""
    if basis.dual:
        return basis.eigenvectors[places] * (basis.eigenvalues > 0)
    return centred(source[places], basis.mean) @ (basis.eigenvectors * basis.inverse_root())


def _residuals(
    basis: Factorisation,
    left: Tensor,
    target: Tensor,
    mean: Tensor,
    coefficients: Tensor,
    dtype: torch.dtype,
) -> Tensor:
    """Residuals of the full fit, up to the factor that `_leverage` leaves out too."""
    if basis.residual_rank == 0:
        # All of the residual lies along U: alpha / (s^2 + alpha) of U' T, without alpha, which
        # cancels and may be 0.
        return (left * basis.inverse_root()).to(dtype) @ coefficients.to(dtype)
    scaled = (left * basis.eigenvalues.sqrt()).to(dtype)
    return (target.to(dtype) - mean.to(dtype)).addmm_(scaled, coefficients.to(dtype), alpha=-1)


def _leverage(basis: Factorisation, alpha: Tensor, coordinates: Tensor, left: Tensor) -> Tensor:
    """H_tg (I - H_gg)^-1, shape (n, m), float64."""
    shrinkage = basis.shrinkage(alpha[None])[:, 0]
    root = basis.eigenvalues.sqrt()
    hat = coordinates @ (left * (shrinkage * root)).T + 1 / basis.n_train
    if basis.residual_rank == 0:
        rest = (left * shrinkage) @ left.T
    else:
        rest = -(left * (shrinkage * basis.eigenvalues)) @ left.T - 1 / basis.n_train
        rest.diagonal().add_(1)
    values, vectors = torch.linalg.eigh(rest)
    if not float(values[0]) * _CONDITION > float(values[-1]):
        raise UndeterminedRefit(
            f"without {len(left)} of {basis.n_train} training items the map has no unique "
            "solution: set a penalty above 0, or use more items"
        )
    found: Tensor = ((hat @ vectors) / values) @ vectors.T
    return found
