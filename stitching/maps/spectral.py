"""Base of the maps that are solved in the singular basis of the source."""

import warnings
from abc import abstractmethod
from typing import NamedTuple, Self

import torch
from torch import Tensor

from stitching.maps.base import Map, Summary, checked_pair, dtype_carrier
from stitching.maps.factorisation import Factorisation, factorise
from stitching.maps.matrix import BLOCK, Rows, blocks, centred
from stitching.maps.selection import Problem

#: A fit interpolates when at most this share of its N - 1 degrees of freedom is left over.
INTERPOLATION_SHARE = 1e-6


class InterpolationWarning(UserWarning):
    """The map passes through every training item, so its training error means nothing."""


class Choice(NamedTuple):
    """Penalties that a map settled on.

    Attributes:
        alpha: One for all targets, shape (1,), or one for each, shape (D_t,).
        score: Cross-validation score per element, mean over targets.
        how: Way of choosing, "fixed" without one.
        at_edge: The `at_edge` flag of `Map.summary`.
        curve: Tensors `alphas`, `scores` and `edges` of what was tried; empty when nothing was.
    """

    alpha: Tensor
    score: float
    how: str
    at_edge: int | None
    curve: dict[str, Tensor]


class SpectralMap(Map):
    """Base of maps solved in the singular basis of the source; subclasses choose the penalty.

    In the dual form (D_s > N) the map keeps a copy of its training source and predicts through
    the kernel between test and training items.

    Args:
        chunk: Read so many rows of latents at a time, in fits on more images than memory holds,
            or None: latents are tensors in memory.

    Raises:
        ValueError: `chunk` < 1.
    """

    uses_factorisation = True

    def __init__(self, chunk: int | None = None) -> None:
        super().__init__()
        if chunk is not None and chunk < 1:
            raise ValueError(f"map.chunk must be >= 1 rows, or null for all at once, got {chunk}")
        self.chunk = chunk
        self._basis: Factorisation | None = None

    @abstractmethod
    def _choose(self, problem: Problem) -> Choice:
        """Choose the penalty for a target."""

    def fit(self, source: Rows, target: Rows, factorisation: Factorisation | None = None) -> Self:
        """Fit on paired latents, see `Map.fit`.

        Warns:
            InterpolationWarning: The map passes through every training item.
            PenaltyEdgeWarning: The best penalty is an end of the grid.
        """
        source, target = checked_pair(source, target, self.chunk)
        if factorisation is not None:
            if self.chunk is not None and factorisation.chunk is None:
                raise ValueError(
                    f"map.chunk={self.chunk} streams latents, but their factorisation was made "
                    "with chunk=None, in memory: make it with factorise(source, chunk)"
                )
            factorisation.check(source)
        basis = factorisation or factorise(source, self.chunk)
        problem = Problem.of(basis, source, target)
        choice = self._choose(problem)
        self._facts = self._describe(problem, choice)
        coefficients = problem.rotated  # its memory serves again
        coefficients *= _narrowed(basis.shrinkage(choice.alpha), coefficients.dtype)
        self._basis = basis
        self._tensors = basis.to_tensors() | choice.curve
        self._tensors |= {
            "alpha": choice.alpha,
            "coefficients": coefficients,
            "target_mean": problem.mean,
            "like": dtype_carrier(target),
        }
        if basis.dual:
            assert isinstance(source, Tensor)
            # A copy: writing to the caller's tensor later must not change predictions.
            self._tensors["source"] = basis.keep(source)
        self._finish()
        if self._facts["interpolates"] and not choice.at_edge:
            warnings.warn(
                f"map={self.name} passes through all {basis.n_train} training items (source width "
                f"{basis.width}, rank {basis.rank}): its training error means nothing, judge it "
                f"on test items; use map=ridge with map.alpha=null, or more training items",
                InterpolationWarning,
                stacklevel=2,
            )
        return self

    def _finish(self) -> None:
        """Work on the fitted tensors and facts before anything is said of them."""

    def predict(self, source: Tensor) -> Tensor:
        """Map latents of shape (n, D_s) to shape (n, D_t), see `Map.predict`."""
        source = self._checked_input(source)
        mean = self._tensors["target_mean"]
        out = self._tensors["like"].new_empty(source.shape[0], mean.shape[0])
        for rows, coordinates in self._coordinates(source):
            for cols in blocks(mean.shape[0]):
                moved = self._expand(coordinates, cols).double()
                out[rows, cols] = (moved + mean[cols]).to(out)
        return out

    def _coordinates(self, source: Tensor) -> "list[tuple[slice, Tensor]]":
        """Latents in the source's singular basis, some rows at a time, as `coefficients` are."""
        basis, anchors = self._restored(), self._tensors.get("source")
        dtype, n = self._tensors["like"].dtype, source.shape[0]
        if n <= BLOCK:
            return [(slice(0, n), basis.coordinates(source, anchors).to(dtype))]
        return [(rows, basis.coordinates(source[rows], anchors).to(dtype)) for rows in blocks(n)]

    def _expand(self, coordinates: Tensor, cols: slice) -> Tensor:
        """Centred predictions, shape (n, columns), from coordinates (n, K)."""
        return coordinates @ self._columns(cols)

    def _columns(self, cols: slice) -> Tensor:
        """Coefficients of some target columns, shape (K, columns)."""
        return self._tensors["coefficients"][:, cols]

    def _restored(self) -> Factorisation:
        """The factorisation of the fit, or of the file that the map was read from."""
        self._require_fit()
        if self._basis is None:
            self._basis = Factorisation.from_tensors(self._tensors)
        return self._basis

    @property
    def alpha_(self) -> Tensor:
        """Penalty used, shape (1,) or, one per target, (D_t,), float64."""
        self._require_fit()
        return self._tensors["alpha"]

    @property
    def weight(self) -> Tensor:
        """W, shape (D_t, D_s), formed on demand: 0.6 GB for 12,288 x 12,288 in float32."""
        basis, anchors = self._restored(), self._tensors.get("source")
        out = self._tensors["like"].new_empty(self._tensors["target_mean"].shape[0], basis.width)
        for cols in blocks(out.shape[0]):
            columns = self._columns(cols).double()
            if anchors is None:
                out[cols] = (columns.T @ basis.eigenvectors.T).to(out)
                continue
            loadings = columns.T @ (basis.eigenvectors * basis.inverse_root()).T
            for part in blocks(basis.width):
                out[cols, part] = (loadings @ centred(anchors[:, part], basis.mean[part])).to(out)
        return out

    @property
    def bias(self) -> Tensor:
        """Intercept b, shape (D_t,): the prediction for the zero latent."""
        self._require_fit()
        return self.predict(torch.zeros_like(self._tensors["mean"])[None])[0]

    def _describe(self, problem: Problem, choice: Choice) -> Summary:
        """Work out the facts of `Map.summary` in the singular basis, predicting nothing."""
        basis, alpha = problem.basis, choice.alpha
        left = basis.residual_filter(alpha)
        if basis.residual_rank == 0:
            left = left * alpha
        if alpha.shape[0] == 1:
            energy, outside = problem.pooled
            rss = float(left[:, 0].square() @ energy) + outside
        else:
            parts = problem.energies()
            rss = sum(float((left[:, c].square() * e).sum() + o.sum()) for c, e, o in parts)
        n, width = basis.n_train, problem.total.shape[0]
        dof, sum_of_squares = basis.degrees_of_freedom(alpha), float(problem.total.sum())
        spare = float((n - 1 - dof).min())
        return {
            "map": self.name,
            "alpha": float(alpha.median()),
            "selection": choice.how,
            "dof": float(dof.mean()),
            "rank": basis.rank,
            "condition": basis.condition(float(alpha.median())),
            "n_train": n,
            "d_source": basis.width,
            "d_target": width,
            "train_r2": 1 - rss / sum_of_squares if sum_of_squares > 0 else None,
            "train_mse": rss / (n * width),
            "cv_mse": choice.score,
            "interpolates": int(spare <= INTERPOLATION_SHARE * (n - 1)),
            "at_edge": choice.at_edge,
        }


def _narrowed(factors: Tensor, dtype: torch.dtype) -> Tensor:
    """Factors in a narrower type, in which products are faster, unless one leaves its range."""
    narrow = factors.to(dtype)
    normal = narrow.isfinite() & (narrow.abs() >= torch.finfo(dtype).tiny)
    return narrow if bool((normal | (factors == 0)).all()) else factors
