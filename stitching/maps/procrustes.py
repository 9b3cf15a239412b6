"""Orthogonal Procrustes with scale and translation."""

import torch
from torch import Tensor

from stitching.maps.base import AffineMap, dtype_carrier
from stitching.maps.factorisation import Factorisation
from stitching.maps.matrix import blocks, centred, column_mean


class Procrustes(AffineMap):
    """A rotation or reflection with one scale and a shift: two spaces of the same shape.

    Minimises sum_i |c Q s_i + b - t_i|^2 over orthogonal Q, c >= 0 and b. With S and T centred
    and S'T = L diag(v) R', Q = R L' and c = sum(v) / |S Q'|^2.

    Unequal widths: the narrower space is padded with zero columns, and of the orthogonal matrix
    found there the block between the two spaces is kept. Its columns are orthonormal where the
    target is the wider one, its rows where the source is. The scale is the least-squares one for
    that block, not for the padding.

    Directions that the training items do not show map to nothing: those in which a space does not
    vary, all but N - 1 where both are wider than that, and any whose singular value v is below
    max(N, D_s, D_t) * eps of the largest, which is rounding. Q is then a partial isometry, and
    `rank` in the summary, its number of directions, is less than the smaller width.

    A space wider than N is first rotated into the N coordinates that its items span, by a QR
    decomposition, which keeps the directions orthonormal where a Gram matrix would lose the weak
    ones. Q is kept as two factors with `rank` orthonormal columns each. All in float64.

    The summary also has `scale`, the factor c: 0 without a direction to choose it from.

    Args:
        scale: Choose the scale c; otherwise it is 1, and distances do not change.

    Source: Schönemann (1966), doi:10.1007/BF02289451; scale and translation: Gower (1975),
    doi:10.1007/BF02291478
    """

    name = "procrustes"

    def __init__(self, scale: bool = True) -> None:
        super().__init__()
        self.scale = scale

    def _fit(self, source: Tensor, target: Tensor, factorisation: Factorisation | None) -> None:
        means = column_mean(source), column_mean(target)
        source_rows, source_basis = _row_space(centred(source, means[0]))
        target_rows, target_basis = _row_space(centred(target, means[1]))
        left, values, right = torch.linalg.svd(source_rows.T @ target_rows, full_matrices=False)
        rank = _rank(values, source, target)
        left, right = left[:, :rank], right[:rank].T
        energy = float((source_rows @ left).square().sum())
        factor = 1.0
        if self.scale:
            factor = float(values[:rank].sum()) / energy if rank else 0.0
        self._tensors = {
            "source_mean": means[0],
            "target_mean": means[1],
            # In the layout of a file, so that a map that was read back predicts to the bit alike.
            "inward": (left if source_basis is None else source_basis @ left).contiguous(),
            "outward": (right if target_basis is None else target_basis @ right).contiguous(),
            "scale": values.new_tensor(factor),
            "like": dtype_carrier(target),
        }
        # Two items are one difference each, and a rotated, scaled difference can be any other.
        through = self.scale and source.shape[0] == 2 and rank == 1
        self._measure(source, target, rank=rank, interpolates=int(through), scale=factor)

    @property
    def weight(self) -> Tensor:
        """W = c Q, shape (D_t, D_s), formed on demand."""
        self._require_fit()
        inward, outward = self._tensors["inward"], self._tensors["outward"]
        out = self._tensors["like"].new_empty(outward.shape[0], inward.shape[0])
        for rows in blocks(out.shape[0]):
            out[rows] = (self._tensors["scale"] * outward[rows] @ inward.T).to(out)
        return out

    def _predict_rows(self, source: Tensor) -> Tensor:
        kept = self._tensors
        part = centred(source, kept["source_mean"]) @ kept["inward"]
        return (part @ (kept["scale"] * kept["outward"].T) + kept["target_mean"]).to(kept["like"])


def _row_space(x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return C (N, K) and orthonormal columns B (D, K) with x = C B'; B is None for D <= N."""
    if x.shape[1] <= x.shape[0]:
        return x, None
    basis, upper = torch.linalg.qr(x.T)
    return upper.T, basis


def _rank(values: Tensor, source: Tensor, target: Tensor) -> int:
    """Count singular values above rounding; centred rows span at most N - 1 directions."""
    n = source.shape[0]
    floor = max(n, source.shape[1], target.shape[1]) * torch.finfo(values.dtype).eps
    return min(n - 1, int((values > floor * values[0]).sum()))
