"""Errors of mapped latents against the target's own latents of the same images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add

import torch
from torch import Tensor

from stitching.compute.threads import one_thread_each
from stitching.metrics.base import require_finite
from stitching.metrics.gram import centred, column_blocks
from stitching.metrics.resampling import Estimate, Resamples, Scores, undefined

#: A resample whose spread is below this share of its items' squared distances from the mean of
#: all items holds one item only, up to rounding.
_ROUNDING = 1e-10

#: Dimensions summed by one thread. Fixed, so that sums do not depend on the number of threads.
_COLUMNS = 2048


def latent_scores(true: Tensor, mapped: Tensor, resamples: Resamples | None = None) -> Scores:
    """Score mapped latents z_hat against the target model's own latents z.

    - ``latent/mse``: mean of (z - z_hat)^2 over items and dimensions, in squared units of the
      target space and so not comparable between targets; ``latent/rmse`` is its root.
    - ``latent/r2``: 1 - mean |z - z_hat|^2 / variance, pooled over dimensions, where the variance
      is the unbiased one, sum |z - mean z|^2 / (n - 1), about the mean of these same items. 1 is
      perfect, 0 is a predictor that has the true mean, and there is no lower bound. The widest
      dimensions decide it. With r scikit-learn's ``r2_score(multioutput="variance_weighted")`` it
      is 1 - (1 - r) (n - 1) / n: r divides by the spread about the test items' own mean, which
      they fit better than any prediction can, and is too low by (1 - r) / n.
    - ``latent/nmse``: each dimension's mean squared error divided by that dimension's own
      unbiased variance over these items, averaged over the dimensions that vary by more than the
      rounding of their dtype (``latent/nmse_dims`` of them). Every dimension counts alike: 0 is
      perfect, 1 a predictor that has the true mean, and there is no upper bound. The bias of each
      ratio in order 1 / n is taken off (`ratio_weights`): over many dimensions it would exceed
      the spread. Without that it is (n - 1) / n times 1 less scikit-learn's
      ``r2_score(multioutput="uniform_average")``. (Divided by the pooled variance it would only
      repeat R2.) High beside a high R2: only wide dimensions are mapped.
    - ``latent/cosine``: mean over items of the cosine between z - mean z and z_hat - mean z, in
      [-1, 1], about the mean of the true latents of all test items. Direction only: blind to
      shrinkage, which every regularised map causes.

    On a resample of m items R2 takes the resample's own mean and m - 1 degrees of freedom; its
    variance is then n / (n - 1) times that, the unbiased one of the items it was drawn from. The
    ratios of `latent/nmse` are linearised about all items: a dimension that only a few items move
    would not vary at all on many resamples. The centre of `latent/cosine` is kept.

    Args:
        true: Shape (n, D), the target's own latents.
        mapped: Shape (n, D), mapped latents, row i from the same image as true row i.
        resamples: Of the n items; None for estimates without draws.

    Returns:
        The five scores. One that is undefined is None, with the reason in ``KEY_missing``: R2
        and nmse where the true latents do not vary over the items (n = 1, a constant encoder),
        cosine where an item lies exactly at the mean on either side.

    Raises:
        ValueError: Shapes differ, are empty or do not fit the resamples, or a value is not
            finite (the rows are named).
    """
    _check(true, mapped, resamples)
    resamples = resamples or Resamples(len(true), 0, 0)
    sums = _sums(true, mapped, with_gram=resamples.n_bootstrap > 0)
    residual, squares, mapped_squares, products, normalised = sums.items.unbind()
    dims = true.shape[1]
    scores: Scores = {
        "latent/mse": resamples.mean(residual / dims),
        "latent/rmse": resamples.of_means(
            residual[:, None] / dims, lambda means: means[..., 0].sqrt()
        ),
        "latent/nmse_dims": sums.n_varying,
    }
    if sums.spread > 0:
        scores["latent/r2"] = _r2(sums, resamples)
    else:
        why = f"the true latents of the {len(true)} items are all equal, so R2 is undefined"
        scores |= undefined("latent/r2", why)
    if sums.n_varying:
        scores["latent/nmse"] = resamples.mean(normalised / sums.n_varying)
    else:
        why = (
            f"no dimension of the true latents varies over the {len(true)} items by more than "
            f"the rounding of {true.dtype}"
        )
        scores |= undefined("latent/nmse", why)
    lengths = squares * mapped_squares
    n_central = int((lengths == 0).sum())
    if n_central == 0:
        # One root of the product, so that equal latents give exactly 1.
        scores["latent/cosine"] = resamples.mean(products / lengths.sqrt())
    else:
        why = (
            f"{n_central} of {len(true)} items lie exactly at the mean of the true latents, own "
            f"or mapped, and have no direction from there"
        )
        scores |= undefined("latent/cosine", why)
    return scores


def _sums(true: Tensor, mapped: Tensor, with_gram: bool) -> _Sums:
    parts = true.split(_COLUMNS, dim=1), mapped.split(_COLUMNS, dim=1)
    with one_thread_each() as pool:
        return reduce(add, pool.map(partial(_Sums.of, with_gram=with_gram), *parts))


@dataclass(frozen=True, eq=False)
class _Sums:
    """Sums over dimensions that all scores are functions of, float64.

    Attributes:
        items: Shape (5, n), by row |z - z_hat|^2, |c|^2, |h|^2 and c h, where c and h are true
            and mapped latents less the mean of the true ones, and the item's part in the sum of
            error over variance.
        spread: Sum of |c|^2, exactly 0 for equal items.
        n_varying: Dimensions that vary.
        gram: c c^T, shape (n, n); (0, 0) without `with_gram`.
    """

    items: Tensor
    spread: float
    n_varying: int
    gram: Tensor

    def __add__(self, other: _Sums) -> _Sums:
        """Return the sums over both parts of the dimensions."""
        return _Sums(
            self.items + other.items,
            self.spread + other.spread,
            self.n_varying + other.n_varying,
            self.gram + other.gram,
        )

    @classmethod
    def of(cls, true: Tensor, mapped: Tensor, with_gram: bool) -> _Sums:
        """Sum over some of the columns."""
        n = len(true)
        items = torch.zeros(5, n, dtype=torch.float64)
        residual, squares, mapped_squares, products, normalised = items.unbind()
        gram = torch.zeros(*(2 * [n if with_gram else 0]), dtype=torch.float64)
        spread, n_varying = 0.0, 0
        rounding = torch.finfo(true.dtype).eps
        for z, z_hat in zip(column_blocks(true), column_blocks(mapped), strict=True):
            c, h = centred(z, z), centred(z_hat, z)
            if with_gram:
                gram.addmm_(c, c.T)
            products += torch.linalg.vecdot(c, h)
            squares += torch.linalg.vecdot(c, c)
            mapped_squares += torch.linalg.vecdot(h, h)
            # The difference itself, not that of c and h: it keeps its digits when it is small.
            error, square = (z - z_hat).square_(), c.square_()
            residual += error.sum(dim=1)
            spread += float(square.sum())
            variance = square.sum(dim=0) / max(1, n - 1)
            varying = variance.sqrt() > rounding * z.abs().amax(dim=0)
            n_varying += int(varying.sum())
            normalised += _parts(error, square, torch.where(varying, variance, torch.inf))
        return cls(items, spread, n_varying, gram)


def ratio_weights(square: Tensor, variance: Tensor) -> Tensor:
    """Return weights by which squared errors make unbiased ratios of mean error to variance.

    The mean over items of weighted errors is E/V less its bias in order 1 / n, which is
    (E var(V) / V - cov(E, V)) / V^2 by the expansion of the ratio.

    Args:
        square: Squares about the mean of the items, shape (n, d).
        variance: Unbiased, shape (d,); infinite for dimensions of weight 0.

    Returns:
        Shape (n, d).
    """
    n = len(square)
    unbiased = n / max(1, n - 1)
    fourth = square.square().mean(dim=0) * unbiased**2
    both = square * (unbiased / n / variance.square())
    return both.add_(1 / variance - fourth / variance**3 / n)


def _parts(error: Tensor, square: Tensor, variance: Tensor) -> Tensor:
    """Return each item's part in the sum over dimensions of mean error / variance, (n,).

    The mean of the parts is that sum. Their mean on a resample follows it to first order:
    E'/V' ~ E/V + (E' - E)/V - (E/V) (V' - V)/V.
    """
    n = len(square)
    ratio = error.mean(dim=0) / variance
    total = (error * ratio_weights(square, variance)).sum() / n
    return error @ (1 / variance) - n / max(1, n - 1) * (square @ (ratio / variance)) + total


def _r2(sums: _Sums, resamples: Resamples) -> Estimate:
    residual, n = sums.items[0], sums.items.shape[1]
    value = r2_of(float(residual.sum()), sums.spread, n)
    if not resamples.n_bootstrap:
        return Estimate(value)
    gram, squares = sums.gram, sums.gram.diagonal()
    enlarged = n / max(1, n - 1)

    def of_weights(weights: Tensor) -> Tensor:
        about_all, size = weights @ squares, weights.sum(dim=1)
        spread = about_all - ((weights @ gram) * weights).sum(dim=1) / size
        spread = spread.where(spread > _ROUNDING * about_all, torch.nan)
        return 1 - (weights @ residual) / size / (spread / (size - 1) * enlarged)

    # The value from its own sums: in that of the Gram matrix a constant column leaves noise.
    return replace(resamples.of_weights(of_weights), value=value)


def r2_of(error: float, spread: float, n: int) -> float:
    """Return the R2 of n items, the one definition of all measures called R2 on test items.

    Args:
        error: Sum of squared errors over items and dimensions.
        spread: Sum of squares about the items' own mean, > 0.
        n: Number of items, at least 2.
    """
    return 1 - (error / n) / (spread / (n - 1))


def _check(true: Tensor, mapped: Tensor, resamples: Resamples | None) -> None:
    if true.ndim != 2 or true.shape != mapped.shape or true.numel() == 0:
        raise ValueError(
            f"latent scores need two sets of one shape (n, D) with n, D >= 1, got "
            f"{tuple(true.shape)} for the true and {tuple(mapped.shape)} for the mapped latents: "
            f"encode both from the same split"
        )
    if resamples is not None and resamples.n_items != len(true):
        raise ValueError(
            f"there are {len(true)} latents but resamples of {resamples.n_items} items: take "
            f"both from the same split"
        )
    require_finite(true, "the true latents")
    require_finite(mapped, "the mapped latents")
