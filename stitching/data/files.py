"""Data sets whose images are files: reading, checking, cropping and resizing them."""

import math
import os
import struct
import warnings
import zlib
from abc import abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from stitching.data.base import ClassLabels, ImageData, ImageSet, few

#: A crop (left, top, right, bottom) in pixels of the stored image, not rounded.
Box = tuple[float, float, float, float]

#: Number of the reading steps below; raise it when they change the pixels of any file.
READER_VERSION = 1

#: Pixel formats of Pillow that have 8 bits or less; those of 16 bits, or of floating point,
#: have no fixed white level, and converting them clips.
READABLE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")

#: What Pillow's decoders raise on damaged files.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)


class FileData(ImageData):
    """Images kept as files below one folder.

    A file becomes an image in five steps: decode (the first frame; colour profiles are ignored),
    turn as its EXIF orientation says, lay transparent pixels over white and convert to 8-bit
    RGB, crop, resize with Pillow's antialiased bicubic filter. Pixels outside the crop do not
    enter. The steps see one file at a time, so batches and order cannot change an image.

    Args:
        root: The folder; the other arguments are those of `ImageData`.
    """

    def __init__(
        self, root: str | os.PathLike[str], name: str, n_train: int, n_test: int, image_size: int
    ) -> None:
        """Keep the folder; nothing is read yet."""
        super().__init__(name, n_train, n_test, image_size)
        self.root = Path(root)
        self._path_of: dict[str, Path] = {}
        self._stamp_of: dict[Path, str] = {}

    def check(self, splits: Sequence[str] = ("train", "test")) -> None:
        """Check labels, ids, and that every file of the splits is there and is an image.

        Of the images only the headers are read, about 0.1 ms a file; a file cut off further down
        is found when it is read. Warns if crops are smaller than `image_size`.

        Raises:
            FileNotFoundError: Files are missing; one message for all of them.
            ValueError: Files are not images, or labels or ids are wrong.
        """
        # Stamped together, so that one message counts the missing files of all splits.
        used = {
            item: path
            for split in dict.fromkeys([*splits, "test"])
            for item, path in self._locate(split).items()
        }
        self._stamp(used.values())
        super().check(splits)
        problems, small = [], []
        for path in used.values():
            try:
                with _open(path) as image:
                    box = self._crop(*image.size)
            except _DECODE_ERRORS as error:
                problems.append(f"{path}: {_reason(error)}")
                continue
            size = min(box[2] - box[0], box[3] - box[1])
            if size < self.image_size - 0.5:  # half a pixel: stored sizes are rounded
                small.append(size)
        if problems:
            raise ValueError(
                f"{len(problems)} of {len(used)} images cannot be used: {few(problems)}. "
                f"{self._remedy()}"
            )
        if small:
            warnings.warn(
                f"{len(small)} of {len(used)} crops are smaller than data.image_size="
                f"{self.image_size} (the smallest has {min(small):.0f} pixels) and are enlarged",
                stacklevel=2,
            )

    def _build(self, split: str) -> ImageSet:
        files = self._locate(split)
        self._stamp(files.values())
        self._path_of.update(files)
        ids = tuple(files)
        return ImageSet(
            name=self.name,
            split=split,
            ids=ids,
            image_size=self.image_size,
            # Decoders differ in the last bit between versions of Pillow.
            recipe=f"reader {READER_VERSION}, Pillow {PIL.__version__}, {self._recipe()}",
            load=self._load,
            attributes=self._labels(ids),
            classes=self._classes(ids),
            stamps=tuple(
                f"{path.relative_to(self.root).as_posix()} {self._stamp_of[path]}"
                for path in files.values()
            ),
        )

    def _stamp(self, paths: Collection[Path]) -> None:
        """Record size and time of each file; raise if some are missing."""
        missing = []
        for path in paths:
            if path not in self._stamp_of:
                try:
                    self._stamp_of[path] = _stamp(os.stat(path))
                except FileNotFoundError:
                    missing.append(path.relative_to(self.root).as_posix())
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of {len(paths)} images are missing below {self.root}: "
                f"{few(missing)}. {self._remedy()}"
            )

    def _load(self, ids: Sequence[str]) -> Tensor:
        """Read images by id; shape (n, 3, image_size, image_size), uint8."""
        pixels = np.stack([self._read(self._path_of[item]) for item in ids])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)  # (n, S, S, 3) -> (n, 3, S, S)

    def _read(self, path: Path) -> NDArray[np.uint8]:
        try:
            with open(path, "rb") as stream:
                stamp = _stamp(os.fstat(stream.fileno()))
                image = _to_rgb(_open(stream))
                image = _resize(image, self._crop(*image.size), self.image_size)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{path}: no such file. {self._remedy()}") from error
        except _DECODE_ERRORS as error:
            raise ValueError(f"{path}: {_reason(error)}. {self._remedy()}") from error
        if stamp != self._stamp_of[path]:
            raise ValueError(
                f"{path}: was exchanged while the run was going on; start the run again"
            )
        return np.asarray(image)

    @abstractmethod
    def _locate(self, split: str) -> dict[str, Path]:
        """Return the file of each id of a split, in the split's order."""

    @abstractmethod
    def _labels(self, ids: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
        """Return the attributes of these ids, in their order."""

    def _classes(self, ids: Sequence[str]) -> dict[str, ClassLabels]:
        """Return the class labels of these ids, in their order; none by default."""
        del ids
        return {}

    @abstractmethod
    def _crop(self, width: int, height: int) -> Box:
        """Return the crop of an image of this size; ValueError if the size is not possible."""

    @abstractmethod
    def _recipe(self) -> str:
        """Return the settings, besides the image size, that determine the pixels."""

    @abstractmethod
    def _remedy(self) -> str:
        """Return one sentence: what to do about missing or broken images."""


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns}"


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image"  # Pillow's text repeats the path or the open stream
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _open(source: Path | BinaryIO) -> Image.Image:
    """Read the header, and refuse pixel formats that have no fixed white level."""
    image = Image.open(source)
    if image.mode not in READABLE_MODES:
        raise ValueError(f"pixel format {image.mode} is not supported: convert it to 8 bits")
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    """Decode, turn upright, lay over white; 8-bit RGB."""
    ImageOps.exif_transpose(image, in_place=True)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _resize(image: Image.Image, box: Box, size: int) -> Image.Image:
    """Crop and resize to (size, size); the crop may cut through pixels."""
    # Pillow's own box argument lets the filter reach beyond the box, so that what was cropped
    # away would tint the border. Whole pixels are cut first, only their fractions are left to it.
    left, top = math.floor(box[0]), math.floor(box[1])
    cut = image.crop((left, top, math.ceil(box[2]), math.ceil(box[3])))
    inner = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
    return cut.resize((size, size), Image.Resampling.BICUBIC, box=inner)
