"""Data sets whose images are files: reading, checking, cropping and resizing them."""

import hashlib
import os
import warnings
from abc import abstractmethod
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from torch import Tensor

from stitching.data import decoding
from stitching.data.base import ClassLabels, ImageData, ImageSet, few
from stitching.data.decoding import Box, Facts
from stitching.data.stamps import Stamps


class FileData(ImageData):
    """Images kept as files below one folder.

    A file becomes an image in five steps: decode (the first frame; colour profiles are ignored),
    turn as its EXIF orientation says, lay transparent pixels over white and convert to 8-bit
    RGB, crop, resize with Pillow's antialiased bicubic filter. Pixels outside the crop do not
    enter. The steps see one file at a time, so batches and order cannot change an image.

    An image is identified by its id and the SHA-256 of its file: equal bytes under equal ids are
    the same image in any folder, and other bytes never are.

    Args:
        root: The folder; the other arguments are those of `ImageData`.

    Raises:
        TypeError: A number is not an integer.
        ValueError: root is None, or a number is below 1.
    """

    #: Parts of messages: what `data.root` must be, and what to do about missing or broken images.
    wanted: ClassVar[str]
    remedy: ClassVar[str]

    def __init__(
        self,
        root: str | os.PathLike[str] | None,
        name: str,
        n_train: int,
        n_test: int,
        image_size: int,
    ) -> None:
        """Keep the folder; nothing is read yet."""
        if root is None:
            raise ValueError(f"data.root is not set: give data.root={self.wanted}")
        super().__init__(name, n_train, n_test, image_size)
        self.root = Path(root)
        self._path_of: dict[str, Path] = {}
        self._facts: dict[Path, Facts] = {}
        self._warned: set[str] = set()

    def check(self, splits: Sequence[str] = ("train", "test")) -> None:
        """Check labels, ids, and that every file of the splits is there and is an image.

        Files are read once, about 0.3 ms for a JPEG of 178 x 218 pixels, and not again before
        they change. A file of another format that is cut off is found when its pixels are read.
        Warns of crops smaller than `image_size`, and of JPEG files with damaged pixels.

        Raises:
            FileNotFoundError: Files are missing; one message for all of them.
            ValueError: Files are not images, or labels or ids are wrong.
        """
        # All splits at once, so that one message counts all missing files.
        used = {
            item: path
            for split in dict.fromkeys([*splits, "test"])
            for item, path in self._locate(split).items()
        }
        self._inspect(used.values())
        super().check(splits)
        problems, sizes = [], []
        for path in used.values():
            facts = self._facts[path]
            try:
                if facts.problem:
                    raise ValueError(facts.problem)
                left, top, right, bottom = self._crop(*facts.size)
                sizes.append(min(right - left, bottom - top))
            except ValueError as error:
                problems.append(f"{path}: {error}")
        if problems:
            raise ValueError(
                f"{len(problems)} of {len(used)} images cannot be used: {few(problems)}. "
                f"{self.remedy}"
            )
        # Half a pixel of tolerance: stored sizes are rounded.
        small = [size for size in sizes if size < self.image_size - 0.5]
        if small:
            warnings.warn(
                f"{len(small)} of {len(used)} crops are smaller than data.image_size="
                f"{self.image_size} (the smallest has {min(small):.0f} pixels) and are enlarged",
                stacklevel=2,
            )

    def some_test(self, n: int) -> ImageSet | None:
        """Return the first n images of the test part, whatever `n_test` is, see the base class."""
        ids = self._parts[1][:n]
        return self._made("test", self._paths(ids)) if ids else None

    def _build(self, split: str) -> ImageSet:
        return self._made(split, self._locate(split))

    def _made(self, split: str, files: dict[str, Path]) -> ImageSet:
        self._inspect(files.values())
        self._path_of.update(files)
        ids = tuple(files)
        return ImageSet(
            name=self.name,
            split=split,
            ids=ids,
            image_size=self.image_size,
            # Decoders differ in the last bit between versions of Pillow.
            recipe=f"reader {decoding.READER_VERSION}, Pillow {PIL.__version__}, {self._recipe()}",
            load=self._load,
            attributes=self._labels(ids),
            classes=self._classes(ids),
            stamps=tuple(self._facts[path].sha256 for path in files.values()),
        )

    def _locate(self, split: str) -> dict[str, Path]:
        """Return the file of each id of a split, in the split's order."""
        fit, test = self._parts
        if split == "pretrain":
            return self._paths(fit)
        ids, n = (test, self.n_test) if split == "test" else (fit, self.n_train)
        if n > len(ids):
            raise ValueError(f"data.n_{split}={n}, but {self._shortage(split, len(ids))}")
        return self._paths(ids[:n])

    def _require_root(self) -> None:
        if not self.root.is_dir():
            raise FileNotFoundError(
                f"data.root={self.root} is not a folder: give data.root={self.wanted}"
            )

    @cached_property
    def _stamps(self) -> Stamps:
        return Stamps(self.root, self.cache)

    def _inspect(self, paths: Collection[Path]) -> None:
        """Inspect files that are new; raise if some are missing, warn if some are damaged."""
        new = [path for path in dict.fromkeys(paths) if path not in self._facts]
        found = self._stamps.facts_of(new)
        missing = [path.relative_to(self.root).as_posix() for path in new if path not in found]
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of {len(paths)} images are missing below {self.root}: "
                f"{few(missing)}. {self.remedy}"
            )
        self._facts |= found
        damaged = [f"{path}: {facts.damage}" for path, facts in found.items() if facts.damage]
        if damaged:
            warnings.warn(
                f"{len(damaged)} of {len(paths)} images are damaged, and parts of them are "
                f"decoded wrongly: {few(damaged)}. {self.remedy}",
                stacklevel=3,
            )

    def _load(self, ids: Sequence[str]) -> Tensor:
        """Return images by id, shape (n, 3, image_size, image_size), uint8."""
        pixels = []
        for path in (self._path_of[item] for item in ids):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                pixels.append(self._read(path))
            for warning in caught:  # decoders have no name of the file
                text = str(warning.message)
                if text not in self._warned:
                    self._warned.add(text)
                    warnings.warn(f"{path}: {text}", warning.category, stacklevel=2)
        return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)  # -> (n, 3, S, S)

    def _read(self, path: Path) -> NDArray[np.uint8]:
        try:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() == self._facts[path].sha256:
                image = decoding.to_rgb(decoding.open_image(data))
                return np.asarray(decoding.resize(image, self._crop(*image.size), self.image_size))
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{path}: no such file. {self.remedy}") from error
        except Exception as error:  # decoders raise anything
            raise ValueError(f"{path}: {decoding.reason(error)}. {self.remedy}") from error
        raise ValueError(f"{path}: was exchanged while the run was going on; start the run again")

    @property
    @abstractmethod
    def _parts(self) -> tuple[list[str], list[str]]:
        """All ids of the fit and of the test part, in the order of splits."""

    @abstractmethod
    def _paths(self, ids: Sequence[str]) -> dict[str, Path]:
        """Return the file of each of these ids, in their order."""

    @abstractmethod
    def _shortage(self, split: str, found: int) -> str:
        """Return why the part of a split is too small, with what to do, for a message."""

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
