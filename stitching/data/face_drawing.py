"""Drawing of one face: a pure function of its description, with analytic anti-aliasing.

Every shape is a signed distance (negative inside, in units where the picture is 2 wide). A layer
covers a pixel by `clip(0.5 - distance / pixel)`, so edges are smooth at any size without
supersampling. All arithmetic is element-wise on one picture, so a face has the same bytes alone
and in any batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: float32 throughout; the type checker cannot follow that through mixed arithmetic.
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
    male: float  #: 0 or 1; shapes jaw, brows, lips
    bald: bool
    blond: bool
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
    glasses_round: float
    glasses_colour: Colour
    clothing: Colour
    clothing_trim: Colour
    neckline: float
    background: tuple[Colour, Colour]
    background_angle: float
    blob: tuple[float, float, float]
    blob_colour: Colour


def skin_colour(tone: float) -> NDArray[np.float32]:
    """Return the RGB skin colour for a tone in [0, 1], pale to dark."""
    stops = np.array(
        [[0.99, 0.88, 0.82], [0.95, 0.78, 0.66], [0.80, 0.60, 0.45], [0.50, 0.34, 0.25]],
        dtype=np.float32,
    )
    position = np.float32(tone * 3)
    index = min(int(position), 2)
    part = position - np.float32(index)
    colour: NDArray[np.float32] = stops[index] * (1 - part) + stops[index + 1] * part
    return colour


def _ellipse(x: Array, y: Array, rx: float, ry: float) -> Array:
    """First-order distance to an axis-parallel ellipse at the origin."""
    u, v = x / np.float32(rx), y / np.float32(ry)
    radius = np.sqrt(u * u + v * v)
    gradient = np.sqrt((u / np.float32(rx)) ** 2 + (v / np.float32(ry)) ** 2) + np.float32(1e-6)
    return (radius - 1) * radius / gradient


def _segment(x: Array, y: Array, a: tuple[float, float], b: tuple[float, float]) -> Array:
    """Distance to the line segment from a to b."""
    dx, dy = np.float32(b[0] - a[0]), np.float32(b[1] - a[1])
    px, py = x - np.float32(a[0]), y - np.float32(a[1])
    along = np.clip((px * dx + py * dy) / (dx * dx + dy * dy), 0, 1)
    return np.sqrt((px - along * dx) ** 2 + (py - along * dy) ** 2)


def _both(*distances: Array) -> Array:
    out = distances[0]
    for distance in distances[1:]:
        out = np.maximum(out, distance)
    return out


class _Canvas:
    """A picture under construction, (H, W, 3) float32, with head coordinates."""

    def __init__(self, face: Face, size: int) -> None:
        axis = ((np.arange(size, dtype=np.float32) + np.float32(0.5)) / size) * 2 - 1
        self.px, self.py = np.meshgrid(axis, axis)
        self.pixel = np.float32(2 / size)
        cos, sin = np.float32(np.cos(face.rotation)), np.float32(np.sin(face.rotation))
        dx = (self.px - np.float32(face.center[0])) / np.float32(face.scale)
        dy = (self.py - np.float32(face.center[1])) / np.float32(face.scale)
        self.x, self.y = cos * dx + sin * dy, cos * dy - sin * dx
        self.head_pixel = self.pixel / np.float32(face.scale)
        self.rgb: Array = np.zeros((size, size, 3), np.float32)

    def cover(self, distance: Array, soft: float = 0.0, picture: bool = False) -> Array:
        """Share of each pixel inside the shape; `soft` widens the edge by that length."""
        width = (self.pixel if picture else self.head_pixel) + np.float32(soft)
        return np.clip(np.float32(0.5) - distance / width, 0, 1)

    def paint(self, alpha: Array, colour: Colour | Array, strength: float = 1.0) -> None:
        target = np.asarray(colour, np.float32)
        self.rgb += (alpha * np.float32(strength))[..., None] * (target - self.rgb)

    def shade(self, alpha: Array, factor: float) -> None:
        self.rgb *= (1 + alpha * np.float32(factor - 1))[..., None]


def draw(face: Face, size: int = 64) -> NDArray[np.uint8]:
    """Draw one face.

    Args:
        face: What to draw.
        size: Height and width in pixels.

    Returns:
        Shape (size, size, 3), RGB bytes.
    """
    canvas = _Canvas(face, size)
    skin = skin_colour(face.skin_tone)
    _background(canvas, face)
    _hair_behind(canvas, face)
    _body(canvas, face, skin)
    head = _head(canvas, face, skin)
    _beard(canvas, face, head)
    _mouth(canvas, face, skin)
    _nose(canvas, face, skin)
    _eyes(canvas, face, skin)
    _lines_of_age(canvas, face, skin, head)
    _hair_in_front(canvas, face, head)
    _glasses(canvas, face)
    rgb = np.clip(canvas.rgb * np.float32(face.brightness), 0, 1)
    pixels: NDArray[np.uint8] = (rgb * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    return pixels


def _background(canvas: _Canvas, face: Face) -> None:
    along = canvas.px * np.float32(np.cos(face.background_angle))
    along = along + canvas.py * np.float32(np.sin(face.background_angle))
    part = np.clip(along * np.float32(0.4) + np.float32(0.5), 0, 1)[..., None]
    first, second = (np.asarray(c, np.float32) for c in face.background)
    canvas.rgb = first * (1 - part) + second * part
    x, y, radius = face.blob
    blob = _ellipse(canvas.px - np.float32(x), canvas.py - np.float32(y), radius, radius)
    canvas.paint(canvas.cover(blob, soft=0.25, picture=True), face.blob_colour, 0.6)


def _waves(canvas: _Canvas, face: Face) -> Array:
    """Outline shift of wavy hair; zero for straight hair."""
    if not face.wavy:
        return np.zeros_like(canvas.y)
    phase = np.float32(face.wave_phase)
    return np.float32(0.05) * np.sin(canvas.y * np.float32(13) + phase) * np.sign(canvas.x)


def _strands(canvas: _Canvas, face: Face, alpha: Array) -> None:
    """Light and dark strands that make straight and wavy hair look different inside, too."""
    phase = np.float32(face.wave_phase)
    bend = np.float32(0.09 if face.wavy else 0.0) * np.sin(canvas.y * np.float32(13) + phase)
    strands = np.sin((np.abs(canvas.x) + bend) * np.float32(24) + phase)
    canvas.rgb *= (1 + alpha * strands * np.float32(0.11))[..., None]


def _hair_behind(canvas: _Canvas, face: Face) -> None:
    if face.bald:
        return
    x = canvas.x + _waves(canvas, face)
    width = face.face_width + 0.07 + 0.13 * face.hair_volume
    crown = _ellipse(x, canvas.y + np.float32(0.12), width, face.face_height * 0.93)
    alpha = canvas.cover(crown)
    if face.hair_length > 0.25:
        bottom = 0.05 + 0.75 * face.hair_length
        flare = np.float32(width) * (1 + np.float32(0.10) * canvas.y)
        sides = _both(
            np.abs(x) - flare, canvas.y - np.float32(bottom), -canvas.y - np.float32(0.1)
        )
        alpha = np.maximum(alpha, canvas.cover(sides, soft=0.03))
    canvas.paint(alpha, np.asarray(face.hair_colour, np.float32) * np.float32(0.78))
    _strands(canvas, face, alpha)


def _body(canvas: _Canvas, face: Face, skin: Array) -> None:
    neck_width = 0.24 + 0.07 * face.male
    x = canvas.px - np.float32(face.center[0])
    y = canvas.py - np.float32(face.center[1])
    neck = _both(np.abs(canvas.x) - np.float32(neck_width), np.float32(0.2) - canvas.y)
    shoulders = _ellipse(x, y - np.float32(1.38), 0.92 + 0.12 * face.male, 0.66)
    cloth = canvas.cover(shoulders, picture=True)
    canvas.paint(canvas.cover(neck), skin * np.float32(0.80))
    opening = _ellipse(x, y - np.float32(0.70), 0.34, 0.10 + 0.26 * face.neckline)
    canvas.paint(cloth, face.clothing)
    rim = cloth * canvas.cover(np.abs(opening) - np.float32(0.035), picture=True)
    canvas.paint(cloth * canvas.cover(opening, picture=True), skin * np.float32(0.88))
    canvas.paint(rim, face.clothing_trim)


def _head(canvas: _Canvas, face: Face, skin: Array) -> Array:
    """Paint ears and head; return the coverage of the head."""
    ears = _ellipse(
        np.abs(canvas.x) - np.float32(face.face_width), canvas.y - np.float32(0.02), 0.075, 0.13
    )
    canvas.paint(canvas.cover(ears), skin * np.float32(0.86))
    # A chin: the lower half is narrowed, less so for a broad jaw.
    taper = np.float32(0.30 - 0.16 * face.male)
    width = 1 - taper * np.clip(canvas.y, 0, 1) ** 2
    head = canvas.cover(_ellipse(canvas.x / width, canvas.y, face.face_width, face.face_height))
    canvas.paint(head, skin)
    side = np.clip(np.float32(face.light) * canvas.x / np.float32(face.face_width), -1, 1)
    canvas.rgb *= (1 + head * side * np.float32(0.26))[..., None]
    canvas.shade(head * np.clip(canvas.y - np.float32(0.25), 0, 1), 0.80)
    cheeks = _ellipse(np.abs(canvas.x) - np.float32(0.27), canvas.y - np.float32(0.20), 0.13, 0.10)
    blush = 0.55 if face.makeup else 0.12
    canvas.paint(head * canvas.cover(cheeks, soft=0.14), skin * (1.0, 0.66, 0.66), blush)
    return head


def _beard(canvas: _Canvas, face: Face, head: Array) -> None:
    if face.beard <= 0:
        return
    hair = np.asarray(face.hair_colour, np.float32) * np.float32(0.72)
    jaw = _both(np.float32(0.24) - canvas.y - np.float32(0.35) * canvas.x**2, -canvas.y)
    mouth = _ellipse(canvas.x, canvas.y - np.float32(0.40), 0.21, 0.12)
    full = head * canvas.cover(jaw, soft=0.05) * (1 - canvas.cover(mouth, soft=0.03))
    moustache = canvas.cover(
        _ellipse(canvas.x, canvas.y - np.float32(0.29) - canvas.x**2, 0.22, 0.045), soft=0.02
    )
    canvas.paint(np.maximum(full, head * moustache), hair, 0.45 + 0.5 * face.beard)


def _mouth(canvas: _Canvas, face: Face, skin: Array) -> None:
    width = np.float32(face.mouth_width + 0.055 * max(face.smile, 0.0))
    bow = np.clip(canvas.x / width, -1, 1) ** 2
    # A smile lifts the corners: y points down, so they move up by the smile.
    middle = canvas.y - np.float32(0.40) + np.float32(0.115 * face.smile) * (bow - np.float32(0.4))
    taper = np.sqrt(np.clip(1 - bow, 0, 1))
    outside = np.abs(canvas.x) - width
    lips = np.float32(0.036 + 0.014 * (1 - face.male) + 0.012 * face.makeup)
    opening = np.float32(0.058 * np.clip(face.smile - 0.25, 0, 1) / 0.75)
    alpha = canvas.cover(_both(np.abs(middle) - (lips + opening) * taper, outside))
    canvas.paint(alpha, face.lip_colour)
    line = canvas.cover(_both(np.abs(middle) - np.float32(0.008), outside))
    if opening > 0.004:
        teeth = canvas.cover(_both(np.abs(middle) - opening * taper, outside))
        canvas.paint(teeth, (0.97, 0.96, 0.93))
    else:
        canvas.paint(line, np.asarray(face.lip_colour, np.float32) * np.float32(0.45), 0.8)
    folds = _segment(np.abs(canvas.x), canvas.y, (0.15, 0.20), (0.25, 0.36)) - np.float32(0.012)
    canvas.paint(canvas.cover(folds, soft=0.02), skin * np.float32(0.66), max(face.smile, 0) * 0.6)


def _nose(canvas: _Canvas, face: Face, skin: Array) -> None:
    side = 0.035 if face.light < 0 else -0.035
    ridge = _segment(canvas.x, canvas.y, (side * 0.6, -0.08), (side * 1.5, 0.16))
    canvas.paint(canvas.cover(ridge - np.float32(0.018), soft=0.03), skin * np.float32(0.74), 0.8)
    width = 0.06 + 0.05 * face.nose
    tip = _both(
        np.abs(canvas.y - np.float32(0.20) + canvas.x**2) - np.float32(0.014),
        np.abs(canvas.x) - np.float32(width),
    )
    canvas.paint(canvas.cover(tip, soft=0.02), skin * np.float32(0.58), 0.9)


def _eyes(canvas: _Canvas, face: Face, skin: Array) -> None:
    x = np.abs(canvas.x) - np.float32(face.eye_gap)
    y = canvas.y + np.float32(0.10)
    rx, ry = 0.115 * face.eye_size, 0.062 * face.eye_size
    if face.makeup:
        shadow = _ellipse(x, y + np.float32(0.035), rx * 1.25, ry * 1.7)
        canvas.paint(canvas.cover(shadow, soft=0.03), (0.45, 0.25, 0.50), 0.65)
    white = canvas.cover(_ellipse(x, y, rx, ry))
    canvas.paint(white, (0.97, 0.97, 0.97))
    # Both eyes look the same way, so the iris is placed in unfolded coordinates.
    iris_x = np.sign(canvas.x) * x - np.float32(0.03 * face.gaze)
    iris = _ellipse(iris_x, y, 0.054 * face.eye_size, 0.054 * face.eye_size)
    canvas.paint(white * canvas.cover(iris), face.iris)
    pupil = _ellipse(iris_x, y, 0.026 * face.eye_size, 0.026 * face.eye_size)
    canvas.paint(white * canvas.cover(pupil), (0.05, 0.05, 0.06))
    lid = _both(np.abs(_ellipse(x, y, rx, ry)) - np.float32(0.012 + 0.016 * face.makeup), y)
    canvas.paint(canvas.cover(lid), (0.12, 0.08, 0.08), 0.85)
    brow_y = -0.25 - 0.02 * face.smile
    tilt = 0.05 * face.brow_tilt
    brow = _segment(
        np.abs(canvas.x),
        canvas.y,
        (face.eye_gap - 0.11, brow_y + tilt),
        (face.eye_gap + 0.12, brow_y - tilt + 0.02),
    )
    thick = np.float32(0.018 + 0.020 * face.male)
    brow_colour = skin * np.float32(0.35) + np.asarray(face.hair_colour, np.float32) * np.float32(
        0.25
    )
    canvas.paint(canvas.cover(brow - thick), brow_colour, 0.9)


def _lines_of_age(canvas: _Canvas, face: Face, skin: Array, head: Array) -> None:
    strength = float(np.clip((face.age - 0.45) / 0.4, 0, 1))
    if strength <= 0:
        return
    dark = skin * np.float32(0.62)
    for height in (-0.43, -0.35):
        line = _both(
            np.abs(canvas.y - np.float32(height) - np.float32(0.1) * canvas.x**2)
            - np.float32(0.008),
            np.abs(canvas.x) - np.float32(0.22),
        )
        canvas.paint(head * canvas.cover(line), dark, strength * 0.8)
    x, y = np.abs(canvas.x), canvas.y
    folds = _segment(x, y, (0.12, 0.18), (0.24, 0.42)) - np.float32(0.010)
    bags = _segment(x, y, (face.eye_gap - 0.07, 0.00), (face.eye_gap + 0.08, 0.00))
    canvas.paint(head * canvas.cover(folds, soft=0.01), dark, strength * 0.9)
    canvas.paint(head * canvas.cover(bags - np.float32(0.010)), dark, strength * 0.7)


def _hair_in_front(canvas: _Canvas, face: Face, head: Array) -> None:
    colour = np.asarray(face.hair_colour, np.float32)
    if face.bald:
        rim = _both(
            _ellipse(canvas.x, canvas.y, face.face_width + 0.05, face.face_height),
            np.float32(face.face_width - 0.055) - np.abs(canvas.x),
            canvas.y - np.float32(0.10),
            np.float32(-0.28) - canvas.y,
        )
        canvas.paint(canvas.cover(rim, soft=0.03), colour, 0.8)
        shine = _ellipse(
            canvas.x - np.float32(0.2 * face.light), canvas.y + np.float32(0.55), 0.16, 0.08
        )
        canvas.paint(head * canvas.cover(shine, soft=0.14), (1.0, 1.0, 1.0), 0.35)
        return
    x = canvas.x + _waves(canvas, face)
    volume = 0.05 + 0.12 * face.hair_volume
    crown = _ellipse(x, canvas.y + np.float32(0.10), face.face_width + volume, face.face_height)
    # The hairline: an arch over the forehead, highest at the parting, lower with a fringe.
    from_parting = x - np.float32(0.30 * face.parting)
    arch = np.float32(1.5) * np.abs(from_parting) ** np.float32(2.2)
    hairline = canvas.y - (arch + np.float32(-0.52 + 0.24 * face.fringe))
    alpha = canvas.cover(_both(crown, hairline), soft=0.01)
    alpha = alpha * canvas.cover(canvas.y - np.float32(0.02 + 0.10 * face.hair_length))
    canvas.paint(alpha, colour)
    _strands(canvas, face, alpha)
    gloss = np.exp(-(((canvas.y + np.float32(0.62)) / np.float32(0.12)) ** 2))
    canvas.paint(alpha * gloss, (1.0, 1.0, 1.0), 0.14)


def _glasses(canvas: _Canvas, face: Face) -> None:
    if not face.glasses:
        return
    x = np.abs(canvas.x) - np.float32(face.eye_gap)
    y = canvas.y + np.float32(0.09)
    round_lens = _ellipse(x, y, 0.165, 0.155)
    square_lens = _both(np.abs(x) - np.float32(0.175), np.abs(y) - np.float32(0.125))
    part = np.float32(face.glasses_round)
    lens = part * round_lens + (1 - part) * square_lens
    canvas.paint(canvas.cover(lens), (0.85, 0.92, 1.0), 0.18)
    frame = np.abs(lens) - np.float32(0.021)
    bridge = _both(np.abs(y + np.float32(0.03)) - np.float32(0.018), x + np.float32(0.15))
    temple = _both(
        np.abs(y + np.float32(0.03)) - np.float32(0.016),
        np.float32(0.16) - x,
        np.abs(canvas.x) - np.float32(face.face_width + 0.03),
    )
    alpha = np.maximum(canvas.cover(frame), np.maximum(canvas.cover(bridge), canvas.cover(temple)))
    canvas.paint(alpha, face.glasses_colour)
