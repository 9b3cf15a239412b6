"""Any folder of images, with binary attributes from a CSV file if there is one."""

import hashlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stitching.data.base import ClassLabels, few
from stitching.data.decoding import Box
from stitching.data.files import FileData
from stitching.data.labels import read_attributes
from stitching.data.walk import SUFFIXES, find_images

#: Folders that divide images as torchvision's `ImageFolder` and others have it, in lower case.
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
    and within its part images are ordered by place. So an image is on one side for good: neither
    n_train, n_test nor other files can move it across. `train` and `test` are the first n_train
    and n_test of their parts, `pretrain` is the whole fit part. Two copies of one picture under
    two names are two images, and may be parted.

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
            name `folder`, as torchvision's `ImageFolder` has it. None: no classes. Where these
            folders are `train` and `test` or `val`, they are the fit and the test part instead,
            and the folder in them is the class; of `test` and `val` the first is used.
        name: Name of the data set.

    Raises:
        TypeError: As `ImageData`.
        ValueError: root is None, test_share is not between 0 and 1, or `classes` is neither.
    """

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
        if root is None:
            raise ValueError(
                "data.root is not set: give data.root=/path/to/images, a folder of images "
                f"({', '.join(SUFFIXES)}), subfolders included"
            )
        if not 0 < test_share < 1:
            raise ValueError(f"data.test_share must be between 0 and 1, got {test_share}")
        if classes not in (None, "folders"):
            raise ValueError(f"data.classes={classes!r}: use folders, or null for no classes")
        super().__init__(root, name, n_train, n_test, image_size)
        self.classes = classes
        self.attributes = None if attributes is None else Path(attributes)
        self.test_share = test_share
        self._files: dict[str, Path] | None = None
        self._parts: tuple[list[str], list[str]] | None = None
        self._table: dict[str, dict[str, bool]] | None = None

    def _locate(self, split: str) -> dict[str, Path]:
        files = self._all_files()
        fit, test = self._fit_and_test()
        if split == "test":
            ids = self._first(test, self.n_test, "n_test")
        elif split == "train":
            ids = self._first(fit, self.n_train, "n_train")
        else:
            ids = fit
        return {item: files[item] for item in ids}

    def _fit_and_test(self) -> tuple[list[str], list[str]]:
        """Return the ids of the two parts, each in ascending order of place."""
        if self._parts is None:
            places = {item: place(item) for item in self._all_files()}
            ordered = sorted(places, key=places.__getitem__)
            folders = self._part_folders()
            if folders is not None:
                fit, test = ([i for i in ordered if _top(i) in names] for names in folders)
            else:
                fit = [item for item in ordered if places[item] >= self.test_share]
                test = [item for item in ordered if places[item] < self.test_share]
            self._parts = (fit, test)
        return self._parts

    def _part_folders(self) -> tuple[set[str], set[str]] | None:
        """Return the folders of the fit and the test part; None if a place divides the images."""
        tops = {_top(item) for item in self._all_files()}
        fit, test, validation = (
            {top for top in tops if top.lower() in names}
            for names in (FIT_FOLDERS, TEST_FOLDERS, VALIDATION_FOLDERS)
        )
        divided = fit and (test or validation) and tops == fit | test | validation
        return (fit, test or validation) if self.classes and divided else None

    def _first(self, ids: list[str], n: int, key: str) -> list[str]:
        if n <= len(ids):
            return ids[:n]
        side = "test" if key == "n_test" else "fit"
        remedy = f"give data.{key} from 1 to {len(ids)}, or " if ids else ""
        parts = self._part_folders()
        divider = (
            f"change data.test_share ({self.test_share}), which divides them"
            if parts is None
            else f"move some to {' or '.join(sorted(parts[key == 'n_test']))}"
        )
        raise ValueError(
            f"data.{key}={n}, but {len(ids)} of the {len(self._all_files())} images below "
            f"{self.root} are in the {side} part: {remedy}add images, or {divider}"
        )

    def _all_files(self) -> dict[str, Path]:
        """Find all images below root; by id."""
        if self._files is None:
            if not self.root.is_dir():
                raise FileNotFoundError(
                    f"data.root={self.root} is not a folder: give a folder of images"
                )
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
            self._files = files
            self._report_unused()
        return self._files

    def _report_unused(self) -> None:
        """Warn of images that are in neither part."""
        if self._part_folders() is None:
            return
        unused = len(self._all_files()) - sum(map(len, self._fit_and_test()))
        if unused:
            warnings.warn(
                f"{unused} images below {self.root} are for validation, and are not used: "
                "the test part is the folder test",
                stacklevel=2,
            )

    def _labels(self, ids: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
        if self.attributes is None:
            return {}
        if self._table is None:
            self._table = read_attributes(self.attributes, self.root, self._all_files())
        return {
            column: np.array([values[item] for item in ids], np.bool_)
            for column, values in self._table.items()
        }

    def _classes(self, ids: Sequence[str]) -> dict[str, ClassLabels]:
        if self.classes is None:
            return {}
        parts = self._part_folders()
        depth, used = 0, list(self._all_files())
        if parts is not None:
            depth, used = 1, [item for items in self._fit_and_test() for item in items]
        bare = [item for item in used if item.count("/") <= depth]
        names = sorted({item.split("/")[depth] for item in used})
        if bare or len(names) < 2:
            where = "below " + (" and ".join(sorted(set.union(*parts))) if parts else "data.root")
            problem = f"{len(bare)} images lie in none: {few(bare)}" if bare else f"only {names}"
            raise ValueError(
                f"data.classes=folders needs every image in one of two or more folders {where} "
                f"({self.root}), but {problem}. Sort the images, or give data.classes=null"
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

    def _remedy(self) -> str:
        return "Replace the file, or move it out of data.root"


def _top(item: str) -> str:
    """Return the first folder of an id, or "" if it lies in none."""
    return item.partition("/")[0] if "/" in item else ""


def place(item: str) -> float:
    """Return where an id lies in [0, 1): its SHA-256, read as a binary fraction."""
    # 53 bits are what a float holds exactly; surrogates stand for undecodable file names.
    digest = hashlib.sha256(item.encode("utf-8", "surrogateescape")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
