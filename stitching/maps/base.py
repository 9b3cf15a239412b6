"""The contract of maps between latent spaces: fit, predict, summarise, save and load."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from stitching.maps.factorisation import Factorisation
from stitching.maps.facts import Fact, Summary, measured_facts
from stitching.maps.matrix import Rows, blocks, checked_matrix, working_dtype
from stitching.records.files import replacing


class Map(ABC):
    """A map from source latents to target latents.

    The prediction for one row does not depend on the other rows of its batch. Predictions have
    the dtype of the training target, float32 at least.

    Example:
        >>> fitted = Ridge().fit(source, target)  # shapes (N, D_s) and (N, D_t)
        >>> mapped = fitted.predict(test_source)  # shape (n, D_t)
        >>> fitted.save("map.safetensors")
    """

    #: Name of the map, as in `conf/map/`.
    name: ClassVar[str]
    #: Whether `fit` uses a factorisation of the source.
    uses_factorisation: ClassVar[bool] = False
    #: Whether source and target must have the same width.
    equal_widths: ClassVar[bool] = False
    #: Every map class by its name, for `load_map`; filled as classes are defined.
    kinds: ClassVar[dict[str, "type[Map]"]] = {}

    #: Rows of training latents read at a time; None: they must be tensors.
    _chunk: int | None = None

    def __init_subclass__(cls) -> None:
        """Register the class for `load_map`."""
        super().__init_subclass__()
        if "name" in vars(cls):
            Map.kinds[cls.name] = cls

    def __init__(self) -> None:
        self._tensors: dict[str, Tensor] = {}
        self._facts: Summary = {}

    def fit(self, source: Rows, target: Rows, factorisation: Factorisation | None = None) -> Self:
        """Fit on paired latents.

        Args:
            source: Shape (N, D_s), any float dtype, N >= 2, a tensor, or read by rows where the
                map has an option `chunk`. Not modified.
            target: Shape (N, D_t), row i from the same image as source row i. Not modified.
            factorisation: Of the same source, to share it between targets; None: made here.
                Ignored by maps without `uses_factorisation`.

        Raises:
            TypeError: An input is not floating point.
            ValueError: Row counts differ, fewer than 2 rows, values that are not finite, unequal
                widths where the map needs equal ones, or a factorisation of another source.

        Warns:
            InterpolationWarning: A linear map passes through every training item.
            PenaltyEdgeWarning: The best penalty is an end of its grid.
        """
        self._fit(*self._checked_pair(source, target), factorisation)
        return self

    @abstractmethod
    def _fit(self, source: Any, target: Any, factorisation: Factorisation | None) -> None:
        """Set `_tensors` and, by `_measure` or directly, `_facts` from checked latents."""

    def set_shapes(self, source: Sequence[int], target: Sequence[int]) -> None:
        """Set the shapes of the latents before they were flattened, without the item axis.

        Called before `fit` where the shapes are known.

        Raises:
            ValueError: The map cannot connect latents of such shapes.
        """
        self._check_widths(prod(source), prod(target))

    def __call__(self, source: Tensor) -> Tensor:
        """Map latents; the same as `predict`."""
        return self.predict(source)

    def predict(self, source: Tensor) -> Tensor:
        """Map latents of shape (n, D_s) to shape (n, D_t).

        Raises:
            TypeError: The input is not floating point.
            ValueError: Not fitted, another width, or values that are not finite.
        """
        return self._in_blocks(self._checked_input(source), self._predict_rows)

    @abstractmethod
    def _predict_rows(self, source: Tensor) -> Tensor:
        """Map checked latents (n, D_s), a block at most, in the dtype of `_tensors["like"]`."""

    def _in_blocks(self, source: Tensor, predict_rows: Callable[[Tensor], Tensor]) -> Tensor:
        out = self._tensors["like"].new_empty(source.shape[0], self._width("d_target"))
        for rows in blocks(source.shape[0]):
            out[rows] = predict_rows(source[rows])
        return out

    def summary(self) -> Summary:
        """Return facts of the fit, as flat keys of a results row.

        `map`, `n_train`, `d_source`, `d_target`; `alpha`, the penalty (None for maps without one,
        the median where it differs between targets), and `selection`, how it was chosen; `dof`,
        degrees of freedom without the intercept (mean over targets); `rank` of the centred
        source, and `condition` number of what was solved, penalty included; `train_r2` and
        `train_mse`, pooled over target columns, R2 None for a constant target; `cv_mse`, the
        cross-validation estimate of the squared error per element on a new item;
        `interpolates`, 1 when the map passes through every training item of a target, so that
        its training error means nothing; `at_edge`, 1 when a chosen penalty is an end of its
        grid, None without a choice; `flat`, 1 when another penalty scores as well with another
        map, None where none is looked for, and then `flat_alpha`, that penalty, `flat_gap`, how
        much higher its score is, and `flat_change`, how much its held-out predictions differ,
        both as shares of the lowest score. Some maps add facts.
        """
        self._require_fit()
        return dict(self._facts)

    def settings(self) -> dict[str, Any]:
        """Return the options of the map, plain."""
        return {key: value for key, value in vars(self).items() if not key.startswith("_")}

    def save(self, path: str | Path) -> None:
        """Write the fitted map as one safetensors file with JSON metadata, atomically."""
        self._require_fit()
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {key: value.contiguous() for key, value in self._tensors.items()}
        card = json.dumps({"facts": self._facts, "settings": self.settings()}, allow_nan=False)
        with replacing(path, durable=False) as partial:
            save_file(tensors, partial, {"stitching.map": card})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a map of this class, as written by `save`; `load_map` reads any kind.

        Raises:
            FileNotFoundError: No such file.
            ValueError: Not a map file, or a map of another kind.
        """
        loaded = load_map(path)
        if not isinstance(loaded, cls):
            raise ValueError(
                f"{path} holds map={loaded.name}, which is no {cls.__name__}: use load_map"
            )
        return loaded

    def _require_fit(self) -> None:
        if not self._facts:
            raise ValueError(f"map={self.name} is not fitted: call fit first")

    def _width(self, key: str) -> int:
        """Return `d_source` or `d_target` of the fit."""
        return int(self._facts[key] or 0)

    def _checked_input(self, source: Tensor) -> Tensor:
        self._require_fit()
        source = checked_matrix("source", source)
        if source.shape[1] != self._width("d_source"):
            raise ValueError(
                f"source has width {source.shape[1]} but the map was fitted on width "
                f"{self._width('d_source')}: encode it with the encoder of the fit"
            )
        return source

    def _check_widths(self, source: int, target: int) -> None:
        if self.equal_widths and source != target:
            raise ValueError(
                f"map={self.name} needs equal widths, source has {source} and target {target}: "
                "use map=ridge, or map=procrustes"
            )

    def _measure(self, source: Rows, target: Rows, **own: Fact) -> None:
        """Set the facts by predictions of the training items."""
        self._facts = measured_facts(self.name, self._predict_rows, source, target, **own)

    def _checked_pair(self, source: Rows, target: Rows) -> tuple[Rows, Rows]:
        """Check training latents as `fit` states, and return them detached."""
        for name, x in (("source", source), ("target", target)):
            if self._chunk is None and not isinstance(x, Tensor):
                raise TypeError(f"{name} is no tensor but {type(x).__name__}: set map.chunk")
        source = checked_matrix("source", source, self._chunk)
        target = checked_matrix("target", target, self._chunk)
        if source.shape[0] != target.shape[0]:
            raise ValueError(
                f"source has {source.shape[0]} rows but target has {target.shape[0]}: encode both "
                "from the same split"
            )
        if source.device != target.device:
            raise ValueError(
                f"source is on {source.device} but target on {target.device}: move one to the "
                "other"
            )
        if source.shape[0] < 2:
            raise ValueError(f"a map needs at least 2 training items, got {source.shape[0]}")
        self._check_widths(source.shape[1], target.shape[1])
        return source, target


