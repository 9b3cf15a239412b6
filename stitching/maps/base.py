"""What every map between latent spaces can do: fit, predict, summarise, save and load."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from stitching.maps.factorisation import Factorisation
from stitching.maps.matrix import Matrix, Rows, checked_matrix, working_dtype
from stitching.records.files import replacing

Summary = dict[str, float | int | str | None]


class Map(ABC):
    """A map from source latents to target latents.

    The prediction for one row does not depend on the other rows of its batch.
    """

    #: Name of the map, as in `conf/map/`.
    name: ClassVar[str]
    #: Whether `fit` makes use of a factorisation of the source.
    uses_factorisation: ClassVar[bool] = False
    #: Every map class by its name, for `load_map`; filled as classes are defined.
    kinds: ClassVar[dict[str, "type[Map]"]] = {}

    def __init_subclass__(cls) -> None:
        """Make maps of this class known to `load_map`."""
        super().__init_subclass__()
        if "name" in vars(cls):
            Map.kinds[cls.name] = cls

    def __init__(self) -> None:
        """Start unfitted."""
        self._tensors: dict[str, Tensor] = {}
        self._facts: Summary = {}

    @abstractmethod
    def fit(
        self, source: Tensor, target: Tensor, factorisation: Factorisation | None = None
    ) -> Self:
        """Fit on paired latents.

        Args:
            source: Shape (N, D_s), any float dtype, N >= 2. Not modified.
            target: Shape (N, D_t), row i from the same image as source row i. Not modified.
            factorisation: Of this very source, to share it between targets; made when absent.
                Maps that have no use for one ignore it.

        Raises:
            TypeError: An input is not floating point.
            ValueError: Row counts differ, fewer than 2 rows, values that are not finite, or a
                factorisation of something else.
        """

    def set_shapes(self, source: Sequence[int], target: Sequence[int]) -> None:
        """Take note of the latents' shapes before they were flattened, without the item axis.

        Called before `fit` where the shapes are known; most maps have no use for them.

        Raises:
            ValueError: The map cannot connect latents of such shapes.
        """
        del source, target

    def __call__(self, source: Tensor) -> Tensor:
        """Map latents; the same as `predict`."""
        return self.predict(source)

    @abstractmethod
    def predict(self, source: Tensor) -> Tensor:
        """Map latents of shape (n, D_s) to shape (n, D_t).

        Raises:
            TypeError: The input is not floating point.
            ValueError: Not fitted, another width, or values that are not finite.
        """

    def summary(self) -> Summary:
        """Return what the fit found, as flat keys of a results row.

        `map`, `n_train`, `d_source`, `d_target`; `alpha`, the penalty (None for maps without one,
        the median where it differs between targets), and `selection`, how it was chosen; `dof`,
        degrees of freedom without the intercept (mean over targets); `rank` of the centred
        source, and `condition` number of what was solved, penalty included; `train_r2` and
        `train_mse`, pooled over target columns, R2 None for a constant target; `cv_mse`, the
        cross-validation estimate of the squared error per element on a new item;
        `interpolates`, 1 when the map passes through every training item of a target, so that
        its training error means nothing; `at_edge`, 1 when a chosen penalty is an end of its
        grid, None without a choice. Some maps add facts of their own.
        """
        self._require_fit()
        return dict(self._facts)

    def save(self, path: str | Path) -> None:
        """Write the fitted map as one safetensors file with JSON metadata, atomically."""
        self._require_fit()
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {key: value.contiguous() for key, value in self._tensors.items()}
        settings = {k: v for k, v in vars(self).items() if not k.startswith("_")}
        card = json.dumps({"facts": self._facts, "settings": settings}, allow_nan=False)
        with replacing(path) as partial:
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

    def _checked_input(self, source: Tensor) -> Tensor:
        self._require_fit()
        source = checked_matrix("source", source)
        if source.shape[1] != self._facts["d_source"]:
            raise ValueError(
                f"source has width {source.shape[1]} but the map was fitted on width "
                f"{self._facts['d_source']}: encode it with the encoder of the fit"
            )
        return source


def load_map(path: str | Path) -> Map:
    """Read a fitted map of any kind, as written by `Map.save`.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not a map file, or of a kind that this version does not know.
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


def require_equal_widths(name: str, source: int, target: int) -> None:
    """Check that a map from dimension to dimension can be fitted.

    Raises:
        ValueError: The widths differ.
    """
    if source != target:
        raise ValueError(
            f"map={name} needs equal widths, source has {source} and target {target}: "
            "use map=ridge, or map=procrustes"
        )


def checked_pair(
    source: Matrix, target: Matrix, chunk: int | None = None
) -> tuple[Matrix, Matrix]:
    """Return paired training latents detached, once they are known to fit together.

    Args:
        source: Shape (N, D_s).
        target: Shape (N, D_t).
        chunk: Rows to look at in one go; without it both must be tensors.

    Raises:
        TypeError, ValueError: As `Map.fit`.
    """
    if chunk is None:
        for name, x in (("source", source), ("target", target)):
            if not isinstance(x, Tensor):
                raise TypeError(f"{name} is no tensor but {type(x).__name__}: set map.chunk")
    source = checked_matrix("source", source, chunk)
    target = checked_matrix("target", target, chunk)
    if source.shape[0] != target.shape[0]:
        raise ValueError(
            f"source has {source.shape[0]} rows but target has {target.shape[0]}: encode both "
            "from the same split"
        )
    if source.device != target.device:
        raise ValueError(
            f"source is on {source.device} but target on {target.device}: move one to the other"
        )
    if source.shape[0] < 2:
        raise ValueError(f"a map needs at least 2 training items, got {source.shape[0]}")
    return source, target


def dtype_carrier(target: Rows) -> Tensor:
    """Return an empty tensor with the dtype of predictions: the target's, float32 at least.

    A tensor carries a dtype through safetensors, and makes results on the right device.
    """
    return torch.empty(0, dtype=working_dtype(target), device=target.device)
