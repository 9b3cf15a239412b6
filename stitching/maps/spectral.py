"""Base of the maps that are solved in the singular basis of the source."""

import warnings
from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from stitching.maps.base import AffineMap, dtype_carrier
from stitching.maps.factorisation import Factorisation, factorise
from stitching.maps.facts import Summary, training_facts
from stitching.maps.flatness import OtherPenalty
from stitching.maps.groups import leave_groups_out
from stitching.maps.matrix import Rows, blocks, centred
from stitching.maps.selection import Problem

#: A fit interpolates when at most this share of its N - 1 degrees of freedom is left over.
INTERPOLATION_SHARE = 1e-6


class InterpolationWarning(UserWarning):
    """The map passes through every training item, so its training error means nothing."""


class Choice(NamedTuple):
    """Penalties that a map chose.

    Attributes:
        alpha: One for all targets, shape (1,), or one for each, shape (D_t,).
        score: Cross-validation score per element, mean over targets.
        how: How they were chosen, "fixed" without a choice.
        at_edge: The `at_edge` flag of `Map.summary`.
        curve: Tensors `alphas`, `scores` and `edges` of the grid; empty without a choice.
        other: A penalty that scores as well with another map; None without one.
        examined: Whether such a penalty was looked for.
    """

    alpha: Tensor
    score: float
    how: str
    at_edge: int | None
    curve: dict[str, Tensor]
    other: OtherPenalty | None = None
    examined: bool = False


class SpectralMap(AffineMap):
    """Base of maps solved in the singular basis of the source; subclasses choose the penalty.

    In the dual form (D_s > N) the map keeps a copy of its training source and predicts through
    the kernel between test and training items.

    Args:
        chunk: Rows of latents read at a time, in fits on more images than memory holds, or None:
            latents are tensors in memory.

    Raises:
        ValueError: `chunk` < 1.
    """

    uses_factorisation = True

    #: Whether predictions are linear in the training targets, so that `without_groups` holds.
    linear_smoother: ClassVar[bool] = True

    def __init__(self, chunk: int | None = None) -> None:
        super().__init__()
        if chunk is not None and chunk < 1:
            raise ValueError(f"map.chunk must be >= 1 rows, or null for all at once, got {chunk}")
        self.chunk = self._chunk = chunk
        self._basis: Factorisation | None = None

    @abstractmethod
    def _choose(self, problem: Problem) -> Choice:
        """Choose the penalty for a target."""

    def _fit(self, source: Rows, target: Rows, factorisation: Factorisation | None) -> None:
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
        coefficients = problem.rotated  # reuses its memory
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
                stacklevel=3,
            )

    def _finish(self) -> None:
        """Change the fitted tensors and facts at the end of a fit; a hook for subclasses."""

    def _predict_rows(self, source: Tensor) -> Tensor:
        return self._expand(self._coordinates(source), self._tensors["coefficients"])

    def without_groups(
        self, source: Tensor, target: Tensor, latents: Tensor, groups: Tensor
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield the change of predictions when the map is refitted without each group of items.

        The penalty is that of the fit. See `groups.leave_groups_out`.

        Args:
            source: Training latents of the fit, shape (N, D_s).
            target: Targets of the fit, shape (N, D_t).
            latents: Latents to predict from, shape (n, D_s).
            groups: Group of each training item, shape (N,), int64.

        Yields:
            The group, and the change of the predictions, shape (n, D_t).

        Raises:
            ValueError: The map is not linear in its targets, not fitted, or streams latents; or
                `leave_groups_out` fails.
        """
        if not self.linear_smoother:
            raise ValueError(f"refits of map={self.name} have no closed form: fit it again")
        return leave_groups_out(
            self._restored(), self.alpha_, source, target, latents, groups,
            self._tensors["coefficients"],
        )  # fmt: skip

    def _coordinates(self, source: Tensor) -> Tensor:
        """Latents in the singular basis of the source, shape (n, K), in the dtype of products."""
        found = self._restored().coordinates(source, self._tensors.get("source"))
        return found.to(self._tensors["like"])

    def _expand(self, coordinates: Tensor, coefficients: Tensor) -> Tensor:
        """Predictions (n, D_t) from coordinates (n, k) and their coefficients (k, D_t)."""
        mean = self._tensors["target_mean"]
        out = self._tensors["like"].new_empty(coordinates.shape[0], mean.shape[0])
        for cols in blocks(mean.shape[0]):
            moved = (coordinates @ coefficients[:, cols]).double()
            out[:, cols] = (moved + mean[cols]).to(out)
        return out

    def _columns(self, cols: slice) -> Tensor:
        """Coefficients of some target columns, shape (K, columns)."""
        return self._tensors["coefficients"][:, cols]

    def _restored(self) -> Factorisation:
        """The factorisation of the fit, or of the file of the map."""
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
        """W, shape (D_t, D_s), formed on demand."""
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

    def _describe(self, problem: Problem, choice: Choice) -> Summary:
        """Compute the facts of `Map.summary` in the singular basis, without predictions."""
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
        other = choice.other._asdict() if choice.other else {}
        return training_facts(
            self.name,
            (n, basis.width, width),
            rss,
            sum_of_squares,
            alpha=float(alpha.median()),
            selection=choice.how,
            dof=float(dof.mean()),
            rank=basis.rank,
            condition=basis.condition(float(alpha.median())),
            cv_mse=choice.score,
            interpolates=int(spare <= INTERPOLATION_SHARE * (n - 1)),
            at_edge=choice.at_edge,
            flat=int(choice.other is not None) if choice.examined else None,
            **{f"flat_{key}": value for key, value in other.items()},
        )


def _narrowed(factors: Tensor, dtype: torch.dtype) -> Tensor:
    """Factors in a narrower type, for faster products, unless one leaves its range."""
    narrow = factors.to(dtype)
    normal = narrow.isfinite() & (narrow.abs() >= torch.finfo(dtype).tiny)
    return narrow if bool((normal | (factors == 0)).all()) else factors
