"""Logistic regression with a penalty chosen by cross-validation."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stitching.probes.attributes import CrossValidatedAttributeProbes
from stitching.probes.base import CrossValidatedProbes, Fit
from stitching.probes.coordinates import Coordinates
from stitching.probes.fitted import Facts
from stitching.probes.labels import stratified_folds
from stitching.probes.solver import log_losses, minimise

#: Ends of the penalty grid in units of the mean sum of squares along the principal axes. At the
#: lower end the penalty hardly matters where the latents separate the labels; at the upper end
#: predictions are little more than the share of yes.
GRID = (1e-6, 1e1)

#: Relative error of the weights where a fit stops; see `Solution.gradient`.
TOLERANCE = 1e-7

#: The same for control labels and halves of the items: a thousandth of a weight changes the
#: prediction of an item at most.
QUICK_TOLERANCE = 1e-3

#: The same while penalties are compared. On latents of the zoo log losses were then right to half
#: a percent, or to a few percent where they were thousandths; those of neighbours on the grid
#: differ by more, or the choice between them matters little.
CV_TOLERANCE = 1e-2

#: Values of problems solved side by side, in a few arrays of 64 MiB each.
_VALUES = 2**23


class LogisticBase(CrossValidatedProbes):
    """L2-penalised logistic regressions of one or more classes."""

    side_by_side = True

    def _regress(
        self,
        coordinates: Coordinates,
        labels: NDArray[Any],
        targets: Tensor,
        alpha: float | None,
        quick: bool,
        near: Facts | None,
    ) -> Fit:
        """Fit to `targets` of `minimise`, shape (C, n), as `_fit`; folds stratify `labels`."""
        facts: Facts = {}
        tolerance = QUICK_TOLERANCE if quick else TOLERANCE
        if alpha is None:
            alpha, facts = self._choose(coordinates, labels, targets, near)
        found = minimise(
            coordinates.points,
            coordinates.squares,
            targets,
            torch.ones_like(targets[:1]),
            targets.new_tensor([alpha]),
            tolerance,
            self.max_iter,
        )
        weight = coordinates.unrotated(found.weight[0])
        raw, bias = coordinates.unscaled(weight, found.bias[0] - weight @ coordinates.basis.mean)
        facts |= {
            "alpha": alpha,
            "converged": int(found.converged),
            "n_iter": int(found.n_iter),
            "gradient": float(found.gradient),
        }
        return raw.cpu().numpy(), bias.cpu().numpy(), facts

    def grid(self, coordinates: Coordinates) -> Tensor:
        """Return the penalties to try, ascending, shape (n_alphas,)."""
        # Any scale serves for latents that do not vary: all penalties have one score.
        mean = float(coordinates.squares.mean()) if len(coordinates.squares) else 1.0
        low, high = (np.log10(mean) + np.log10(end) for end in GRID)
        return torch.logspace(low, high, self.n_alphas, dtype=torch.float64).to(coordinates.points)

    def _choose(
        self,
        coordinates: Coordinates,
        labels: NDArray[Any],
        targets: Tensor,
        near: Facts | None,
    ) -> tuple[float, Facts]:
        """Return the penalty with the smallest log loss on held-out items, and facts of it."""
        alphas = self.grid(coordinates)
        if near is not None:
            # A penalty of as many items; the losses add up over them.
            close = float(near["alpha"]) * len(labels) / float(near["n"])
            alphas = close * alphas[:3] / alphas[1]
        folds = torch.from_numpy(stratified_folds(labels, self.n_folds, self.seed))
        held = (folds == torch.arange(self.n_folds)[:, None]).to(targets)
        # Small penalties take most of the time: they are tried only where the best may be there.
        cut, last = (len(alphas) - 1) // 2, len(alphas) - 1
        losses, converged = self._held_out_losses(coordinates, targets, held, alphas[cut:])
        # argmin returns the first of equals: search from the largest penalty down.
        if int(losses.flip(0).argmin()) == last - cut:
            lower, also = self._held_out_losses(coordinates, targets, held, alphas[:cut])
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
        self, coordinates: Coordinates, targets: Tensor, held: Tensor, alphas: Tensor
    ) -> tuple[Tensor, int]:
        """Mean log loss of each penalty on items held out, (A,), and whether all converged."""
        penalties, folds = alphas.repeat_interleave(len(held)), held.repeat(len(alphas), 1)
        points, squares = coordinates.points, coordinates.squares
        size = max(1, _VALUES // (targets.shape[0] * max(points.shape)))
        losses, converged = [], True
        for penalty, out in zip(penalties.split(size), folds.split(size), strict=True):
            found = minimise(
                points, squares, targets, 1 - out, penalty, CV_TOLERANCE, self.max_iter
            )
            logits = found.weight @ points.T + found.bias[..., None]
            losses.append((log_losses(logits, targets) * out).sum(1))
            converged &= bool(found.converged.all())
        total = torch.cat(losses).view(len(alphas), len(held)).sum(1)
        return total / held.shape[1], int(converged)


class LogisticProbes(CrossValidatedAttributeProbes, LogisticBase):
    """L2-penalised logistic regressions.

    Each minimises sum_i log(1 + exp(-y_i (w z_i + b))) + alpha / 2 |w|^2 for labels y of -1 and 1
    and standardised latents z; b is not penalised. It is the minimum that scikit-learn's
    `LogisticRegression(C=1 / alpha)` has on them. Without `alpha` the penalty is that of a grid
    whose log loss on held-out items, mean over the items of all folds, is smallest; ties go to
    the larger one. The lower half of the grid is tried only where the loss still falls at the end
    of the upper one: the loss is assumed to have one minimum. Latents are standardised once, by
    the statistics of all fit items.

    Further facts, see `AttributeProbes`: `n_iter` and `gradient` (see `Solution`), and where the
    penalty was chosen `cv_log_loss` in nats per item and `cv_converged` (1 or 0). An attribute
    that latents separate has a minimum too: the penalty keeps weights finite.

    The grid lies evenly in logarithm over `GRID` times the mean sum of squares along the latents'
    principal axes. Arguments are those of `AttributeProbes` and `CrossValidatedProbes`.

    Raises:
        ValueError: A value outside its range.
    """

    kind = "logistic"

    def _fit(
        self,
        coordinates: Coordinates,
        values: NDArray[Any],
        alpha: float | None,
        quick: bool,
        near: Facts | None,
    ) -> Fit:
        targets = torch.from_numpy(values[None]).to(coordinates.points)
        weight, bias, facts = self._regress(coordinates, values, targets, alpha, quick, near)
        return weight[0], bias[0], facts
