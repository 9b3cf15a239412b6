"""Logistic regression with a penalty chosen by cross-validation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stitching.probes.attributes import AttributeProbes
from stitching.probes.base import checked_alpha, checked_at_least
from stitching.probes.coordinates import Coordinates
from stitching.probes.fitted import FittedProbe
from stitching.probes.labels import stratified_folds
from stitching.probes.solver import log_losses, minimise

#: Ends of the penalty grid in units of the mean sum of squares along the principal axes. At the
#: lower end the penalty hardly matters where the latents give the labels away; at the upper end
#: labels that mean nothing get little more than the share of yes for an prediction.
GRID = (1e-6, 1e1)

#: Relative error of the weights where a fit stops; see `Solution.gradient`.
TOLERANCE = 1e-7

#: The same for labels that mean nothing: their accuracy is a yardstick, and a thousandth of a
#: weight moves it by an item at most.
CONTROL_TOLERANCE = 1e-3

#: The same while penalties are compared. On latents of the zoo log losses were then right to half
#: a percent, or to a few percent where they were thousandths; those of neighbours on the grid
#: differ by more, or it matters little which one wins.
CV_TOLERANCE = 1e-2

#: Values of problems solved side by side, a few arrays of which are held: 64 MiB each.
_VALUES = 2**23


@dataclass(frozen=True)
class Regression:
    """How to fit a penalised logistic regression of one or more classes.

    Attributes:
        alpha: Fixed penalty, or None to choose one.
        n_alphas: Size of the grid.
        n_folds: Number of folds.
        seed: Of the folds.
        max_iter: Most iterations of one fit.
    """

    alpha: float | None
    n_alphas: int
    n_folds: int
    seed: int
    max_iter: int

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: A value outside its range.
        """
        checked_alpha(self.alpha)
        checked_at_least(3, n_alphas=self.n_alphas)
        checked_at_least(2, n_folds=self.n_folds)
        checked_at_least(1, max_iter=self.max_iter)
        checked_at_least(0, seed=self.seed)

    def fit(
        self, seen: Coordinates, labels: NDArray[Any], targets: Tensor, alpha: float | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[str, float | int]]:
        """Return weight (C, D) and bias (C,) on raw latents, and facts.

        Args:
            seen: The latents.
            labels: What folds are stratified by, shape (n,).
            targets: See `minimise`, shape (C, n).
            alpha: Penalty in place of the one by the settings: of a control.
        """
        facts: dict[str, float | int] = {}
        tolerance = TOLERANCE if alpha is None else CONTROL_TOLERANCE
        alpha = alpha if alpha is not None else self.alpha
        if alpha is None:
            alpha, facts = self._choose(seen, labels, targets)
        kept = torch.ones_like(targets[:1])
        found = minimise(
            seen.points, seen.squares, targets, kept, kept.new_tensor([alpha]), tolerance,
            self.max_iter,
        )  # fmt: skip
        weight = seen.unrotated(found.weight[0])
        raw, bias = seen.unscaled(weight, found.bias[0] - weight @ seen.basis.mean)
        facts |= {
            "alpha": alpha,
            "converged": int(found.converged),
            "n_iter": int(found.n_iter),
            "gradient": float(found.gradient),
        }
        return raw.cpu().numpy(), bias.cpu().numpy(), facts

    def grid(self, seen: Coordinates) -> Tensor:
        """Return the penalties to try, ascending, shape (n_alphas,)."""
        # Any scale will do for latents that do not vary: all penalties score the same.
        mean = float(seen.squares.mean()) if len(seen.squares) else 1.0
        low, high = (np.log10(mean) + np.log10(end) for end in GRID)
        return torch.logspace(low, high, self.n_alphas, dtype=torch.float64).to(seen.points)

    def _choose(
        self, seen: Coordinates, labels: NDArray[Any], targets: Tensor
    ) -> tuple[float, dict[str, float | int]]:
        """Return the penalty with the smallest log loss on held-out items, and facts of it."""
        alphas = self.grid(seen)
        folds = torch.from_numpy(stratified_folds(labels, self.n_folds, self.seed))
        held = (folds == torch.arange(self.n_folds)[:, None]).to(targets)
        # Small penalties take most of the time, so they wait until the others leave it open.
        cut, last = (len(alphas) - 1) // 2, len(alphas) - 1
        losses, converged = self._held_out_losses(seen, targets, held, alphas[cut:])
        # argmin takes the first of equals: look from the largest penalty down.
        if int(losses.flip(0).argmin()) == last - cut:
            lower, also = self._held_out_losses(seen, targets, held, alphas[:cut])
            losses, converged = torch.cat([lower, losses]), converged & also
        else:
            losses = torch.cat([torch.full_like(alphas[:cut], torch.inf), losses])
        best = last - int(losses.flip(0).argmin())
        at_end = losses[best] < losses[1 if best == 0 else last - 1]
        return float(alphas[best]), {
            "edge": {0: -1, last: 1}.get(best, 0) * int(at_end),
            "cv_log_loss": float(losses[best]),
            "cv_converged": converged,
        }

    def _held_out_losses(
        self, seen: Coordinates, targets: Tensor, held: Tensor, alphas: Tensor
    ) -> tuple[Tensor, int]:
        """Mean log loss of each penalty on items held out, (A,), and whether all converged."""
        penalties, folds = alphas.repeat_interleave(len(held)), held.repeat(len(alphas), 1)
        size = max(1, _VALUES // (targets.shape[0] * max(seen.points.shape)))
        losses, converged = [], True
        for penalty, out in zip(penalties.split(size), folds.split(size), strict=True):
            found = minimise(
                seen.points, seen.squares, targets, 1 - out, penalty, CV_TOLERANCE, self.max_iter
            )
            logits = found.weight @ seen.points.T + found.bias[..., None]
            losses.append((log_losses(logits, targets) * out).sum(1))
            converged &= bool(found.converged.all())
        total = torch.cat(losses).view(len(alphas), len(held)).sum(1)
        return total / held.shape[1], int(converged)


class LogisticProbes(AttributeProbes):
    """L2-penalised logistic regressions.

    Each minimises sum_i log(1 + exp(-y_i (w z_i + b))) + alpha / 2 |w|^2 for labels y of -1 and 1
    and standardised latents z; b is not penalised. It is the minimum that scikit-learn's
    `LogisticRegression(C=1 / alpha)` has on them. Without `alpha` the penalty is that of a grid
    whose log loss on held-out items, mean over the items of all folds, is smallest; ties go to
    the larger one. The lower half of the grid is tried only where the loss still falls at the end
    of the upper one: the loss is taken to have one minimum. Latents are standardised once, by the
    statistics of all fit items.

    Further facts, see `AttributeProbes`: `n_iter` and `gradient` (see `Solution`), and where the
    penalty was chosen `cv_log_loss` in nats per item and `cv_converged` (1 or 0). An attribute
    that latents give away has a minimum for all that: the penalty keeps weights finite.

    Args:
        attributes: See `AttributeProbes`.
        min_per_class: See `AttributeProbes`.
        alpha: Fixed penalty > 0, or None to choose one.
        n_alphas: Size of the grid, at least 3: evenly in logarithm over `GRID` times the mean sum
            of squares along the latents' principal axes.
        n_folds: Folds, stratified, at least 2.
        seed: Of the folds, at least 0.
        max_iter: Most iterations of one fit, at least 1.
        standardise: See `Probes`.
        max_items: See `Probes`.

    Raises:
        ValueError: A value outside its range.
    """

    kind = "logistic"
    side_by_side = True

    def __init__(
        self,
        attributes: Sequence[str] | str | None = None,
        min_per_class: int = 5,
        alpha: float | None = None,
        n_alphas: int = 8,
        n_folds: int = 5,
        seed: int = 0,
        max_iter: int = 1000,
        standardise: bool = True,
        max_items: int = 10_000,
    ) -> None:
        super().__init__(attributes, min_per_class, standardise, max_items)
        self.alpha = alpha
        self.n_alphas = n_alphas
        self.n_folds = n_folds
        self.seed = seed
        self.max_iter = max_iter
        self._regression()

    def _regression(self) -> Regression:
        return Regression(self.alpha, self.n_alphas, self.n_folds, self.seed, self.max_iter)

    def _fit(self, seen: Coordinates, values: NDArray[Any], alpha: float | None) -> FittedProbe:
        targets = torch.from_numpy(values[None]).to(seen.points)
        weight, bias, facts = self._regression().fit(seen, values, targets, alpha)
        counts = self._counts(seen, values)
        return FittedProbe(weight[0], bias[0], {"kind": self.kind, **counts, **facts})
