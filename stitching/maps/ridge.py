"""Ridge regression and ordinary least squares."""

import copy
import math
import warnings
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from stitching.maps.base import require_at_least
from stitching.maps.factorisation import Factorisation
from stitching.maps.flatness import other_penalty
from stitching.maps.judging import Judge, candidates, judged_scores
from stitching.maps.selection import SELECTIONS, Problem, Selection, gcv_scores, scores
from stitching.maps.spectral import Choice, SpectralMap
from stitching.records.words import nearest

#: Ends of the default penalty grid, in units of the largest eigenvalue of the centred Gram matrix.
#: At the lower end directions with a millionth of the strongest one's variance are still nearly
#: unpenalised; at the upper end the map is the mean predictor to 1e-3.
GRID = (1e-10, 1e3)

#: The lower end in units of the smallest eigenvalue: where the source has directions of less than
#: a millionth, the grid goes on below `GRID` until these are nearly unpenalised too.
_BELOW_SMALLEST = 1e-4


class PenaltyEdgeWarning(UserWarning):
    """The chosen penalty is the first or last of its grid, and the score still falls there."""


class Ridge(SpectralMap):
    """Ridge regression, penalty by cross-validation or fixed.

    Minimises sum_i |W s_i + b - t_i|^2 + alpha |W|^2; the intercept b is not penalised, alpha is
    not scaled by N.

    Without `alpha` the penalty is the best of a grid under a cross-validation score, pooled over
    all target columns or, with `alpha_per_target`, for each alone. Ties go to the larger penalty.
    `alphas_` and `scores_` are the penalties tried and their scores.

    Scores, by `selection`: `gcv`, generalised cross-validation, at almost no cost; `loo`, exact
    leave-one-out, one product of N x K by K x D_t for each penalty; `kfold`, one factorisation
    for each fold, whose items are every `n_folds`-th; `images`, errors that a `Judge` finds on
    held-out training items, at some of the penalties, see `stitching.maps.judging`.

    A source that does not vary leaves nothing to choose: the map is the mean of the target,
    whatever the penalty, and `alpha` is recorded as 0.

    Args:
        alpha: Fixed penalty in squared source units, >= 0, or None to choose one. 0 gives the
            minimum-norm least-squares map.
        alphas: The grid to choose from: at least 3 different values > 0, in any order. None
            spreads `n_alphas` values evenly in logarithm over `GRID` times the largest eigenvalue
            of the centred source's Gram matrix, and goes on in the same steps to 1e-4 times the
            smallest eigenvalue where that is lower.
        n_alphas: Size of the default grid over `GRID`, at least 3.
        selection: Score of the choice: "gcv", "loo", "kfold" or "images". The last needs
            `judged_by` before `fit`, and one penalty for all targets.
        n_folds: Number of folds of "kfold", at least 2.
        alpha_per_target: Choose for every target column alone.
        chunk: Rows of latents read at a time, or None: latents are tensors in memory. Needs
            "gcv" or a fixed penalty.
        flat_tolerance: Scores of two penalties count as equal up to this share, at least 0 and
            below 1: the summary has the penalty that scores as well with another map, see
            `other_penalty`. 0 looks for none, and so do a fixed penalty and `alpha_per_target`.

    Raises:
        ValueError: A value outside the ranges above, or two that exclude each other.

    Example:
        >>> basis = factorise(source)  # shape (N, D_s), once for all targets
        >>> fitted = Ridge().fit(source, target, basis)
        >>> fitted.alpha_, fitted.summary()["cv_mse"], fitted.predict(test_source)

    Source: Hoerl and Kennard (1970), doi:10.1080/00401706.1970.10488634
    """

    name = "ridge"

    def __init__(
        self,
        alpha: float | None = None,
        alphas: Sequence[float] | None = None,
        n_alphas: int = 100,
        selection: Selection = "gcv",
        n_folds: int = 5,
        alpha_per_target: bool = False,
        chunk: int | None = None,
        flat_tolerance: float = 0.02,
    ) -> None:
        super().__init__(chunk)
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
        require_at_least("map", 3, n_alphas=n_alphas)
        if selection not in SELECTIONS:
            raise ValueError(
                f"map.selection={selection!r}: use one of {', '.join(SELECTIONS)}"
                f"{nearest(str(selection), SELECTIONS)}"
            )
        require_at_least("map", 2, n_folds=n_folds)
        if not 0 <= flat_tolerance < 1:
            raise ValueError(f"map.flat_tolerance must be >= 0 and < 1, got {flat_tolerance}")
        if chunk is not None and selection != "gcv" and alpha is None:
            raise ValueError(
                f"map.selection={selection} goes over all latents for every penalty, so they must "
                f"be in memory: use map.selection=gcv, or map.chunk=null instead of {chunk}"
            )
        self.alpha = alpha
        self.alphas = alphas
        self.n_alphas = n_alphas
        self.selection: Selection = selection
        self.n_folds = n_folds
        if selection == "images" and (alpha is not None or alpha_per_target):
            raise ValueError(
                "map.selection=images chooses one penalty for all targets: set map.alpha=null and "
                "map.alpha_per_target=false, or use another selection"
            )
        self.alpha_per_target = alpha_per_target
        self.flat_tolerance = flat_tolerance
        self._judge: Judge | None = None

    def at(self, alpha: float) -> Self:
        """Return an unfitted map with this fixed penalty, all else as here."""
        made = copy.deepcopy(self)
        made.alpha, made.alphas, made.selection = alpha, None, "gcv"
        made._tensors, made._facts, made._basis = {}, {}, None
        return made

    def judged_by(self, judge: Judge) -> Self:
        """Set what judges held-out items under `selection="images"`."""
        self._judge = judge
        return self

    @property
    def alphas_(self) -> Tensor | None:
        """Penalties tried by the last fit, ascending, shape (A,), or None for a fixed one."""
        return self._tensors.get("alphas")

    @property
    def scores_(self) -> Tensor | None:
        """Score of each of `alphas_` per element, shape (A,), or (A, D_t) with one per target."""
        return self._tensors.get("scores")

    @property
    def edges_(self) -> Tensor | None:
        """Whether each choice is the lower (-1) or upper (1) end of the grid or inside (0).

        Same shape as `alpha_`. An end counts only where its score is below its neighbour's.
        """
        return self._tensors.get("edges")

    def grid(self, basis: Factorisation) -> Tensor:
        """Return the penalties to try for a source, ascending, shape (A,), float64."""
        if self.alphas is not None:
            return basis.mean.new_tensor(self.alphas)
        # Any scale serves for a source that does not vary: all penalties have one score.
        top = float(basis.eigenvalues[-1]) or 1.0
        low, high = (math.log10(top) + math.log10(end) for end in GRID)
        usual = torch.logspace(low, high, self.n_alphas, dtype=torch.float64)
        present = basis.eigenvalues[basis.eigenvalues > 0]
        smallest = float(present[0]) if len(present) else top
        step = (high - low) / (self.n_alphas - 1)
        missing = math.ceil((low - math.log10(_BELOW_SMALLEST * smallest)) / step - 1e-9)
        below = low - step * torch.arange(max(0, missing), 0, -1, dtype=torch.float64)
        return torch.cat([10**below, usual]).to(basis.mean)

    def penalty_curve(self) -> dict[str, list[float]] | None:
        """Return the scores of all penalties as columns of a table, None for a fixed penalty.

        `alpha`, ascending; `dof`, degrees of freedom; `cv_mse`, the score, mean over targets;
        `chosen`, the number of targets that chose it (1 for a shared penalty); `flat`, 1 for a
        penalty that scores as well with another map. Under `selection="images"` the score is
        `image_rmse`, the root of the judge's mean error, and `cv_mse` is generalised
        cross-validation.
        """
        self._require_fit()
        if self.alphas_ is None or self.scores_ is None:
            return None
        alphas, table = self.alphas_, self.scores_
        means = table.mean(1) if table.ndim == 2 else table
        chosen = (alphas[:, None] == self.alpha_).sum(1)
        flat = alphas.eq(float(self._facts["flat_alpha"] or 0.0))  # penalties of the grid are > 0
        curve = {
            "alpha": alphas.tolist(),
            "dof": self._restored().degrees_of_freedom(alphas).tolist(),
            "cv_mse": self._tensors.get("gcv", means).tolist(),
            "chosen": chosen.double().tolist(),
            "flat": flat.double().tolist(),
        }
        return curve | ({"image_rmse": means.sqrt().tolist()} if "gcv" in self._tensors else {})

    def _choose(self, problem: Problem) -> Choice:
        if self.alpha is not None:
            return _fixed(problem, self.alpha)
        basis = problem.basis
        alphas, pooled = self.grid(basis), not self.alpha_per_target
        if self.selection == "images":
            return self._choose_by_images(problem, alphas)
        scored = scores(problem, alphas, self.selection, self.n_folds, pooled=pooled)
        best, edges = _lowest(alphas, scored)
        alpha = alphas[best]
        other, examined = None, pooled and self.flat_tolerance > 0
        if examined:
            place = int(best)
            other = other_penalty(problem, alphas, scored[:, 0], place, self.flat_tolerance)
        return Choice(
            # Without a direction all penalties are equal, and the grid has no scale.
            alpha=alpha if basis.rank > 0 else torch.zeros_like(alpha),
            score=float(scored.gather(0, best[None]).mean()),
            how=self.selection,
            at_edge=int(bool(edges.any())),
            curve={
                "alphas": alphas,
                "scores": scored if self.alpha_per_target else scored[:, 0],
                "edges": edges,
            },
            other=other,
            examined=examined,
        )

    def _choose_by_images(self, problem: Problem, alphas: Tensor) -> Choice:
        if self._judge is None:
            raise ValueError(
                "map.selection=images decodes held-out latents: call judged_by first, or use "
                "map.selection=gcv"
            )
        cheap = gcv_scores(problem, alphas, pooled=True)[:, 0]
        tried = slice(None) if self.alphas is not None else candidates(cheap)
        alphas, cheap = alphas[tried], cheap[tried]
        scored = judged_scores(problem, alphas, self._judge)
        best, edges = _lowest(alphas, scored[:, None])
        return Choice(
            alpha=alphas[best],
            score=float(cheap[best]),
            how=self.selection,
            at_edge=int(bool(edges.any())),
            curve={"alphas": alphas, "scores": scored, "edges": edges, "gcv": cheap},
        )


