"""Many penalised logistic regressions on the same points, solved side by side.

L-BFGS in the points' principal axes, where the Hessian is nearly diagonal: it starts from that
diagonal, so that a few dozen steps suffice at any penalty. Each step takes one product for the
gradient and one for the change of the logits; along it the objective is a sum of functions of one
number, which Newton's method minimises.

Source: Liu and Nocedal (1989), doi:10.1007/BF01589116
"""

from dataclasses import dataclass

import torch
from torch import Tensor

#: Steps that L-BFGS keeps. Twice as many saved no iteration on latents of the zoo.
MEMORY = 6

#: A line search ends at this share of its initial slope; a smaller one costs more than it saves.
_SLOPE_LEFT = 0.1

#: Most Newton steps and bisections of a line search, and the factor that bounds one step.
_SEARCHES, _STRIDE = 50, 10.0


@dataclass(frozen=True)
class Solution:
    """Minima of P problems.

    Attributes:
        weight: Shape (P, C, K).
        bias: Shape (P, C); of several classes they sum to 0.
        gradient: Shape (P,): the norm of the weights' gradient over the norm of its penalty
            part, which bounds the relative error of the weights given the bias.
        n_iter: Iterations, shape (P,).
        converged: Whether the tolerance was met, shape (P,).
    """

    weight: Tensor
    bias: Tensor
    gradient: Tensor
    n_iter: Tensor
    converged: Tensor


def probabilities(logits: Tensor) -> Tensor:
    """Return the probability of each class, (..., C, N): logistic for C = 1, softmax for more."""
    return logits.sigmoid() if logits.shape[-2] == 1 else logits.softmax(-2)


def log_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return -log of the probability of each item's own class, in nats.

    Args:
        logits: Shape (..., C, N).
        targets: Shape (C, N), as in `minimise`.

    Returns:
        Shape (..., N).
    """
    every = logits if logits.shape[-2] > 1 else torch.cat([torch.zeros_like(logits), logits], -2)
    return every.logsumexp(-2) - (logits * targets).sum(-2)


def minimise(
    points: Tensor,
    squares: Tensor,
    targets: Tensor,
    kept: Tensor,
    alphas: Tensor,
    tolerance: float,
    max_iter: int,
) -> Solution:
    """Minimise sum_i kept_i loss(y_i, W p_i + b) + alpha / 2 |W|^2 for each of P problems.

    The bias is not penalised. Convex, with one minimum where alpha > 0 and every class is kept.

    Args:
        points: Shape (N, K), float64, with columns that are orthogonal and sum to 0.
        squares: Sum of squares of each column, shape (K,).
        targets: 1 for the class of each item, else 0: shape (1, N) for yes and no, (C, N) for C
            classes.
        kept: Whether an item counts, shape (P, N), 0 or 1.
        alphas: Penalties > 0, shape (P,).
        tolerance: Stop where `Solution.gradient` is no larger, or the gradient nothing but
            rounding, and neither is the mean difference of probabilities and labels.
        max_iter: Stop then in any case, at least 1.
    """
    (n, size), (n_classes, n_problems) = points.shape, (targets.shape[0], alphas.shape[0])
    spans = torch.cat([squares, squares.new_tensor([n])])  # the bias is a column of ones
    ridge = torch.cat([alphas[:, None].expand(-1, size), torch.zeros_like(alphas)[:, None]], 1)
    theta = points.new_zeros(n_problems, n_classes, size + 1)
    state = _State(
        place=torch.arange(n_problems, device=points.device),
        theta=theta.clone(),
        logits=points.new_zeros(n_problems, n_classes, n),
        ridge=ridge[:, None],
        kept=kept[:, None].to(points),
        past=[],
    )
    gradients, n_iter = torch.zeros_like(alphas), torch.zeros_like(alphas, dtype=torch.int64)
    converged = torch.zeros_like(n_iter, dtype=torch.bool)
    # Rounding errors of a product of points and probabilities.
    rounding = torch.finfo(points.dtype).eps * float(squares.sum() * n) ** 0.5
    taken: tuple[Tensor, Tensor] | None = None  # the last step and the gradient it began with
    for iteration in range(max_iter + 1):
        p = probabilities(state.logits)
        residual = (p - targets) * state.kept
        gradient = _down(residual, points) + state.ridge * state.theta
        if taken is not None:
            state.past.append((taken[0], gradient - taken[1]))
            del state.past[:-MEMORY]
        left = _relative(gradient, state)
        off = residual.sum(-1).abs().amax(1) / state.kept.sum((1, 2))
        flat = (left <= tolerance) | (_norm(gradient[..., :-1]) <= rounding)
        done = flat & (off <= tolerance)
        theta[state.place], gradients[state.place] = state.theta, left
        n_iter[state.place], converged[state.place] = iteration, done
        if bool(done.all()) or iteration == max_iter:
            break
        curvature = ((p * (1 - p)) * state.kept).sum(-1, keepdim=True) / n
        if bool(done.any()):
            state, gradient, curvature = state.only(~done), gradient[~done], curvature[~done]
        step = -_inverse_hessian(gradient, spans * curvature + state.ridge, state.past)
        moved = _up(step, points)
        length = _line_search(state, gradient, step, moved, targets)[:, None, None]
        taken = (step * length, gradient)
        state.theta = state.theta + taken[0]
        state.logits = state.logits + moved * length
    bias = theta[:, :, size]
    if n_classes > 1:  # a constant added to all changes nothing
        bias = bias - bias.mean(1, keepdim=True)
    return Solution(theta[:, :, :size], bias, gradients, n_iter, converged)


@dataclass
class _State:
    """The unsolved problems and their places among all."""

    place: Tensor
    theta: Tensor
    logits: Tensor
    ridge: Tensor
    kept: Tensor
    past: list[tuple[Tensor, Tensor]]  # steps and changes of the gradient, oldest first

    def only(self, which: Tensor) -> "_State":
        place, theta, logits = self.place[which], self.theta[which], self.logits[which]
        past = [(step[which], change[which]) for step, change in self.past]
        return _State(place, theta, logits, self.ridge[which], self.kept[which], past)


def _down(values: Tensor, points: Tensor) -> Tensor:
    """(P, C, N) to (P, C, K + 1): products with each column, and with one of ones."""
    found = (values.flatten(0, 1) @ points).view(*values.shape[:2], points.shape[1])
    return torch.cat([found, values.sum(-1, keepdim=True)], -1)


def _up(theta: Tensor, points: Tensor) -> Tensor:
    """(P, C, K + 1) to logits (P, C, N)."""
    found = theta[..., :-1].flatten(0, 1) @ points.T
    return found.view(*theta.shape[:2], points.shape[0]) + theta[..., -1:]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 2), keepdim=True)


def _norm(weight: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(weight, dim=(1, 2))
    return norm


def _relative(gradient: Tensor, state: _State) -> Tensor:
    """|gradient| / |alpha W|, of the weights."""
    pull = _norm((state.ridge * state.theta)[..., :-1])
    left: Tensor = _norm(gradient[..., :-1]) / pull.clamp_min(torch.finfo(pull.dtype).tiny)
    return left


def _inverse_hessian(
    gradient: Tensor, diagonal: Tensor, past: list[tuple[Tensor, Tensor]]
) -> Tensor:
    """Apply the inverse Hessian of L-BFGS, which starts from 1 / diagonal."""
    out, shares = gradient, []
    for step, change in reversed(past):
        share = _ratio(_dot(step, out), _dot(step, change))
        out = out - share * change
        shares.append(share)
    out = out / diagonal.clamp_min(torch.finfo(diagonal.dtype).tiny)
    for (step, change), share in zip(past, reversed(shares), strict=True):
        out = out + step * (share - _ratio(_dot(change, out), _dot(step, change)))
    return out


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Return part / whole, 0 for a whole of 0: of a step too short to change the gradient."""
    return torch.where(whole > 0, part / whole, 0.0)


