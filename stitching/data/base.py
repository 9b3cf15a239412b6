"""What every image data set offers: images in [0, 1], ids, labels, and splits disjoint by id.

`ImageSet` is one split, `ImageData` the data set that makes the splits, and `FileData` the part
shared by data sets whose images are files. Everything is addressed by id: an image, its labels
and its factors are looked up under the same id, never paired by their place in two lists.
"""

import hashlib
import json
import math
import operator
import os
import struct
import warnings
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, SupportsIndex

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from stitching.images import to_unit

#: `train` fits maps and probes, `test` is only ever measured on, `pretrain` is what a model of
#: the zoo may be trained on; `train` and `pretrain` may overlap, `test` meets neither.
SPLITS = ("train", "test", "pretrain")

#: A crop (left, top, right, bottom) in pixels of the stored image, not rounded.
Box = tuple[float, float, float, float]

#: Number of the reading steps below; raise it when they change the pixels of any file.
READER_VERSION = 1

#: Pixel formats of Pillow that have 8 bits or less; those of 16 bits, or of floating point,
#: have no fixed white level, and converting them clips.
READABLE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")

#: What Pillow's decoders raise on damaged files.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageSet:
    """One split of a data set; its order never changes.

    Attributes:
        name: Name of the data set.
        split: Name of the split, one of `SPLITS`.
        ids: Unique and stable, one per item.
        image_size: Height and width of every image, in pixels.
        recipe: Text of every setting and version, besides the ids, that determines the pixels.
        load: Takes ids and returns their images, shape (n, 3, image_size, image_size), uint8 or
            float in [0, 1]. It must be a pure function of each id on its own, so that an image
            does not depend on the batch it is asked for in.
        attributes: Name to bool array of shape (N,), aligned with `ids`; no unknown values.
        factors: Name to float32 array of shape (N,), aligned with `ids`.
        stamps: For images that can change under one id (files): one text per item that changes
            with the content. Empty if recipe and id determine the pixels.
    """

    name: str
    split: str
    ids: tuple[str, ...]
    image_size: int
    recipe: str
    load: Callable[[Sequence[str]], Tensor] = field(repr=False)
    attributes: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict, repr=False)
    factors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)
    stamps: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        """Check that ids are unique and that labels have one value per id.

        Raises:
            ValueError: No ids, an id appears twice, a length differs, or a factor is not finite.
            TypeError: Attributes are not bool or factors are not float32.
        """
        where = f"{self.name}/{self.split}"
        if not self.ids:
            raise ValueError(f"{where}: has no items")
        if len(set(self.ids)) != len(self.ids):
            twice = [item for item, count in Counter(self.ids).items() if count > 1]
            raise ValueError(f"{where}: ids must be unique, more than once: {few(twice)}")
        if self.stamps and len(self.stamps) != len(self):
            raise ValueError(f"{where}: {len(self.stamps)} stamps for {len(self)} ids")
        for kind, table, dtype in (
            ("attribute", self.attributes, np.dtype(np.bool_)),
            ("factor", self.factors, np.dtype(np.float32)),
        ):
            for key, values in table.items():
                if values.dtype != dtype:
                    raise TypeError(f"{where}: {kind} {key} must be {dtype}, got {values.dtype}")
                if values.shape != (len(self),):
                    raise ValueError(
                        f"{where}: {kind} {key} has shape {values.shape}, "
                        f"but there are {len(self)} ids"
                    )
                if not np.isfinite(values).all():
                    raise ValueError(f"{where}: {kind} {key} has values that are not finite")

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.ids)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over everything that determines the pixels and their order.

        These are data set name, recipe, image size, ids and stamps. Labels do not enter, nor
        does the name of the split: equal pixels have equal fingerprints.
        """
        return _digest([self.name, self.recipe, self.image_size, self.ids, self.stamps])

    @cached_property
    def labels_fingerprint(self) -> str:
        """SHA-256 (hex) over ids, attributes and factors, for results that depend on labels."""
        tables = [
            [[key, hashlib.sha256(values.tobytes()).hexdigest()] for key, values in table.items()]
            for table in (self.attributes, self.factors)
        ]
        return _digest([self.ids, tables])

    def images(self, indices: Sequence[int] | NDArray[np.integer] | slice) -> Tensor:
        """Return images as float32 in [0, 1], shape (n, 3, image_size, image_size).

        Args:
            indices: Places in `ids`, from 0 to len(self) - 1, or a slice.

        Raises:
            IndexError: An index lies outside the split (negative ones included).
            TypeError: An index is not an integer; masks are not taken for indices.
            ValueError: An image cannot be read, or `load` broke its promise on shape or range.
        """
        if isinstance(indices, slice):
            places = list(range(len(self))[indices])
        else:
            places = [_index(i, len(self)) for i in indices]
        if not places:
            return torch.empty(0, 3, self.image_size, self.image_size)
        x = to_unit(self.load([self.ids[i] for i in places]))
        expected = (len(places), 3, self.image_size, self.image_size)
        if tuple(x.shape) != expected:
            raise ValueError(f"{self.name}: images have shape {tuple(x.shape)}, not {expected}")
        return x.contiguous()  # one memory layout, whatever the loader's

    def batches(self, batch_size: int) -> Iterator[Tensor]:
        """Yield all images in order, `batch_size` at a time; the last batch may be shorter.

        Raises:
            ValueError: batch_size < 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {batch_size}")
        return (
            self.images(slice(start, start + batch_size))
            for start in range(0, len(self), batch_size)
        )

    def subset(self, n: int) -> "ImageSet":
        """Return the first n items as a set of their own.

        Raises:
            ValueError: n is not between 1 and len(self).
        """
        if not 1 <= n <= len(self):
            raise ValueError(f"{self.name}/{self.split} has {len(self)} items, asked for {n}")
        return replace(
            self,
            ids=self.ids[:n],
            stamps=self.stamps[:n],
            attributes={key: values[:n] for key, values in self.attributes.items()},
            factors={key: values[:n] for key, values in self.factors.items()},
        )


