"""Reduced-rank regression: the ridge map through a bottleneck, for every rank at once."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from stitching.compute.linalg import eigh
from stitching.maps.matrix import blocks, centred
from stitching.maps.ridge import Ridge
from stitching.maps.selection import Selection
from stitching.maps.spectral import SpectralMap

#: Share of the sum of squared singular values of W that `rank_90` directions reach.
SHARE = 0.9


class ReducedRank(Ridge):
    """The ridge map of a given rank, from one fit for all ranks.

    Minimises the objective of `Ridge` among maps W of rank r: the ridge map, projected on the
    first r principal directions of its fitted values, where these carry the penalty too. With all
    directions it is the ridge map. The penalty is chosen for full rank.

    The summary also has `map_rank`, the rank in use, and `rank_90`, the rank of W up to which the
    squares of its singular values sum to 90 % of their total.

    Args:
        rank: Largest rank, >= 1, or None for all. Where the data have fewer directions, all of
            them are used.

    The other arguments are those of `Ridge`.

    Raises:
        ValueError: A value out of range.

    Example:
        >>> fitted = ReducedRank(64).fit(source, target)
        >>> errors = fitted.errors_by_rank(test_source, test_target)  # of ranks 0 to 64

    Source: Izenman (1975), doi:10.1016/0047-259X(75)90042-1; with a penalty: Mukherjee and Zhu
    (2011), doi:10.1002/sam.10138
    """

    name = "reduced_rank"
    #: Its directions depend on the training targets.
    linear_smoother = False
    #: One penalty, as the directions are common to all targets.
    alpha_per_target = False

    def __init__(
        self,
        rank: int | None = 64,
        alpha: float | None = None,
        alphas: Sequence[float] | None = None,
        n_alphas: int = 100,
        selection: Selection = "gcv",
        n_folds: int = 5,
        chunk: int | None = None,
        flat_tolerance: float = 0.02,
    ) -> None:
        super().__init__(
            alpha, alphas, n_alphas, selection, n_folds, chunk=chunk, flat_tolerance=flat_tolerance
        )
        del self.alpha_per_target  # no setting here
        if rank is not None and rank < 1:
            raise ValueError(f"map.rank must be >= 1, or null for full rank, got {rank}")
        self.rank = rank

    @classmethod
    def of(cls, fitted: SpectralMap) -> Self:
        """Return a fitted ridge or least-squares map with its directions sorted.

        Raises:
            ValueError: Not fitted, or with a penalty of its own for each target.
        """
        if isinstance(fitted, cls):
            return fitted
        if fitted.alpha_.shape[0] > 1:
            raise ValueError(
                "a map with a penalty for each target has no order of directions: use "
                "map.alpha_per_target=false"
            )
        made = cls(None, alpha=float(fitted.alpha_), chunk=fitted.chunk)
        made._basis = fitted._restored()
        made._tensors, made._facts = dict(fitted._tensors), fitted.summary() | {"map": cls.name}
        made._finish()
        return made

    def predict(self, source: Tensor, rank: int | None = None) -> Tensor:
        """Map latents, see `Map.predict`.

        Args:
            source: Shape (n, D_s).
            rank: Use the map of this rank, from 0 (the mean) to `max_rank`; None: the map's own.

        Raises:
            ValueError: The rank is out of range; and as `Map.predict`.
        """
        source = self._checked_input(source)
        if rank is not None and not 0 <= rank <= self.max_rank:
            raise ValueError(f"rank must lie between 0 and {self.max_rank}, got {rank}")
        return self._in_blocks(source, lambda part: self._predict_rows(part, rank))

    def _predict_rows(self, source: Tensor, rank: int | None = None) -> Tensor:
        low = self._coordinates(source) @ self._tensors["loadings"][:, :rank]
        return self._expand(low, self._tensors["directions"][:, :rank].T)

    @property
    def max_rank(self) -> int:
        """Number of directions that the fit kept."""
        self._require_fit()
        return self._tensors["directions"].shape[1]

    def errors_by_rank(self, source: Tensor, target: Tensor) -> Tensor:
        """Return the mean squared error per element of the map of each rank.

        All ranks cost one prediction, as the directions are orthonormal.

        Args:
            source: Shape (n, D_s), such as test latents.
            target: Shape (n, D_t), the true target latents.

        Returns:
            Shape (`max_rank` + 1,), float64, from rank 0 (the training mean) on.
        """
        source, mean = self._checked_input(source), self._tensors["target_mean"]
        if tuple(target.shape) != (source.shape[0], mean.shape[0]):
            raise ValueError(
                f"target must have shape {(source.shape[0], mean.shape[0])}, one row for each of "
                f"the source, got {tuple(target.shape)}"
            )
        directions, loadings = (self._tensors[key].double() for key in ("directions", "loadings"))
        gain = directions.new_zeros(self.max_rank)
        total = 0.0
        for rows in blocks(source.shape[0]):
            coordinates = self._coordinates(source[rows])
            truth = centred(target[rows], mean)
            along, moved = truth @ directions, coordinates.double() @ loadings
            gain += (2 * along * moved - moved.square()).sum(0)
            total += float(truth.square().sum())
        steps = torch.cat([gain.new_zeros(1), gain.cumsum(0)])
        return (total - steps) / target.numel()

    def _columns(self, cols: slice) -> Tensor:
        return self._tensors["loadings"] @ self._tensors["directions"][cols].T

    def _finish(self) -> None:
        """Replace coefficients C by C Q, Q the right singular vectors of diag(scale) C, sorted."""
        coefficients = self._tensors["coefficients"]
        k, width = coefficients.shape
        # Fitted values with their penalty: diag(sqrt(s^2 + alpha)) C.
        scale = (self._tensors["eigenvalues"] + self._tensors["alpha"]).sqrt()[:, None]
        gram = scale.new_zeros(min(k, width), min(k, width))
        if width <= k:
            for rows in blocks(k):
                part = coefficients[rows].double() * scale[rows]
                gram.addmm_(part.T, part)
        else:
            for cols in blocks(width):
                part = coefficients[:, cols].double() * scale
                gram.addmm_(part, part.T)
        squares, vectors = eigh(gram, overwrite=True)
        squares, vectors = squares.flip(0), vectors.flip(1)
        # Up to here the fitted values are rounding, which has no direction.
        rounding = max(torch.finfo(coefficients.dtype).eps ** 2, torch.finfo(torch.float64).eps)
        floor = max(k, width) * rounding * float(squares[0])
        kept = max(1, int((squares > floor).sum()))
        kept = min(kept, self.rank or kept)
        vectors = vectors[:, :kept]
        if width <= k:
            directions = vectors
        else:
            directions = vectors.new_empty(width, kept)
            weights = scale * vectors * squares[:kept].clamp(min=floor or 1.0).rsqrt()
            for cols in blocks(width):
                torch.mm(coefficients[:, cols].double().T, weights, out=directions[cols])
        loadings = vectors.new_zeros(k, kept)
        for cols in blocks(width):
            loadings += coefficients[:, cols].double() @ directions[cols]
        self._correct_facts(coefficients, loadings)
        values = torch.linalg.eigvalsh(loadings.T @ loadings).flip(0).clamp(min=0)
        self._facts["map_rank"] = kept
        self._facts["rank_90"] = rank_of_share(values, SHARE)
        del self._tensors["coefficients"]
        self._tensors["directions"] = directions.to(coefficients).contiguous()
        self._tensors["loadings"] = loadings.to(coefficients).contiguous()

    def _correct_facts(self, coefficients: Tensor, loadings: Tensor) -> None:
        """Replace facts of the ridge map by those of this one, whose training error is larger."""
        facts, k = self._facts, coefficients.shape[0]
        if loadings.shape[1] == min(k, coefficients.shape[1]):
            return
        # The residual sum of squares of a map C in these coordinates is |T|^2 less the sum of
        # (s^2 + 2 alpha) C^2.
        power = self._tensors["eigenvalues"] + 2 * self._tensors["alpha"]
        kept, reached = float(power @ loadings.square().sum(1)), 0.0
        for cols in blocks(coefficients.shape[1]):
            reached += float(power @ coefficients[:, cols].double().square().sum(1))
        size = int(facts["n_train"] or 0) * coefficients.shape[1]
        total = float(facts["train_mse"] or 0) * size + reached
        facts["train_mse"] = (total - kept) / size
        facts["train_r2"] = kept / total if total > 0 else None
        # The penalty alone no longer defines them.
        facts["dof"] = facts["cv_mse"] = None
        facts["interpolates"] = 0


def rank_of_share(squares: Tensor, share: float) -> int:
    """Return how many of the squared singular values, descending, reach a share of their sum.

    0 for a map that is 0.
    """
    total = squares.sum()
    if not float(total) > 0:
        return 0
    return int((squares.cumsum(0) < share * total).sum()) + 1
