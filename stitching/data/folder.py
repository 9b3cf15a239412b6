"""Any folder of images, with binary attributes from a CSV file if there is one."""

import hashlib
import os
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stitching.data.base import ClassLabels, few
from stitching.data.decoding import Box
from stitching.data.files import FileData
from stitching.data.labels import read_attributes
from stitching.data.walk import SUFFIXES, find_images

#: Folders of the parts of a data set, as for torchvision's `ImageFolder`, in lower case.
FIT_FOLDERS = ("train", "training")
TEST_FOLDERS = ("test", "testing")
VALIDATION_FOLDERS = ("val", "valid", "validation")


class Folder(FileData):
    """The images of a folder and its subfolders, cropped to their central square.

    The id of an image is its path below `root` without the suffix, with "/" between folders.
    Links are followed, each folder once. Names that begin with a dot and folders of the system
    (`@eaDir`, `__MACOSX`, ...) are left out, with a warning that counts their images.

    The split needs no seed. An image's place is the SHA-256 of its id, as a fraction of the
    largest possible value: below `test_share` it belongs to the test part, else to the fit part,
    and within its part images are ordered by place. Neither n_train, n_test nor other files can
    move an image to the other part. `train` and `test` are the first n_train and n_test of their
    parts, `pretrain` is the whole fit part. Copies of one picture under two names are two images,
    and may be in different parts.

    Args:
        root: The folder.
        n_train: Number of items of `train`.
        n_test: Number of items of `test`.
        image_size: Height and width of every image, in pixels.
        attributes: Table in UTF-8 with a header line and commas, semicolons or tabs; its first
            column holds file names (paths below root) or ids, each other column an attribute, as
            0/1, -1/1 or true/false. None: the images have no attributes.
        test_share: About this share of all images is the test part; between 0 and 1.
        classes: "folders": the first folder on the path of an image is its class, under the
            name `folder`, as in torchvision's `ImageFolder`. None: no classes. Where these
            folders are `train` and `test` or `val`, they are the fit and the test part instead,
            and the folder in them is the class; of `test` and `val` the first is used.
        name: Name of the data set.

    Raises:
        TypeError: A number is not an integer.
        ValueError: root is None, a number is below 1, test_share is not between 0 and 1, or
            `classes` is neither.
    """

    wanted = f"/path/to/images, a folder of images ({', '.join(SUFFIXES)}), subfolders included"
    remedy = "Replace the file, or move it out of data.root"

    def __init__(
        self,
        root: str | os.PathLike[str] | None,
        n_train: int,
        n_test: int,
        image_size: int,
        attributes: str | os.PathLike[str] | None,
        test_share: float,
        classes: str | None = None,
        name: str = "folder",
    ) -> None:
        """Check the settings; nothing is read yet."""
        super().__init__(root, name, n_train, n_test, image_size)
        if not 0 < test_share < 1:
            raise ValueError(f"data.test_share must be between 0 and 1, got {test_share}")
        if classes not in (None, "folders"):
            raise ValueError(f"data.classes={classes!r}: use folders, or null for no classes")
        self.classes = classes
        self.attributes = None if attributes is None else Path(attributes)
        self.test_share = test_share

    @cached_property
    def _files(self) -> dict[str, Path]:
        """All images below root, by id."""
        self._require_root()
        files: dict[str, Path] = {}
        for path in find_images(self.root):
            item = path.relative_to(self.root).with_suffix("").as_posix()
            if item in files:
                raise ValueError(
                    f"{files[item]} and {path} have the same id, {item}: rename one of them"
                )
            files[item] = path
        if not files:
            raise FileNotFoundError(
                f"data.root={self.root} holds no images ({', '.join(SUFFIXES)})"
            )
        return files

    @cached_property
    def _parts(self) -> tuple[list[str], list[str]]:
        """The ids of the fit and of the test part, each in ascending order of place."""
        places = {item: place(item) for item in self._files}
        ordered = sorted(places, key=places.__getitem__)
        if self._folders is None:
            fit = [item for item in ordered if places[item] >= self.test_share]
            return fit, [item for item in ordered if places[item] < self.test_share]
        fit, test = ([i for i in ordered if _top(i) in names] for names in self._folders)
        unused = len(ordered) - len(fit) - len(test)
        if unused:
            warnings.warn(
                f"{unused} images below {self.root} are for validation, and are not used: "
                "the test part is the folder test",
                stacklevel=2,
            )
        return fit, test

    @cached_property
    def _folders(self) -> tuple[set[str], set[str]] | None:
        """The folders of the fit and the test part; None if places divide the images."""
        tops = {_top(item) for item in self._files}
        fit, test, validation = (
            {top for top in tops if top.lower() in names}
            for names in (FIT_FOLDERS, TEST_FOLDERS, VALIDATION_FOLDERS)
        )
        divided = fit and (test or validation) and tops == fit | test | validation
        return (fit, test or validation) if self.classes and divided else None

    def _paths(self, ids: Sequence[str]) -> dict[str, Path]:
        return {item: self._files[item] for item in ids}

    def _shortage(self, split: str, found: int) -> str:
        test = split == "test"
        remedy = f"give data.n_{split} from 1 to {found}, or " if found else ""
        divider = (
            f"change data.test_share ({self.test_share}), which divides them"
            if self._folders is None
            else f"move some to {' or '.join(sorted(self._folders[test]))}"
        )
        return (
            f"{found} of the {len(self._files)} images below {self.root} are in the "
            f"{'test' if test else 'fit'} part: {remedy}add images, or {divider}"
        )

    def _labels(self, ids: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
        return {
            column: np.array([values[item] for item in ids], np.bool_)
            for column, values in self._table.items()
        }

    @cached_property
    def _table(self) -> dict[str, dict[str, bool]]:
        if self.attributes is None:
            return {}
        return read_attributes(self.attributes, self.root, self._files)

    def _classes(self, ids: Sequence[str]) -> dict[str, ClassLabels]:
        if self.classes is None:
            return {}
        depth, used, where = 0, list(self._files), "data.root"
        if self._folders is not None:
            depth, used = 1, [item for items in self._parts for item in items]
            where = " and ".join(sorted(set.union(*self._folders)))
        bare = [item for item in used if item.count("/") <= depth]
        names = sorted({item.split("/")[depth] for item in used})
        if bare or len(names) < 2:
            problem = f"{len(bare)} images lie in none: {few(bare)}" if bare else f"only {names}"
            raise ValueError(
                "data.classes=folders needs every image in one of two or more folders below "
                f"{where} ({self.root}), but {problem}. Sort the images, or give data.classes=null"
            )
        number = {name: k for k, name in enumerate(names)}
        values = np.array([number[item.split("/")[depth]] for item in ids], np.int64)
        return {"folder": ClassLabels(values, tuple(names))}

    def _crop(self, width: int, height: int) -> Box:
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return (left, top, left + side, top + side)

    def _recipe(self) -> str:
        return "central square"


def _top(item: str) -> str:
    """Return the first folder of an id, or "" if it lies in none."""
    return item.partition("/")[0] if "/" in item else ""


def place(item: str) -> float:
    """Return where an id lies in [0, 1): its SHA-256, read as a binary fraction."""
    # 53 bits are what a float holds exactly; surrogates stand for undecodable file names.
    digest = hashlib.sha256(item.encode("utf-8", "surrogateescape")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