class ImageData(ABC):
    """A data set: makes the three splits and checks them before any model work.

    Args:
        name: Name in configs, results and fingerprints.
        n_train: Number of items of the split `train`.
        n_test: Number of items of the split `test`.
        image_size: Height and width of every image, in pixels.

    Raises:
        TypeError: A number is not an integer.
        ValueError: A number is below 1.
    """

    def __init__(self, name: str, n_train: int, n_test: int, image_size: int) -> None:
        """Keep and check what all data sets share."""
        for key, value in (("n_train", n_train), ("n_test", n_test), ("image_size", image_size)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"data.{key} must be an integer, got {value!r}")
            if value < 1:
                raise ValueError(f"data.{key} must be >= 1, got {value}")
        self.name = name
        self.n_train = n_train
        self.n_test = n_test
        self.image_size = image_size
        self._built: dict[str, ImageSet] = {}

    def split(self, split: str) -> ImageSet:
        """Return a split: "train", "test" or "pretrain".

        `train` has `n_train` items, `test` has `n_test`; `pretrain` is the whole fit part,
        whatever `n_train` is. No id of `test` is in one of the others.

        Raises:
            ValueError: No such split, or the data set is too small for it.
            FileNotFoundError: A file that the split needs is missing.
        """
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        if split not in self._built:
            self._built[split] = self._build(split)
        return self._built[split]

    def check(self, splits: Sequence[str] = ("train", "test")) -> None:
        """Check cheaply, before any model work, that the splits in use can be made and read.

        Args:
            splits: The splits in use. `test` is always made, to compare the ids.

        Raises:
            ValueError: Ids overlap, or something about the files is wrong.
            FileNotFoundError: Files are missing.
        """
        test = self.split("test")
        for split in splits:
            if split != "test":
                assert_disjoint(self.split(split), test)

    @abstractmethod
    def _build(self, split: str) -> ImageSet:
        """Make one split; called once for each name of `SPLITS`."""


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

    @abstractmethod
    def _crop(self, width: int, height: int) -> Box:
        """Return the crop of an image of this size; ValueError if the size is not possible."""

    @abstractmethod
    def _recipe(self) -> str:
        """Return the settings, besides the image size, that determine the pixels."""

    @abstractmethod
    def _remedy(self) -> str:
        """Return one sentence: what to do about missing or broken images."""


def ids_hash(ids: Sequence[str]) -> str:
    """Return SHA-256 (hex) of a list of ids; their order counts."""
    return _digest(list(ids))


def assert_disjoint(train: ImageSet, test: ImageSet) -> None:
    """Check that no item is both fitted and measured on.

    Raises:
        ValueError: An id is in both; the message names the first.
    """
    inside = set(train.ids)
    both = [item for item in test.ids if item in inside]
    if both:
        raise ValueError(
            f"{len(both)} ids are in both {train.name}/{train.split} and "
            f"{test.name}/{test.split}, which must be disjoint: {few(both)}"
        )


def few(texts: Sequence[str]) -> str:
    """Return the first three texts for an error message, with "..." if there are more."""
    return ", ".join(texts[:3]) + (", ..." if len(texts) > 3 else "")


def _index(value: SupportsIndex, length: int) -> int:
    if isinstance(value, (bool, np.bool_)):
        raise TypeError("indices must be integers, got a mask: use numpy.flatnonzero(mask)")
    place = operator.index(value)
    if not 0 <= place < length:
        raise IndexError(f"index {place} is outside 0..{length - 1}")
    return place


def _digest(content: object) -> str:
    # JSON keeps apart what joined text would merge, and escapes undecodable file names.
    return hashlib.sha256(json.dumps(content).encode("ascii")).hexdigest()


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns}"


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image"  # Pillow's text repeats the path or the open stream
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _open(source: Path | BinaryIO) -> Image.Image:
    """Read the header."""
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
