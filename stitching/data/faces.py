"""Drawn faces: the embedded data set, made from nothing but (seed, index).

Each picture has the paper's ten binary attributes, visible and labelled, the continuous factors
behind them, and one of four kinds of hair as its class. Any index can be drawn alone, in any
order.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from stitching.data.base import ClassLabels, ImageData, ImageSet
from stitching.data.face_drawing import Face, draw

#: Part of every cache key: raise it when a pixel or a label of any face changes.
DRAWING_VERSION = 2

#: First index of each split; splits can never meet below the next one's start.
SPLIT_START = {"train": 0, "test": 10_000_000, "pretrain": 20_000_000}
SPLIT_SIZE = 10_000_000

#: Which hair a face has; `hair_class` tells. Grey counts from half the way to grey.
HAIR = ("bald", "blond", "grey", "dark")
FACTORS = ("smile", "age", "skin_tone", "rotation", "light")

_DARK = ((0.07, 0.05, 0.05), (0.22, 0.12, 0.07), (0.36, 0.20, 0.10), (0.45, 0.16, 0.07))
_BLOND = ((0.93, 0.80, 0.42), (0.86, 0.70, 0.32), (0.97, 0.88, 0.60))
_GREY = (0.76, 0.76, 0.78)
_IRIS = ((0.16, 0.38, 0.72), (0.18, 0.48, 0.28), (0.30, 0.18, 0.09), (0.33, 0.40, 0.45))
_FRAMES = ((0.06, 0.06, 0.07), (0.42, 0.10, 0.10), (0.12, 0.20, 0.45), (0.45, 0.36, 0.12))


class _Draws:
    """Uniform numbers of one face, taken in a fixed order."""

    def __init__(self, seed: int, index: int) -> None:
        # A counter-based generator keyed by (seed, index): no state is shared between faces.
        generator = np.random.Generator(np.random.Philox(key=[seed, index]))
        self._values = iter(generator.random(96).tolist())

    def real(self, low: float, high: float) -> float:
        return low + (high - low) * float(next(self._values))

    def flag(self, probability: float) -> bool:
        return float(next(self._values)) < probability

    def choice(self, options: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
        return options[int(float(next(self._values)) * len(options))]

    def colour(self, low: float, high: float) -> tuple[float, float, float]:
        return (self.real(low, high), self.real(low, high), self.real(low, high))


def describe(seed: int, index: int) -> tuple[Face, dict[str, bool], dict[str, float]]:
    """Draw the description of face `index`.

    Args:
        seed: Seed of the data set, at least 0.
        index: Number of the face, at least 0.

    Returns:
        The face, its binary attributes, and its continuous factors (smile in [-1, 1]; age,
        skin_tone in [0, 1]; rotation in radians; light in [-1, 1], left to right).
    """
    u = _Draws(seed, index)
    male = u.flag(0.48)
    age = u.real(0, 1)
    young = age < 0.55
    smile = u.real(-1, 1)
    tone = u.real(0, 1)
    light = u.real(-1, 1)
    rotation = u.real(-0.15, 0.15)
    bald = u.flag(0.24 if male else 0.06)
    blond = u.flag(0.34) and not bald
    wavy = u.flag(0.45) and not bald
    glasses = u.flag(0.32)
    makeup = u.flag(0.05 if male else 0.52)
    beard = u.real(0.3, 1.0) if u.flag(0.50 if male else 0.0) else 0.0
    dark_hair, blond_hair = u.choice(_DARK), u.choice(_BLOND)
    grey = _greyness(age) if not blond else 0.0
    base = blond_hair if blond else dark_hair
    hair = tuple(b + (g - b) * grey for b, g in zip(base, _GREY, strict=True))
    natural_lip = (0.72, 0.40, 0.38) if tone < 0.6 else (0.50, 0.27, 0.25)
    painted_lip = (u.real(0.70, 0.95), u.real(0.02, 0.15), u.real(0.12, 0.35))
    face = Face(
        smile=smile,
        age=age,
        skin_tone=tone,
        rotation=rotation,
        light=light,
        brightness=u.real(0.86, 1.06),
        center=(u.real(-0.05, 0.05), u.real(-0.10, 0.0)),
        scale=u.real(0.92, 1.04),
        male=1.0 if male else 0.0,
        bald=bald,
        blond=blond,
        wavy=wavy,
        glasses=glasses,
        makeup=makeup,
        beard=beard,
        hair_length=u.real(0.0, 0.35) if male else u.real(0.25, 1.0),
        hair_volume=u.real(0.1, 1.0) + (0.3 if wavy else 0.0),
        hair_colour=hair,
        parting=u.real(-0.6, 0.6),
        fringe=u.real(0, 1),
        wave_phase=u.real(0, 6.28),
        face_width=u.real(0.43, 0.53),
        face_height=u.real(0.60, 0.70),
        eye_gap=u.real(0.19, 0.24),
        eye_size=u.real(0.88, 1.15),
        iris=u.choice(_IRIS),
        gaze=u.real(-1, 1),
        brow_tilt=u.real(-1, 1),
        nose=u.real(0, 1),
        mouth_width=u.real(0.15, 0.20),
        lip_colour=painted_lip if makeup else natural_lip,
        glasses_round=1.0 if u.flag(0.5) else 0.0,
        glasses_colour=u.choice(_FRAMES),
        clothing=u.colour(0.05, 0.95),
        clothing_trim=u.colour(0.05, 0.95),
        neckline=u.real(0, 1),
        background=(u.colour(0.1, 0.95), u.colour(0.1, 0.95)),
        background_angle=u.real(0, 6.28),
        blob=(u.real(-1, 1), u.real(-1, 1), u.real(0.2, 0.6)),
        blob_colour=u.colour(0.1, 0.95),
    )
    attributes = {
        "Bald": bald,
        "Blond_Hair": blond,
        "Wavy_Hair": wavy,
        "Smiling": smile > 0.1,
        "Eyeglasses": glasses,
        "Heavy_Makeup": makeup,
        "Male": male,
        "No_Beard": beard == 0.0,
        "Pale_Skin": tone < 0.3,
        "Young": young,
    }
    factors = {
        "smile": smile,
        "age": age,
        "skin_tone": tone,
        "rotation": rotation,
        "light": light,
    }
    return face, attributes, factors


def hair_class(attributes: Mapping[str, bool], factors: Mapping[str, float]) -> int:
    """Return the place in `HAIR` of a face, from what `describe` says of it."""
    if attributes["Bald"]:
        return 0
    if attributes["Blond_Hair"]:
        return 1
    return 2 if _greyness(factors["age"]) > 0.5 else 3


def _greyness(age: float) -> float:
    return max(0.0, (age - 0.72) / 0.28)


@lru_cache(maxsize=4)
def _labels(seed: int, indices: range) -> tuple[tuple[dict[str, bool], dict[str, float]], ...]:
    """Labels of faces; the cells of a sweep ask for the same ones."""
    return tuple(describe(seed, i)[1:] for i in indices)


class Faces(ImageData):
    """Drawn faces; every split is cut from its own range of indices.

    Args:
        name: See `ImageData`.
        n_train: See `ImageData`.
        n_test: See `ImageData`.
        image_size: See `ImageData`; drawn at this size, never resized.
        seed: Which endless series of faces.
        n_pretrain: Number of faces for training models.
        root: Must be None; there is no folder to read.

    Raises:
        ValueError: A number is out of range, or a root is given.
    """

    def __init__(
        self,
        name: str,
        n_train: int,
        n_test: int,
        image_size: int,
        seed: int,
        n_pretrain: int,
        root: None = None,
    ) -> None:
        """Check the numbers; nothing is drawn yet."""
        super().__init__(name, n_train, n_test, image_size)
        if root is not None:
            raise ValueError(
                f"data.root={root}: drawn faces are not read from a folder; choose data=celeba or "
                "data=folder, or drop data.root"
            )
        if seed < 0:
            raise ValueError(f"data.seed must be >= 0, got {seed}")
        self.seed = seed
        self.sizes = {"train": n_train, "test": n_test, "pretrain": n_pretrain}
        for split, size in self.sizes.items():
            if not 1 <= size <= SPLIT_SIZE:
                raise ValueError(f"data.n_{split} must be in 1..{SPLIT_SIZE}, got {size}")

    def _build(self, split: str) -> ImageSet:
        start = SPLIT_START[split]
        indices = range(start, start + self.sizes[split])
        # Labels of a large training pool are not needed and would take a while to describe.
        described = () if split == "pretrain" else _labels(self.seed, indices)
        attributes = {
            name: np.array([labels[name] for labels, _ in described], dtype=np.bool_)
            for name in (described[0][0] if described else ())
        }
        factors = {
            name: np.array([values[name] for _, values in described], dtype=np.float32)
            for name in (FACTORS if described else ())
        }
        hair = np.array([hair_class(*labels) for labels in described], dtype=np.int64)
        return ImageSet(
            name=self.name,
            split=split,
            ids=tuple(f"{i:08d}" for i in indices),
            image_size=self.image_size,
            recipe=f"faces {DRAWING_VERSION}, seed {self.seed}",
            load=self._load,
            attributes=attributes,
            factors=factors,
            classes={"Hair": ClassLabels(hair, HAIR)} if described else {},
        )

    def _load(self, ids: Sequence[str]) -> Tensor:
        """Draw faces by id; shape (n, 3, image_size, image_size), uint8."""
        pixels = [draw(describe(self.seed, int(item))[0], self.image_size) for item in ids]
        return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)  # (n, S, S, 3) -> NCHW
