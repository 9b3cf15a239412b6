"""Decoding of one image file: facts from its header, and the steps from bytes to pixels."""

import hashlib
import io
import math
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from stitching.data.jpeg import jpeg_damage

#: A crop (left, top, right, bottom) in pixels of the stored image, not rounded.
Box = tuple[float, float, float, float]

#: Version of the reading steps below; raise it when they change the pixels of any file.
READER_VERSION = 1

#: Pixel formats of Pillow that have 8 bits or less; those of 16 bits, or of floating point,
#: have no fixed white level, and converting them clips.
READABLE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")

#: Tag of EXIF (CIPA DC-008-2023, 4.6.5), and how each of its values is turned upright.
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts about a file that need not all of its pixels.

    Attributes:
        sha256: Of the bytes, hex.
        size: Width and height in pixels.
        problem: Why the file cannot be used, or "".
        damage: Damage that decoders tolerate, or "".
    """

    sha256: str
    size: tuple[int, int] = (0, 0)
    problem: str = ""
    damage: str = ""


def inspect(data: bytes) -> Facts:
    """Return the facts about a file; about 0.2 ms for a JPEG of 178 x 218 pixels."""
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        with open_image(data) as image:
            damage = jpeg_damage(data) if image.format in ("JPEG", "MPO") else ""
            if damage:
                image.load()  # some damage is an error to the decoder, too
            return Facts(sha256, image.size, damage=damage)
    except Exception as error:  # decoders raise anything
        return Facts(sha256, problem=reason(error))


def reason(error: Exception) -> str:
    """Return the message of an error, without the name of the file."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image"  # Pillow's text contains the path or the open stream
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def open_image(data: bytes) -> Image.Image:
    """Return an image of which only the header is read.

    Raises:
        ValueError: Its pixel format has no fixed white level.
    """
    image = Image.open(io.BytesIO(data))
    if image.mode not in READABLE_MODES:
        raise ValueError(f"pixel format {image.mode} is not supported: convert it to 8 bits")
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an image decoded, upright, over white, in 8-bit RGB."""
    image.load()
    method = _UPRIGHT.get(_orientation(image))
    if method is not None:
        image = image.transpose(method)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; 1, upright, where it cannot be read."""
    try:
        value = image.getexif().get(_ORIENTATION)
    except Exception:  # viewers, too, ignore a broken block of tags
        return 1
    return value if isinstance(value, int) else 1


def resize(image: Image.Image, box: Box, size: int) -> Image.Image:
    """Return the crop of an image, resized to (size, size); the crop may cut through pixels."""
    # With Pillow's box argument alone, the filter reaches beyond the box and pixels outside tint
    # the border. So whole pixels are cropped first, and the box is left with their fractions.
    left, top = math.floor(box[0]), math.floor(box[1])
    cut = image.crop((left, top, math.ceil(box[2]), math.ceil(box[3])))
    inner = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
    return cut.resize((size, size), Image.Resampling.BICUBIC, box=inner)
