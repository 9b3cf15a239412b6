"""Drawing of one face: a pure function of its description, with analytic anti-aliasing.

Every shape is a signed distance (negative inside, in units where the picture is 2 wide). A layer
covers a pixel by `clip(0.5 - distance / pixel)`, so edges are smooth at any size without
supersampling. All arithmetic is element-wise on one picture, so a face has the same bytes alone
and in any batch. It is in float32, which a Python number takes over from the array it meets; a
NumPy scalar does not, so `np.float32` marks those.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: float32; the type checker cannot follow that through mixed arithmetic.
Array = NDArray[Any]
Colour = Sequence[float]


@dataclass(frozen=True)
class Face:
    """Everything that determines one picture.

    Lengths are in half picture widths, angles in radians, colours RGB in [0, 1], strengths and
    factors in [0, 1] unless stated.
    """

    smile: float  #: -1 (frown) .. 1 (broad smile)
    age: float
    skin_tone: float  #: 0 pale .. 1 dark
    rotation: float
    light: float  #: direction the light comes from, -1 left .. 1 right
    brightness: float
    center: tuple[float, float]
    scale: float
    male: bool  #: shapes jaw, brows, lips
    bald: bool
    wavy: bool
    glasses: bool
    makeup: bool
    beard: float  #: 0 none, up to 1 full
    hair_length: float  #: 0 short .. 1 down to the shoulders
    hair_volume: float
    hair_colour: Colour
    parting: float
    fringe: float
    wave_phase: float
    face_width: float
    face_height: float
    eye_gap: float
    eye_size: float
    iris: Colour
    gaze: float
    brow_tilt: float
    nose: float
    mouth_width: float
    lip_colour: Colour
    glasses_round: bool
    glasses_colour: Colour
    clothing: Colour
    clothing_trim: Colour
    neckline: float
    background: tuple[Colour, Colour]
    background_angle: float
    blob: tuple[float, float, float]
    blob_colour: Colour


def _skin_colour(tone: float) -> Array:
    stops = np.array(
        [[0.99, 0.88, 0.82], [0.95, 0.78, 0.66], [0.80, 0.60, 0.45], [0.50, 0.34, 0.25]],
        dtype=np.float32,
    )
    position = np.float32(tone * 3)
    index = min(int(position), 2)
    part = position - np.float32(index)
    colour: Array = stops[index] * (1 - part) + stops[index + 1] * part
    return colour


def _ellipse(x: Array, y: Array, rx: float, ry: float) -> Array:
    """First-order distance to an axis-parallel ellipse at the origin."""
    u, v = x / rx, y / ry
    radius = np.sqrt(u * u + v * v)
    gradient = np.sqrt((u / rx) ** 2 + (v / ry) ** 2) + 1e-6
    return (radius - 1) * radius / gradient


def _segment(x: Array, y: Array, a: tuple[float, float], b: tuple[float, float]) -> Array:
    """Distance to the line segment from a to b."""
    dx, dy = np.float32(b[0] - a[0]), np.float32(b[1] - a[1])
    px, py = x - a[0], y - a[1]
    along = np.clip((px * dx + py * dy) / (dx * dx + dy * dy), 0, 1)
    return np.sqrt((px - along * dx) ** 2 + (py - along * dy) ** 2)


def _intersect(*distances: Array) -> Array:
    return reduce(np.maximum, distances)


class _Canvas:
    """A picture under construction, (H, W, 3) float32, with head coordinates."""

    def __init__(self, face: Face, size: int) -> None:
        axis = ((np.arange(size, dtype=np.float32) + 0.5) / size) * 2 - 1
        self.px, self.py = np.meshgrid(axis, axis)
        self.pixel = np.float32(2 / size)
        cos, sin = np.float32(np.cos(face.rotation)), np.float32(np.sin(face.rotation))
        dx = (self.px - face.center[0]) / face.scale
        dy = (self.py - face.center[1]) / face.scale
        self.x, self.y = cos * dx + sin * dy, cos * dy - sin * dx
        self.head_pixel = self.pixel / face.scale
        self.rgb: Array = np.zeros((size, size, 3), np.float32)
        self.skin = _skin_colour(face.skin_tone)
        self.hair: Array = np.asarray(face.hair_colour, np.float32)

    def cover(self, distance: Array, soft: float = 0.0, picture: bool = False) -> Array:
        """Share of each pixel inside the shape; `soft` widens the edge by that length."""
        width = (self.pixel if picture else self.head_pixel) + soft
        return np.clip(0.5 - distance / width, 0, 1)

    def paint(self, alpha: Array, colour: Colour | Array, strength: float = 1.0) -> None:
        target = np.asarray(colour, np.float32)
        self.rgb += (alpha * strength)[..., None] * (target - self.rgb)

    def shade(self, alpha: Array, factor: float) -> None:
        self.rgb *= (1 + alpha * (factor - 1))[..., None]


def draw(face: Face, size: int = 64) -> NDArray[np.uint8]:
    """Return the picture of one face, shape (size, size, 3), RGB bytes."""
    canvas = _Canvas(face, size)
    _background(canvas, face)
    _hair_behind(canvas, face)
    _body(canvas, face)
    head = _head(canvas, face)
    _beard(canvas, face, head)
    _mouth(canvas, face)
    _nose(canvas, face)
    _eyes(canvas, face)
    _lines_of_age(canvas, face, head)
    _hair_in_front(canvas, face, head)
    _glasses(canvas, face)
    rgb = np.clip(canvas.rgb * face.brightness, 0, 1)
    pixels: NDArray[np.uint8] = (rgb * 255 + 0.5).astype(np.uint8)
    return pixels


def _background(canvas: _Canvas, face: Face) -> None:
    cos, sin = (np.float32(f(face.background_angle)) for f in (np.cos, np.sin))
    along = canvas.px * cos + canvas.py * sin
    part = np.clip(along * 0.4 + 0.5, 0, 1)[..., None]
    first, second = (np.asarray(c, np.float32) for c in face.background)
    canvas.rgb = first * (1 - part) + second * part
    x, y, radius = face.blob
    blob = _ellipse(canvas.px - x, canvas.py - y, radius, radius)
    canvas.paint(canvas.cover(blob, soft=0.25, picture=True), face.blob_colour, 0.6)


def _waves(canvas: _Canvas, face: Face) -> Array:
    """Outline shift of wavy hair; zero for straight hair."""
    if not face.wavy:
        return np.zeros_like(canvas.y)
    return 0.05 * np.sin(canvas.y * 13 + face.wave_phase) * np.sign(canvas.x)


def _strands(canvas: _Canvas, face: Face, alpha: Array) -> None:
    """Light and dark strands that make straight and wavy hair look different inside, too."""
    bend = (0.09 if face.wavy else 0.0) * np.sin(canvas.y * 13 + face.wave_phase)
    strands = np.sin((np.abs(canvas.x) + bend) * 24 + face.wave_phase)
    canvas.rgb *= (1 + alpha * strands * 0.11)[..., None]


def _hair_behind(canvas: _Canvas, face: Face) -> None:
    if face.bald:
        return
    x = canvas.x + _waves(canvas, face)
    width = face.face_width + 0.07 + 0.13 * face.hair_volume
    crown = _ellipse(x, canvas.y + 0.12, width, face.face_height * 0.93)
    alpha = canvas.cover(crown)
    if face.hair_length > 0.25:
        bottom = 0.05 + 0.75 * face.hair_length
        flare = width * (1 + 0.10 * canvas.y)
        sides = _intersect(np.abs(x) - flare, canvas.y - bottom, -canvas.y - 0.1)
        alpha = np.maximum(alpha, canvas.cover(sides, soft=0.03))
    canvas.paint(alpha, canvas.hair * 0.78)
    _strands(canvas, face, alpha)


def _body(canvas: _Canvas, face: Face) -> None:
    neck_width = 0.24 + 0.07 * face.male
    x, y = canvas.px - face.center[0], canvas.py - face.center[1]
    neck = _intersect(np.abs(canvas.x) - neck_width, 0.2 - canvas.y)
    shoulders = _ellipse(x, y - 1.38, 0.92 + 0.12 * face.male, 0.66)
    cloth = canvas.cover(shoulders, picture=True)
    canvas.paint(canvas.cover(neck), canvas.skin * 0.80)
    opening = _ellipse(x, y - 0.70, 0.34, 0.10 + 0.26 * face.neckline)
    canvas.paint(cloth, face.clothing)
    rim = cloth * canvas.cover(np.abs(opening) - 0.035, picture=True)
    canvas.paint(cloth * canvas.cover(opening, picture=True), canvas.skin * 0.88)
    canvas.paint(rim, face.clothing_trim)


def _head(canvas: _Canvas, face: Face) -> Array:
    """Paint ears and head; return the coverage of the head."""
    ears = _ellipse(np.abs(canvas.x) - face.face_width, canvas.y - 0.02, 0.075, 0.13)
    canvas.paint(canvas.cover(ears), canvas.skin * 0.86)
    # A chin: the lower half is narrowed, less so for a broad jaw.
    taper = 0.30 - 0.16 * face.male
    width = 1 - taper * np.clip(canvas.y, 0, 1) ** 2
    head = canvas.cover(_ellipse(canvas.x / width, canvas.y, face.face_width, face.face_height))
    canvas.paint(head, canvas.skin)
    side = np.clip(face.light * canvas.x / face.face_width, -1, 1)
    canvas.rgb *= (1 + head * side * 0.26)[..., None]
    canvas.shade(head * np.clip(canvas.y - 0.25, 0, 1), 0.80)
    cheeks = _ellipse(np.abs(canvas.x) - 0.27, canvas.y - 0.20, 0.13, 0.10)
    blush = 0.55 if face.makeup else 0.12
    canvas.paint(head * canvas.cover(cheeks, soft=0.14), canvas.skin * (1.0, 0.66, 0.66), blush)
    return head


def _beard(canvas: _Canvas, face: Face, head: Array) -> None:
    if face.beard <= 0:
        return
    jaw = _intersect(0.24 - canvas.y - 0.35 * canvas.x**2, -canvas.y)
    mouth = _ellipse(canvas.x, canvas.y - 0.40, 0.21, 0.12)
    full = head * canvas.cover(jaw, soft=0.05) * (1 - canvas.cover(mouth, soft=0.03))
    moustache = canvas.cover(
        _ellipse(canvas.x, canvas.y - 0.29 - canvas.x**2, 0.22, 0.045), soft=0.02
    )
    canvas.paint(np.maximum(full, head * moustache), canvas.hair * 0.72, 0.45 + 0.5 * face.beard)


def _mouth(canvas: _Canvas, face: Face) -> None:
    width = face.mouth_width + 0.055 * max(face.smile, 0.0)
    bow = np.clip(canvas.x / width, -1, 1) ** 2
    # A smile lifts the corners: y points down, so they move up by the smile.
    middle = canvas.y - 0.40 + 0.115 * face.smile * (bow - 0.4)
    taper = np.sqrt(np.clip(1 - bow, 0, 1))
    outside = np.abs(canvas.x) - width
    lips = 0.036 + 0.014 * (1 - face.male) + 0.012 * face.makeup
    opening = np.float32(0.058 * np.clip(face.smile - 0.25, 0, 1) / 0.75)
    alpha = canvas.cover(_intersect(np.abs(middle) - (lips + opening) * taper, outside))
    canvas.paint(alpha, face.lip_colour)
    if opening > 0.004:
        teeth = canvas.cover(_intersect(np.abs(middle) - opening * taper, outside))
        canvas.paint(teeth, (0.97, 0.96, 0.93))
    else:
        line = canvas.cover(_intersect(np.abs(middle) - 0.008, outside))
        canvas.paint(line, np.asarray(face.lip_colour, np.float32) * 0.45, 0.8)
    folds = _segment(np.abs(canvas.x), canvas.y, (0.15, 0.20), (0.25, 0.36)) - 0.012
    canvas.paint(canvas.cover(folds, soft=0.02), canvas.skin * 0.66, max(face.smile, 0) * 0.6)


def _nose(canvas: _Canvas, face: Face) -> None:
    side = 0.035 if face.light < 0 else -0.035
    ridge = _segment(canvas.x, canvas.y, (side * 0.6, -0.08), (side * 1.5, 0.16))
    canvas.paint(canvas.cover(ridge - 0.018, soft=0.03), canvas.skin * 0.74, 0.8)
    width = 0.06 + 0.05 * face.nose
    tip = _intersect(np.abs(canvas.y - 0.20 + canvas.x**2) - 0.014, np.abs(canvas.x) - width)
    canvas.paint(canvas.cover(tip, soft=0.02), canvas.skin * 0.58, 0.9)


def _eyes(canvas: _Canvas, face: Face) -> None:
    x, y = np.abs(canvas.x) - face.eye_gap, canvas.y + 0.10
    rx, ry = 0.115 * face.eye_size, 0.062 * face.eye_size
    if face.makeup:
        shadow = _ellipse(x, y + 0.035, rx * 1.25, ry * 1.7)
        canvas.paint(canvas.cover(shadow, soft=0.03), (0.45, 0.25, 0.50), 0.65)
    white = canvas.cover(_ellipse(x, y, rx, ry))
    canvas.paint(white, (0.97, 0.97, 0.97))
    # Both eyes look the same way, so the iris is placed in unfolded coordinates.
    iris_x = np.sign(canvas.x) * x - 0.03 * face.gaze
    for radius, colour in ((0.054, face.iris), (0.026, (0.05, 0.05, 0.06))):
        disc = _ellipse(iris_x, y, radius * face.eye_size, radius * face.eye_size)
        canvas.paint(white * canvas.cover(disc), colour)
    lid = _intersect(np.abs(_ellipse(x, y, rx, ry)) - (0.012 + 0.016 * face.makeup), y)
    canvas.paint(canvas.cover(lid), (0.12, 0.08, 0.08), 0.85)
    brow_y = -0.25 - 0.02 * face.smile
    tilt = 0.05 * face.brow_tilt
    inner = (face.eye_gap - 0.11, brow_y + tilt)
    outer = (face.eye_gap + 0.12, brow_y - tilt + 0.02)
    brow = _segment(np.abs(canvas.x), canvas.y, inner, outer)
    thick = 0.018 + 0.020 * face.male
    brow_colour = canvas.skin * 0.35 + canvas.hair * 0.25
    canvas.paint(canvas.cover(brow - thick), brow_colour, 0.9)


def _lines_of_age(canvas: _Canvas, face: Face, head: Array) -> None:
    strength = float(np.clip((face.age - 0.45) / 0.4, 0, 1))
    if strength <= 0:
        return
    dark = canvas.skin * 0.62
    for height in (-0.43, -0.35):
        line = _intersect(
            np.abs(canvas.y - height - 0.1 * canvas.x**2) - 0.008, np.abs(canvas.x) - 0.22
        )
        canvas.paint(head * canvas.cover(line), dark, strength * 0.8)
    x, y = np.abs(canvas.x), canvas.y
    folds = _segment(x, y, (0.12, 0.18), (0.24, 0.42)) - 0.010
    bags = _segment(x, y, (face.eye_gap - 0.07, 0.00), (face.eye_gap + 0.08, 0.00))
    canvas.paint(head * canvas.cover(folds, soft=0.01), dark, strength * 0.9)
    canvas.paint(head * canvas.cover(bags - 0.010), dark, strength * 0.7)


def _hair_in_front(canvas: _Canvas, face: Face, head: Array) -> None:
    if face.bald:
        outline = _ellipse(canvas.x, canvas.y, face.face_width + 0.05, face.face_height)
        inside = (face.face_width - 0.055) - np.abs(canvas.x)
        rim = _intersect(outline, inside, canvas.y - 0.10, -0.28 - canvas.y)
        canvas.paint(canvas.cover(rim, soft=0.03), canvas.hair, 0.8)
        shine = _ellipse(canvas.x - 0.2 * face.light, canvas.y + 0.55, 0.16, 0.08)
        canvas.paint(head * canvas.cover(shine, soft=0.14), (1.0, 1.0, 1.0), 0.35)
        return
    x = canvas.x + _waves(canvas, face)
    volume = 0.05 + 0.12 * face.hair_volume
    crown = _ellipse(x, canvas.y + 0.10, face.face_width + volume, face.face_height)
    # The hairline: an arch over the forehead, highest at the parting, lower with a fringe.
    from_parting = x - 0.30 * face.parting
    arch = 1.5 * np.abs(from_parting) ** 2.2
    hairline = canvas.y - (arch + (-0.52 + 0.24 * face.fringe))
    alpha = canvas.cover(_intersect(crown, hairline), soft=0.01)
    alpha = alpha * canvas.cover(canvas.y - (0.02 + 0.10 * face.hair_length))
    canvas.paint(alpha, canvas.hair)
    _strands(canvas, face, alpha)
    gloss = np.exp(-(((canvas.y + 0.62) / 0.12) ** 2))
    canvas.paint(alpha * gloss, (1.0, 1.0, 1.0), 0.14)


def _glasses(canvas: _Canvas, face: Face) -> None:
    if not face.glasses:
        return
    x, y = np.abs(canvas.x) - face.eye_gap, canvas.y + 0.09
    round_lens = _ellipse(x, y, 0.165, 0.155)
    square_lens = _intersect(np.abs(x) - 0.175, np.abs(y) - 0.125)
    lens = round_lens if face.glasses_round else square_lens
    canvas.paint(canvas.cover(lens), (0.85, 0.92, 1.0), 0.18)
    frame = np.abs(lens) - 0.021
    bridge = _intersect(np.abs(y + 0.03) - 0.018, x + 0.15)
    temple = _intersect(
        np.abs(y + 0.03) - 0.016,
        0.16 - x,
        np.abs(canvas.x) - (face.face_width + 0.03),
    )
    alpha = np.maximum(canvas.cover(frame), np.maximum(canvas.cover(bridge), canvas.cover(temple)))
    canvas.paint(alpha, face.glasses_colour)