class AffineMap(Map):
    """Base of maps z_tgt = W z_src + b that have W and b for whole latents."""

    @property
    @abstractmethod
    def weight(self) -> Tensor:
        """W, shape (D_t, D_s), formed on demand: 0.6 GB for 12,288 x 12,288 in float32."""

    @property
    def bias(self) -> Tensor:
        """Intercept b, shape (D_t,): the prediction for the zero latent."""
        self._require_fit()
        return self.predict(self._tensors["like"].new_zeros(1, self._width("d_source")))[0]


def load_map(path: str | Path) -> Map:
    """Read a fitted map of any kind, as written by `Map.save`.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not a map file, or of a kind without a class in this version.

    Example:
        >>> import torch
        >>> from stitching.maps import OLS, load_map
        >>> source, target = torch.randn(9, 4), torch.randn(9, 3)
        >>> OLS().fit(source, target).save("map.safetensors")
        >>> load_map("map.safetensors").predict(source).shape
        torch.Size([9, 3])
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no map file {path}: write one with Map.save")
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get("stitching.map")
            # Copies: where a tensor lies in the file would show in the last bits of products.
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from error
    if header is None:
        raise ValueError(f"{path} is a safetensors file but no map: write one with Map.save")
    card = json.loads(header)
    kind = Map.kinds.get(card["facts"]["map"])
    if kind is None:
        raise ValueError(
            f"{path} holds map={card['facts']['map']}, but only {sorted(Map.kinds)} are known: "
            "import the module that defines it first"
        )
    loaded = kind(**card["settings"])
    loaded._tensors, loaded._facts = tensors, card["facts"]
    return loaded


def require_at_least(group: str, least: int, **options: int) -> None:
    """Check whole-numbered options of a group such as "map".

    Raises:
        ValueError: One is below `least`.
    """
    for name, value in options.items():
        if value < least:
            raise ValueError(f"{group}.{name} must be >= {least}, got {value}")


def dtype_carrier(target: Rows) -> Tensor:
    """Return an empty tensor with the dtype and device of predictions, for safetensors."""
    return torch.empty(0, dtype=working_dtype(target), device=target.device)
