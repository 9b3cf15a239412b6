"""Drawn faces: the built-in data set, a function of (seed, index).

Each picture has the paper's ten binary attributes, visible and labelled, the continuous factors
behind them, and one of four kinds of hair as its class.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stitching.data.base import ClassLabels, ImageSet
from stitching.data.face_drawing import Face, draw
from stitching.data.synthetic import SyntheticData

#: Part of every cache key: raise it when a pixel or a label of any face changes.
DRAWING_VERSION = 2

#: Kinds of hair, the classes of faces. Hair is grey from half the way to grey.
HAIR = ("bald", "blond", "grey", "dark")

_DARK = ((0.07, 0.05, 0.05), (0.22, 0.12, 0.07), (0.36, 0.20, 0.10), (0.45, 0.16, 0.07))
_BLOND = ((0.93, 0.80, 0.42), (0.86, 0.70, 0.32), (0.97, 0.88, 0.60))
_GREY = (0.76, 0.76, 0.78)
_IRIS = ((0.16, 0.38, 0.72), (0.18, 0.48, 0.28), (0.30, 0.18, 0.09), (0.33, 0.40, 0.45))
_FRAMES = ((0.06, 0.06, 0.07), (0.42, 0.10, 0.10), (0.12, 0.20, 0.45), (0.45, 0.36, 0.12))


#: Binary attributes, continuous factors, and the place in `HAIR`.
Labels = tuple[dict[str, bool], dict[str, float], int]


class _Draws:
    """Uniform numbers of one face, taken in a fixed order."""

    def __init__(self, seed: int, index: int) -> None:
        # A counter-based generator keyed by (seed, index): no state is shared between faces.
        generator = np.random.Generator(np.random.Philox(key=[seed, index]))
        self._values: Iterator[float] = iter(generator.random(96).tolist())

    def real(self, low: float, high: float) -> float:
        return low + (high - low) * next(self._values)

    def flag(self, probability: float) -> bool:
        return next(self._values) < probability

    def choice(self, options: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
        return options[int(next(self._values) * len(options))]

    def colour(self, low: float, high: float) -> tuple[float, float, float]:
        return (self.real(low, high), self.real(low, high), self.real(low, high))


def describe(seed: int, index: int) -> tuple[Face, *Labels]:
    """Return what face `index` of a series looks like.

    Args:
        seed: Seed of the data set, at least 0.
        index: Number of the face, at least 0.

    Returns:
        The face, its binary attributes, its continuous factors (smile in [-1, 1]; age,
        skin_tone in [0, 1]; rotation in radians; light in [-1, 1], left to right), and the place
        of its hair in `HAIR`.
    """
    u = _Draws(seed, index)
    male = u.flag(0.48)
    age = u.real(0, 1)
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
    grey = 0.0 if blond else max(0.0, (age - 0.72) / 0.28)
    base = blond_hair if blond else dark_hair
    hair_colour = tuple(b + (g - b) * grey for b, g in zip(base, _GREY, strict=True))
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
        male=male,
        bald=bald,
        wavy=wavy,
        glasses=glasses,
        makeup=makeup,
        beard=beard,
        hair_length=u.real(0.0, 0.35) if male else u.real(0.25, 1.0),
        hair_volume=u.real(0.1, 1.0) + (0.3 if wavy else 0.0),
        hair_colour=hair_colour,
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
        glasses_round=u.flag(0.5),
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
        "Young": age < 0.55,
    }
    factors = dict(smile=smile, age=age, skin_tone=tone, rotation=rotation, light=light)
    hair = "bald" if bald else "blond" if blond else "grey" if grey > 0.5 else "dark"
    return face, attributes, factors, HAIR.index(hair)


ATTRIBUTES, FACTORS = (tuple(labels) for labels in describe(0, 0)[1:3])


@lru_cache(maxsize=4)
def _labels(seed: int, indices: range) -> tuple[Labels, ...]:
    """Return the labels of faces; the cells of a sweep have the same ones."""
    return tuple(describe(seed, i)[1:] for i in indices)


@lru_cache(maxsize=2048)
def _drawn(seed: int, index: int, size: int) -> NDArray[np.uint8]:
    """Return one face, shape (size, size, 3); every model of a sweep encodes the same ones."""
    return draw(describe(seed, index)[0], size)


class Faces(SyntheticData):
    """Drawn faces, of `image_size` pixels from the start and never resized."""

    kind = "drawn faces"

    def _build(self, split: str) -> ImageSet:
        indices = self.indices(split)
        attributes, factors, classes = {}, {}, {}
        if split != "pretrain":  # its labels are not needed, and take a while to describe
            flags, values, hair = zip(*_labels(self.seed, indices), strict=True)
            attributes = {name: np.array([x[name] for x in flags], bool) for name in ATTRIBUTES}
            factors = {name: np.array([x[name] for x in values], np.float32) for name in FACTORS}
            classes = {"Hair": ClassLabels(np.array(hair, np.int64), HAIR)}
        return ImageSet(
            name=self.name,
            split=split,
            ids=tuple(f"{i:08d}" for i in indices),
            image_size=self.image_size,
            recipe=f"faces {DRAWING_VERSION}, seed {self.seed}",
            load=self._load,
            attributes=attributes,
            factors=factors,
            classes=classes,
        )

    def _load(self, ids: Sequence[str]) -> Tensor:
        """Return faces by id, shape (n, 3, image_size, image_size), uint8."""
        pixels = [_drawn(self.seed, int(item), self.image_size) for item in ids]
        return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)  # (n, S, S, 3) -> NCHW
