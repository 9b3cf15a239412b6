"""Images that a generative model draws from latents it knows, made from (seed, index) alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from stitching.data.base import ImageData, ImageSet

#: First index of each split; splits can never meet below the next one's start.
SPLIT_START = {"train": 0, "test": 10_000_000, "pretrain": 20_000_000}
SPLIT_SIZE = 10_000_000
#: Splits whose images are kept in memory once drawn: several models encode them.
_KEPT = ("train", "test")


@runtime_checkable
class DrawingModel(Protocol):
    """A model that draws images by number and knows their latents."""

    name: str
    image_size: int
    card: dict[str, str]

    @property
    def drawing(self) -> str:
        """Text of all that determines which image an index gives, besides seed and code."""

    def known_latents(self, seed: int, indices: Sequence[int]) -> Tensor:
        """Latents (n, D) of images by number."""

    def draw(self, seed: int, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Latents (n, D) and images (n, 3, S, S) uint8 by number, each independent of others."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DrawnSet(ImageSet):
    """One split of drawn images.

    Attributes:
        seed: Of the series.
        drawing: `DrawingModel.drawing` of the model that drew them.
    """

    seed: int
    drawing: str

    @property
    def indices(self) -> list[int]:
        """Numbers of the images, in the order of `ids`."""
        return [_index(item) for item in self.ids]


class Drawn(ImageData):
    """Images drawn by a model; they have no attributes.

    Args:
        name: See `ImageData`.
        n_train: See `ImageData`.
        n_test: See `ImageData`.
        image_size: See `ImageData`; must be the model's.
        seed: Which endless series of images.
        n_pretrain: Number of images for training models.
        model: What draws them. `config` builds it from the model option that `data.model` names.
        code: Hash of the code that draws, part of every cache key.
        root: Must be None; there is no folder to read.

    Raises:
        TypeError: The model does not draw from latents it knows.
        ValueError: A number is out of range, the model draws another size, or a root is given.
    """

    def __init__(
        self,
        name: str,
        n_train: int,
        n_test: int,
        image_size: int,
        seed: int,
        n_pretrain: int,
        model: DrawingModel,
        code: str = "",
        root: None = None,
    ) -> None:
        """Check the numbers; nothing is drawn yet."""
        super().__init__(name, n_train, n_test, image_size)
        if root is not None:
            raise ValueError(
                f"data.root={root}: drawn images are not read from a folder; choose data=celeba "
                "or data=folder, or drop data.root"
            )
        if not isinstance(model, DrawingModel):
            raise TypeError(
                f"data.model={getattr(model, 'name', model)}: this model does not draw from "
                "latents it knows; use data.model=gan"
            )
        if model.image_size != image_size:
            raise ValueError(
                f"data.model={model.name} draws images of {model.image_size} pixels but "
                f"data.image_size={image_size}: make them equal"
            )
        if seed < 0:
            raise ValueError(f"data.seed must be >= 0, got {seed}")
        self.model, self.seed, self.code = model, seed, code
        self.sizes = {"train": n_train, "test": n_test, "pretrain": n_pretrain}
        for split, size in self.sizes.items():
            if not 1 <= size <= SPLIT_SIZE:
                raise ValueError(f"data.n_{split} must be in 1..{SPLIT_SIZE}, got {size}")
        self._kept: dict[str, Tensor] = {}

    def _build(self, split: str) -> ImageSet:
        start = SPLIT_START[split]
        return DrawnSet(
            name=self.name,
            split=split,
            ids=tuple(
                f"drawn-{self.seed}-{i:08d}" for i in range(start, start + self.sizes[split])
            ),
            image_size=self.image_size,
            # Other releases of torch may round a value to the next byte.
            recipe=f"drawn {self.model.drawing}, code {self.code}, torch {torch.__version__}",
            load=self._load if split in _KEPT else self._draw,
            seed=self.seed,
            drawing=self.model.drawing,
        )

    def _draw(self, ids: Sequence[str]) -> Tensor:
        """Draw images by id; shape (n, 3, S, S), uint8."""
        return self.model.draw(self.seed, [_index(item) for item in ids])[1]

    def _load(self, ids: Sequence[str]) -> Tensor:
        """As `_draw`, but what was drawn before is not drawn again."""
        missing = [item for item in ids if item not in self._kept]
        if missing:
            self._kept.update(zip(missing, self._draw(missing), strict=True))
        return torch.stack([self._kept[item] for item in ids])


def check_drew(role: str, model: DrawingModel, data: ImageData) -> None:
    """Check that a model whose latents are known only for what it drew drew these images.

    Raises:
        ValueError: It did not.
    """
    if not isinstance(data, Drawn):
        raise ValueError(
            f"{role}={model.name}: this model has no encoder, its latents are known only for "
            f"images it drew: use data=drawn data.model={model.name}, or another {role}"
        )
    if model.drawing != data.model.drawing:
        raise ValueError(
            f"{role}={model.name} did not draw the images of data.model={data.model.name}, so its "
            f"latents are not known: {model.drawing} against {data.model.drawing}; give {role} "
            "and data.model the same weights and options (such as truncation and noise)"
        )


def _index(item: str) -> int:
    return int(item.rpartition("-")[2])
