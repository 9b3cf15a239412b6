"""Images that a generative model draws from known latents, a function of (seed, index)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from stitching.data.base import ImageData, ImageSet
from stitching.data.synthetic import SyntheticData


@runtime_checkable
class DrawingModel(Protocol):
    """A model that draws images by index from known latents."""

    name: str
    image_size: int
    card: dict[str, str]

    @property
    def drawing(self) -> str:
        """Text of everything that determines the image of an index, besides seed and code."""

    def known_latents(self, seed: int, indices: Sequence[int]) -> Tensor:
        """Return the latents (n, D) of images."""

    def draw(self, seed: int, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return latents (n, D) and images (n, 3, S, S) uint8, each independent of the others."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DrawnSet(ImageSet):
    """One split of drawn images.

    Attributes:
        seed: Number of the series of images.
        drawing: `DrawingModel.drawing` of the model that drew them.
    """

    seed: int
    drawing: str

    @property
    def indices(self) -> list[int]:
        """Indices of the images, in the order of `ids`."""
        return [_index(item) for item in self.ids]


class Drawn(SyntheticData):
    """Images drawn by a model; they have no attributes.

    Args:
        model: Draws them; `config` builds it from the model option that `data.model` names.
        code: Hash of the code that draws, part of every cache key.

    The other arguments are those of `SyntheticData`.

    Raises:
        TypeError: The model does not draw from known latents.
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
        """Check the settings; nothing is drawn yet."""
        super().__init__(name, n_train, n_test, image_size, seed, n_pretrain, root)
        if not isinstance(model, DrawingModel):
            raise TypeError(
                f"data.model={getattr(model, 'name', model)}: this model does not draw from "
                "known latents; use data.model=gan"
            )
        if model.image_size != image_size:
            raise ValueError(
                f"data.model={model.name} draws images of {model.image_size} pixels but "
                f"data.image_size={image_size}: make them equal"
            )
        self.model, self.code = model, code
        self._kept: dict[str, Tensor] = {}

    def _build(self, split: str) -> ImageSet:
        return DrawnSet(
            name=self.name,
            split=split,
            ids=tuple(f"drawn-{self.seed}-{i:08d}" for i in self.indices(split)),
            image_size=self.image_size,
            # Other releases of torch may round a value to the next byte.
            recipe=f"drawn {self.model.drawing}, code {self.code}, torch {torch.__version__}",
            load=self._draw if split == "pretrain" else self._draw_once,
            seed=self.seed,
            drawing=self.model.drawing,
        )

    def _draw(self, ids: Sequence[str]) -> Tensor:
        """Return images by id, shape (n, 3, S, S), uint8."""
        return self.model.draw(self.seed, [_index(item) for item in ids])[1]

    def _draw_once(self, ids: Sequence[str]) -> Tensor:
        """As `_draw`, and keep the images in memory: several models encode them."""
        missing = [item for item in ids if item not in self._kept]
        if missing:
            self._kept.update(zip(missing, self._draw(missing), strict=True))
        return torch.stack([self._kept[item] for item in ids])


def check_drew(role: str, model: DrawingModel, data: ImageData) -> None:
    """Check that a model without an encoder drew these images, so that their latents are known.

    Raises:
        ValueError: It did not draw them.
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