def _line_search(
    state: _State, gradient: Tensor, step: Tensor, moved: Tensor, targets: Tensor
) -> Tensor:
    """Return the lengths of steps, shape (P,), near the minimum along each.

    Newton's method on the slope, between lower and upper bounds of the minimum. Without
    convergence the lower bound, where the objective is lower than at the start.
    """
    limit = _SLOPE_LEFT * _dot(gradient, step)[:, 0, 0].abs()
    linear = _dot(state.ridge * state.theta, step)[:, 0, 0]
    square = _dot(state.ridge * step, step)[:, 0, 0]
    low, high = torch.zeros_like(limit), torch.full_like(limit, torch.inf)
    length, near = torch.ones_like(limit), torch.zeros_like(limit, dtype=torch.bool)
    for _ in range(_SEARCHES):
        p = probabilities(state.logits + length[:, None, None] * moved)
        pull = ((p - targets) * moved * state.kept).sum((1, 2))
        slope = pull + linear + length * square
        near = slope.abs() <= limit
        if bool(near.all()):
            break
        weighted = p * moved
        spread = (weighted * moved).sum(1) - weighted.sum(1).square()
        newton = length - slope / ((spread * state.kept[:, 0]).sum(1) + square)
        low, high = torch.where(slope < 0, length, low), torch.where(slope > 0, length, high)
        between = torch.where(high.isinf(), _STRIDE * length, (low + high) / 2)
        # Where all probabilities are 0 or 1, curvature vanishes and Newton's steps diverge.
        inside = (newton > low) & (newton < high.minimum(_STRIDE * length))
        length = torch.where(near, length, torch.where(inside, newton, between))
    return torch.where(near, length, low)