class OLS(SpectralMap):
    """Least squares; among equally good maps the one of smallest norm.

    Directions in which the source varies less than `Factorisation.tolerance` count as absent.
    With N <= rank + 1 the map passes through every training item, whatever the target: `summary`
    flags this, and `fit` warns.
    """

    name = "ols"

    def _choose(self, problem: Problem) -> Choice:
        return _fixed(problem, 0.0)


def _fixed(problem: Problem, alpha: float) -> Choice:
    penalty = problem.mean.new_tensor([alpha])
    score = float(gcv_scores(problem, penalty, pooled=True))
    return Choice(penalty, score, "fixed", at_edge=None, curve={})


def _lowest(alphas: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return the place of each column's best penalty, (T,), and `Ridge.edges_`; warn of these.

    Ties go to the larger penalty.
    """
    # argmin returns the first of equals: search from the largest penalty down, so that the
    # first penalty wins only with the single best score, and the last where all are equal.
    last = alphas.shape[0] - 1
    best = last - scores.flip(0).argmin(0)
    low = best == 0
    high = (best == last) & (scores[last] < scores[last - 1])
    _warn_edges(alphas, scores, low, high)
    return best, high.int() - low.int()


def _warn_edges(alphas: Tensor, scores: Tensor, low: Tensor, high: Tensor) -> None:
    """Warn once per fit of a choice at an end of the grid: its meaning, and what to do."""
    meanings = {
        "lower": "Right where the target is an exact linear function of the source, or where the "
        "score has gone flat; otherwise extend map.alphas downwards, or use map=ols",
        "upper": "The source has almost no information about the target, and the map predicts "
        "nearly its mean; extend map.alphas upwards only if the R2 on test items contradicts this",
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
            stacklevel=6,
        )
