"""Ridge regression and ordinary least squares in the eigenbasis of the source."""

import math
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor

from stitching.maps.base import Map, Summary, checked_pair, dtype_carrier
from stitching.maps.factorisation import Factorisation, blocks, centred, column_mean, factorise

#: Ends of the default penalty grid, in units of the largest eigenvalue of the centred Gram matrix.
#: At the lower end directions with a millionth of the strongest one's variance are still all but
#: unpenalised, while rounding (eps / 1e-10) stays near 2e-6; at the upper end the map is the mean
#: predictor to 1e-3.
GRID = (1e-10, 1e3)

#: A fit interpolates when at most this share of its N - 1 degrees of freedom is left over.
INTERPOLATION_SHARE = 1e-6


class PenaltyEdgeWarning(UserWarning):
    """The chosen penalty is the first or last of its grid, and the score still falls there."""


class InterpolationWarning(UserWarning):
    """The map passes through every training item, so its training error means nothing."""


class Choice(NamedTuple):
    """Penalties that a map settled on.

    Attributes:
        alpha: One for all targets, shape (1,), or one for each, shape (D_t,).
        score: Generalised cross-validation score per element, mean over targets.
        at_edge: The `at_edge` flag of `Map.summary`.
        curve: Tensors `alphas`, `gcv` and `edges` of what was tried; empty when nothing was.
    """

    alpha: Tensor
    score: float
    at_edge: int | None
    curve: dict[str, Tensor]


class SpectralMap(Map):
    """Base of maps solved in the eigenbasis of the source; subclasses choose the penalty.

    In the dual form (D_s > N) the map keeps a copy of its training source and predicts through
    the kernel between test and training items.
    """

    uses_factorisation = True

    @abstractmethod
    def _choose(self, basis: Factorisation, rotated: Tensor, total: Tensor) -> Choice:
        """Choose the penalty from a rotated target and its column sums of squares."""

    def fit(
        self, source: Tensor, target: Tensor, factorisation: Factorisation | None = None
    ) -> Self:
        """Fit on paired latents, see `Map.fit`.

        Warns:
            InterpolationWarning: The map passes through every training item.
            PenaltyEdgeWarning: The best penalty is an end of the grid.
        """
        source, target = checked_pair(source, target)
        if factorisation is not None:
            factorisation.check(source)
        basis = factorisation or factorise(source)
        mean = column_mean(target)
        rotated = mean.new_empty(basis.eigenvalues.shape[0], target.shape[1])
        total = torch.empty_like(mean)
        for cols in blocks(target.shape[1]):
            part = centred(target[:, cols], mean[cols])
            total[cols] = part.square().sum(0)
            rotated[:, cols] = basis.rotate(source, part)
        choice = self._choose(basis, rotated, total)
        self._facts = _describe(self.name, basis, rotated, total, choice)
        self._tensors = basis.to_tensors() | choice.curve
        self._tensors |= {
            "alpha": choice.alpha,
            "coefficients": rotated.mul_(basis.shrinkage(choice.alpha)),
            "target_mean": mean,
            "like": dtype_carrier(target),
        }
        if basis.dual:
            # A copy: writing to the caller's tensor later must not change predictions.
            self._tensors["source"] = source.clone()
        if self._facts["interpolates"] and not choice.at_edge:
            warnings.warn(
                f"map={self.name} passes through all {basis.n_train} training items (source width "
                f"{basis.width}, rank {basis.rank}): its training error means nothing, judge it "
                f"on test items; use map=ridge with map.alpha=null, or more training items",
                InterpolationWarning,
                stacklevel=2,
            )
        return self

    def predict(self, source: Tensor) -> Tensor:
        """Map latents of shape (n, D_s) to shape (n, D_t), see `Map.predict`."""
        source = self._checked_input(source)
        basis, anchors = Factorisation.from_tensors(self._tensors), self._tensors.get("source")
        coefficients, mean = self._tensors["coefficients"], self._tensors["target_mean"]
        out = self._tensors["like"].new_empty(source.shape[0], mean.shape[0])
        for rows in blocks(source.shape[0]):
            coordinates = basis.coordinates(source[rows], anchors)
            for cols in blocks(mean.shape[0]):
                out[rows, cols] = (coordinates @ coefficients[:, cols] + mean[cols]).to(out)
        return out

    @property
    def alpha_(self) -> Tensor:
        """Penalty used, shape (1,) or, one per target, (D_t,), float64."""
        self._require_fit()
        return self._tensors["alpha"]

    @property
    def weight(self) -> Tensor:
        """W, shape (D_t, D_s), formed on demand: 0.6 GB for 12,288 x 12,288 in float32."""
        self._require_fit()
        basis, anchors = Factorisation.from_tensors(self._tensors), self._tensors.get("source")
        coefficients = self._tensors["coefficients"]
        out = self._tensors["like"].new_empty(coefficients.shape[1], basis.width)
        for cols in blocks(coefficients.shape[1]):
            loadings = coefficients[:, cols].T @ basis.eigenvectors.T
            if anchors is None:
                out[cols] = loadings.to(out)
                continue
            for part in blocks(basis.width):
                out[cols, part] = (loadings @ centred(anchors[:, part], basis.mean[part])).to(out)
        return out

    @property
    def bias(self) -> Tensor:
        """Intercept b, shape (D_t,): the prediction for the zero latent."""
        self._require_fit()
        return self.predict(torch.zeros_like(self._tensors["mean"])[None])[0]


