"""Relative representations, and the way back to a space."""

import torch
from torch import Tensor

from stitching.maps.base import Map, dtype_carrier, require_at_least
from stitching.maps.factorisation import Factorisation
from stitching.maps.matrix import blocks, centred, column_mean


class Relative(Map):
    """Similarities to anchors, carried over from one space and undone in the other.

    Anchors are k training images, rows floor(i N / k) for i = 0, ..., k - 1. With latents centred
    by their training means and u(x) = x / |x|, a source latent s is mapped in three steps:

    1. r = u(A_s) u(s), its cosines with the k source anchors: the relative representation.
    2. y = pinv(u(A_t)) r, the shortest least-squares solution of u(A_t) y = r: the latent whose
       cosines with the target's anchors are closest to r.
    3. z = rho u(y) + mean of the target, with rho the mean norm of centred training targets.

    Cosines contain no length, so all mapped latents have the same one; the paper leaves lengths to
    decoders that ignore them, which those of generative models do not. A latent that equals the
    mean has no direction: its cosines are taken as 0, and it maps to the mean. No target latent
    but the anchors', and nothing of the targets of other items but mean and mean norm, is used.

    The two models disagree on each cosine by some delta, and pinv amplifies that to delta / v in
    the direction of singular value v of u(A_t), where unit vectors themselves only measure about
    v / sqrt(k): directions of small v are noise, not image. Those with v at or below `cutoff`
    times the largest are dropped; `rank` in the summary is the number kept.

    Args:
        n_anchors: Number k of anchors, at least 1, at most the number of training items.
        cutoff: Singular values of the target's anchors to drop, 0 <= cutoff < 1, as a part of
            the largest. Between the zoo's vae, vqvae and nf, 0.2 had the least error on test
            items, or close to it, of values from 0.01 to 0.4.

    Raises:
        ValueError: A value outside the ranges above; in `fit`, fewer items than anchors.

    Source: Moschella et al. (2023), arXiv 2209.15430; inverse: Maiorca et al. (2024), arXiv
    2406.15057
    """

    name = "relative"

    def __init__(self, n_anchors: int = 512, cutoff: float = 0.2) -> None:
        super().__init__()
        require_at_least("map", 1, n_anchors=n_anchors)
        if not 0 <= cutoff < 1:
            raise ValueError(f"map.cutoff must be >= 0 and < 1, got {cutoff}")
        self.n_anchors = n_anchors
        self.cutoff = cutoff

    def _fit(self, source: Tensor, target: Tensor, factorisation: Factorisation | None) -> None:
        n = source.shape[0]
        if self.n_anchors > n:
            raise ValueError(
                f"map.n_anchors={self.n_anchors} but there are {n} training items: set "
                f"map.n_anchors={n} or less, or raise data.n_train"
            )
        chosen = torch.arange(self.n_anchors, device=source.device) * n // self.n_anchors
        means = column_mean(source), column_mean(target)
        anchors = _unit(centred(target[chosen], means[1]))
        left, values, right = torch.linalg.svd(anchors, full_matrices=False)
        # eps * k is what rounding alone leaves of a zero, the floor of any cutoff.
        floor = max(self.cutoff, torch.finfo(values.dtype).eps * max(anchors.shape))
        rank = int((values > floor * values[0]).sum())
        norms = [centred(target[rows], means[1]).norm(dim=1) for rows in blocks(n)]
        self._tensors = {
            "source_mean": means[0],
            "target_mean": means[1],
            "anchors": _unit(centred(source[chosen], means[0])),
            # In the layout of a file, so that a map that was read back predicts to the bit alike.
            "solve": (left[:, :rank] / values[:rank]).contiguous(),
            "directions": right[:rank].contiguous(),
            "length": torch.cat(norms).mean(),
            "like": dtype_carrier(target),
        }
        self._measure(source, target, rank=rank)

    def _predict_rows(self, source: Tensor) -> Tensor:
        kept = self._tensors
        cosines = _unit(centred(source, kept["source_mean"])) @ kept["anchors"].T
        # Rows of `directions` are orthonormal: y has the length of its coordinates.
        direction = _unit(cosines @ kept["solve"]) @ kept["directions"]
        return (kept["length"] * direction + kept["target_mean"]).to(kept["like"])


def _unit(x: Tensor) -> Tensor:
    """Scale rows to length 1; zero rows stay zero."""
    norms = x.norm(dim=1, keepdim=True)
    return x / torch.where(norms > 0, norms, 1)
