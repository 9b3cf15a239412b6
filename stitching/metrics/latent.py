"""How close mapped latents are to the target's own latents of the same images."""

import math

import torch
from torch import Tensor

from stitching.metrics.base import require_finite, sum_of_squares


def latent_scores(true: Tensor, mapped: Tensor) -> dict[str, float | str | None]:
    """Score mapped latents against the target model's own latents.

    ``latent/mse`` is the mean of (z - z_hat)^2 over items and dimensions, in squared units of
    the target space and so not comparable between targets; ``latent/rmse`` is its root.
    ``latent/r2`` is comparable: 1 - sum (z - z_hat)^2 / sum (z - mean z)^2 with both sums pooled
    over all items and dimensions and the mean taken per dimension over these same items. It
    equals scikit-learn's ``r2_score(multioutput="variance_weighted")``: 1 is perfect, 0 is the
    mean predictor, and there is no lower bound.

    Args:
        true: Shape (N, D), the target's own latents.
        mapped: Shape (N, D), mapped latents, row i from the same image as true row i.

    Returns:
        The three scores. If the true latents do not vary over the items (N = 1, or a constant
        encoder) R2 is undefined: ``latent/r2`` is None and ``latent/r2_missing`` says why.

    Raises:
        ValueError: Shapes differ or are empty, or a value is not finite (the rows are named).
    """
    if true.ndim != 2 or true.shape != mapped.shape or true.numel() == 0:
        raise ValueError(
            f"latent scores need two sets of one shape (N, D) with N, D >= 1, got "
            f"{tuple(true.shape)} for the true and {tuple(mapped.shape)} for the mapped latents: "
            f"encode both from the same split"
        )
    require_finite(true, "the true latents")
    require_finite(mapped, "the mapped latents")
    true = true.detach().cpu()
    mapped = mapped.detach().cpu()
    residual = sum_of_squares(true, mapped)
    mse = residual / true.numel()
    scores: dict[str, float | str | None] = {
        "latent/mse": mse,
        "latent/rmse": math.sqrt(mse),
    }
    spread = _spread(true)
    if spread > 0:
        scores["latent/r2"] = 1 - residual / spread
    else:
        scores["latent/r2"] = None
        scores["latent/r2_missing"] = (
            f"the true latents of the {len(true)} items are all equal, so R2 is undefined"
        )
    return scores


def _spread(z: Tensor) -> float:
    """Sum (z - mean z)^2 over items and dimensions, in float64, in chunks of dimensions."""
    total = 0.0
    for columns in torch.split(z, max(1, 2**22 // len(z)), dim=1):
        # Relative to the first item: a constant column is then exactly 0, not rounding noise,
        # and a large common offset costs no digits.
        shifted = columns.double() - columns[:1].double()
        total += float((shifted - shifted.mean(dim=0)).square().sum())
    return total