class Ridge(SpectralMap):
    """Ridge regression, penalty by generalised cross-validation or fixed.

    Minimises sum_i |W s_i + b - t_i|^2 + alpha |W|^2; the intercept b is not penalised, alpha is
    not scaled by N.

    Without `alpha` the penalty is the best of a grid under the score of `Factorisation.gcv`,
    pooled over all target columns or, with `alpha_per_target`, for each alone. Ties go to the
    larger penalty. Penalties and scores stay readable as `alphas_` and `gcv_`.

    A source that does not vary leaves nothing to choose: the map is the mean of the target,
    whatever the penalty, and `alpha` is recorded as 0.

    Source: Hoerl and Kennard (1970), doi:10.1080/00401706.1970.10488634
    """

    name = "ridge"

    def __init__(
        self,
        alpha: float | None = None,
        alphas: Sequence[float] | None = None,
        n_alphas: int = 100,
        selection: str = "gcv",
        alpha_per_target: bool = False,
    ) -> None:
        """Describe the fit.

        Args:
            alpha: Fixed penalty in squared source units, >= 0, or None to choose one. 0 gives
                the minimum-norm least-squares map.
            alphas: The grid to choose from: at least 3 different values > 0, in any order. None
                spreads `n_alphas` values evenly in logarithm over `GRID` times the largest
                eigenvalue of the centred source's Gram matrix.
            n_alphas: Size of the default grid, at least 3.
            selection: How to choose; "gcv" is the only way so far.
            alpha_per_target: Choose for every target column alone.

        Raises:
            ValueError: A value outside the ranges above, or both `alpha` and `alphas`.
        """
        super().__init__()
        if alpha is not None and not 0 <= alpha < float("inf"):
            raise ValueError(f"map.alpha must be >= 0 and finite, got {alpha}")
        if alpha is not None and alphas is not None:
            raise ValueError(
                f"map.alpha={alpha} fixes the penalty that map.alphas offers a choice of: "
                "set one of them to null"
            )
        if alphas is not None:
            alphas = sorted({float(value) for value in alphas})
            if len(alphas) < 3 or not 0 < alphas[0] <= alphas[-1] < float("inf"):
                raise ValueError(
                    f"map.alphas must be at least 3 different finite values > 0, got {alphas}"
                )
        if n_alphas < 3:
            raise ValueError(f"map.n_alphas must be >= 3, got {n_alphas}")
        if selection != "gcv":
            raise ValueError(f'map.selection must be "gcv", got {selection!r}')
        self.alpha = alpha
        self.alphas = alphas
        self.n_alphas = n_alphas
        self.selection = selection
        self.alpha_per_target = alpha_per_target

    @property
    def alphas_(self) -> Tensor | None:
        """Penalties tried by the last fit, ascending, shape (A,), or None for a fixed one."""
        return self._tensors.get("alphas")

    @property
    def gcv_(self) -> Tensor | None:
        """Score of each of `alphas_` per element, shape (A,), or (A, D_t) with one per target."""
        return self._tensors.get("gcv")

    @property
    def edges_(self) -> Tensor | None:
        """Whether each choice is the lower (-1) or upper (1) end of the grid or inside (0).

        Shape as `alpha_`. An end counts only where its score is below its neighbour's.
        """
        return self._tensors.get("edges")

    def grid(self, basis: Factorisation) -> Tensor:
        """Return the penalties to try for a source, ascending, shape (A,), float64."""
        if self.alphas is not None:
            return basis.mean.new_tensor(self.alphas)
        # Any scale will do for a source that does not vary: all penalties score the same.
        top = float(basis.eigenvalues[-1]) or 1.0
        low, high = (math.log10(top) + math.log10(end) for end in GRID)
        return torch.logspace(low, high, self.n_alphas, dtype=torch.float64).to(basis.mean)

    def _choose(self, basis: Factorisation, rotated: Tensor, total: Tensor) -> Choice:
        if self.alpha is not None:
            return _fixed(basis, rotated, total, self.alpha)
        alphas = self.grid(basis)
        scores = _scores(basis, rotated, total, alphas, pooled=not self.alpha_per_target)
        # argmin takes the first of equals: look from the largest penalty down, so that the first
        # penalty wins only with the single best score, and the last also where all are equal.
        last = alphas.shape[0] - 1
        best = last - scores.flip(0).argmin(0)
        low = best == 0
        high = (best == last) & (scores[last] < scores[last - 1])
        _warn_edges(alphas, scores, low, high)
        alpha = alphas[best]
        return Choice(
            # Without a direction all penalties are one, and a grid without a scale means nothing.
            alpha=alpha if basis.rank > 0 else torch.zeros_like(alpha),
            score=float(scores.gather(0, best[None]).mean()),
            at_edge=int(bool((low | high).any())),
            curve={
                "alphas": alphas,
                "gcv": scores if self.alpha_per_target else scores[:, 0],
                "edges": high.int() - low.int(),
            },
        )


class OLS(SpectralMap):
    """Least squares; among equally good maps the one of smallest norm.

    Directions in which the source varies less than `Factorisation.tolerance` are taken as absent.
    With N <= rank + 1 the map passes through every training item, whatever the target: this is
    flagged in `summary` and warned of.
    """

    name = "ols"

    def _choose(self, basis: Factorisation, rotated: Tensor, total: Tensor) -> Choice:
        return _fixed(basis, rotated, total, 0.0)


def _energies(
    basis: Factorisation, rotated: Tensor, total: Tensor
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    for cols in blocks(total.shape[0]):
        yield cols, *basis.energies(rotated[:, cols], total[cols])


def _scores(
    basis: Factorisation, rotated: Tensor, total: Tensor, alphas: Tensor, *, pooled: bool
) -> Tensor:
    """Score penalties per element: shape (A, 1) over all targets, or (A, D_t) for each."""
    if not pooled:
        parts = [basis.gcv(alphas, e, out) for _, e, out in _energies(basis, rotated, total)]
        return torch.cat(parts, 1)
    energy, outside = torch.zeros_like(basis.eigenvalues), total.new_zeros(())
    for _, part, rest in _energies(basis, rotated, total):
        energy += part.sum(1)
        outside += rest.sum()
    return basis.gcv(alphas, energy[:, None], outside[None]) / total.shape[0]


def _fixed(basis: Factorisation, rotated: Tensor, total: Tensor, alpha: float) -> Choice:
    penalty = basis.mean.new_tensor([alpha])
    score = float(_scores(basis, rotated, total, penalty, pooled=True))
    return Choice(penalty, score, at_edge=None, curve={})


def _describe(
    name: str, basis: Factorisation, rotated: Tensor, total: Tensor, choice: Choice
) -> Summary:
    """Work out the facts of `Map.summary` in the eigenbasis, without predicting anything."""
    alpha, rss = choice.alpha, 0.0
    for cols, energy, outside in _energies(basis, rotated, total):
        penalty = alpha if alpha.shape[0] == 1 else alpha[cols]
        left = basis.residual_filter(penalty)
        if basis.residual_rank == 0:
            left = left * penalty
        rss += float((left.square() * energy).sum() + outside.sum())
    n, width = basis.n_train, total.shape[0]
    dof, sum_of_squares = basis.degrees_of_freedom(alpha), float(total.sum())
    spare = float((n - 1 - dof).min())
    return {
        "map": name,
        "alpha": float(alpha.median()),
        "dof": float(dof.mean()),
        "rank": basis.rank,
        "n_train": n,
        "d_source": basis.width,
        "d_target": width,
        "train_r2": 1 - rss / sum_of_squares if sum_of_squares > 0 else None,
        "train_mse": rss / (n * width),
        "gcv": choice.score,
        "interpolates": int(spare <= INTERPOLATION_SHARE * (n - 1)),
        "at_edge": choice.at_edge,
    }


def _warn_edges(alphas: Tensor, scores: Tensor, low: Tensor, high: Tensor) -> None:
    """Say once per fit which end of the grid was chosen, what it means and what to do."""
    meanings = {
        "lower": "Right where the target is an exact linear function of the source, or where the "
        "score has gone flat; otherwise extend map.alphas downwards, or use map=ols",
        "upper": "The source tells next to nothing about the target, and the map all but predicts "
        "its mean; extend map.alphas upwards only if the R2 on test items says otherwise",
    }
    for name, hit, edge, inner in (("lower", low, 0, 1), ("upper", high, -1, -2)):
        if not bool(hit.any()):
            continue
        drop = float((1 - scores[edge, hit] / scores[inner, hit]).max())
        warnings.warn(
            f"ridge penalty at the {name} edge of its grid, {float(alphas[edge]):.3g}, for "
            f"{int(hit.sum())} of {hit.shape[0]} choices; the last step still lowers the score by "
            f"{drop:.2g} of its value. {meanings[name]}",
            PenaltyEdgeWarning,
            stacklevel=4,
        )
