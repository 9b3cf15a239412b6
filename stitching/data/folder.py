"""Any folder of images, with binary attributes from a CSV file if there is one."""

import csv
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stitching.data.base import ClassLabels, few
from stitching.data.decoding import Box
from stitching.data.files import FileData

#: File name endings that are read, in any case; other files are left alone.
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

#: The ways to write a binary attribute; one file keeps to one of them.
CONVENTIONS = (
    {"0": False, "1": True},
    {"-1": False, "1": True},
    {"false": False, "true": True},
)


class Folder(FileData):
    """The images of a folder and its subfolders, cropped to their central square.

    The id of an image is its path below `root` without the suffix, with "/" between folders.
    Names that begin with a dot are left alone, links to folders are not followed.

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
        attributes: CSV file with a header line; its first column holds file names (paths below
            root) or ids, each other column an attribute, as 0/1, -1/1 or true/false. None: the
            images have no attributes.
        test_share: About this share of all images is the test part; between 0 and 1.
        classes: "folders": the first folder on the path of an image is its class, under the
            name `folder`, as torchvision's `ImageFolder` has it. None: no classes.
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
        self._table: dict[str, dict[str, bool]] | None = None

    def _locate(self, split: str) -> dict[str, Path]:
        files = self._all_files()
        ordered = sorted(files, key=place)
        fit = [item for item in ordered if place(item) >= self.test_share]
        test = [item for item in ordered if place(item) < self.test_share]
        if split == "test":
            ids = self._first(test, self.n_test, "n_test")
        elif split == "train":
            ids = self._first(fit, self.n_train, "n_train")
        else:
            ids = fit
        return {item: files[item] for item in ids}

    def _first(self, ids: list[str], n: int, key: str) -> list[str]:
        if n <= len(ids):
            return ids[:n]
        side = "test" if key == "n_test" else "fit"
        remedy = f"give data.{key} from 1 to {len(ids)}, or " if ids else ""
        raise ValueError(
            f"data.{key}={n}, but {len(ids)} of the {len(self._all_files())} images below "
            f"{self.root} are in the {side} part: {remedy}add images, or change data.test_share "
            f"({self.test_share}), which divides them"
        )

    def _all_files(self) -> dict[str, Path]:
        """Find all images below root; by id."""
        if self._files is None:
            if not self.root.is_dir():
                raise FileNotFoundError(
                    f"data.root={self.root} is not a folder: give a folder of images"
                )
            files: dict[str, Path] = {}
            for path in sorted(_walk(self.root)):
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
        return self._files

    def _labels(self, ids: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
        if self.attributes is None:
            return {}
        if self._table is None:
            self._table = _read_attributes(self.attributes, self.root, self._all_files())
        return {
            column: np.array([values[item] for item in ids], np.bool_)
            for column, values in self._table.items()
        }

    def _classes(self, ids: Sequence[str]) -> dict[str, ClassLabels]:
        if self.classes is None:
            return {}
        bare = [item for item in self._all_files() if "/" not in item]
        names = sorted({item.partition("/")[0] for item in self._all_files()})
        if bare or len(names) < 2:
            problem = f"{len(bare)} images lie in none: {few(bare)}" if bare else f"only {names}"
            raise ValueError(
                f"data.classes=folders needs every image in one of two or more folders below "
                f"{self.root}, but {problem}. Sort the images, or give data.classes=null"
            )
        number = {name: k for k, name in enumerate(names)}
        values = np.array([number[item.partition("/")[0]] for item in ids], np.int64)
        return {"folder": ClassLabels(values, tuple(names))}

    def _crop(self, width: int, height: int) -> Box:
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return (left, top, left + side, top + side)

    def _recipe(self) -> str:
        return "central square"

    def _remedy(self) -> str:
        return "Replace the file, or move it out of data.root"


def place(item: str) -> float:
    """Return where an id lies in [0, 1): its SHA-256, read as a binary fraction."""
    # 53 bits are what a float holds exactly; surrogates stand for undecodable file names.
    digest = hashlib.sha256(item.encode("utf-8", "surrogateescape")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def _walk(root: Path) -> list[Path]:
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        found += [
            Path(folder, name)
            for name in names
            if not name.startswith(".") and name.lower().endswith(SUFFIXES)
        ]
    return found


def _read_attributes(path: Path, root: Path, files: dict[str, Path]) -> dict[str, dict[str, bool]]:
    """Return attribute -> id -> value, complete for all files."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            rows = [(reader.line_num, row) for row in reader if row]
    except FileNotFoundError:
        raise FileNotFoundError(
            f"data.attributes={path} does not exist: give a CSV file, or data.attributes=null"
        ) from None
    except (UnicodeDecodeError, csv.Error):
        raise _broken(path, "it is not a CSV text file") from None
    # A row may name an image by its path or by its id.
    item_of = {file.relative_to(root).as_posix(): item for item, file in files.items()}
    clashes = [key for key, item in item_of.items() if key in files and item != key]
    if clashes:
        raise _broken(path, f"{few(clashes)} is one image's file name and another's id")
    item_of |= {item: item for item in files}
    if not rows or len(rows[0][1]) < 2:
        raise _broken(path, "line 1 must name two columns or more: the file and its attributes")
    columns = rows[0][1][1:]
    if rows[0][1][0] in item_of:
        raise _broken(path, f"line 1 must be a header, but begins with the image {rows[0][1][0]}")
    if "" in columns or len(set(columns)) != len(columns):
        raise _broken(path, f"names of columns must be unique and not empty: {few(columns)}")
    cells: dict[str, list[str]] = {}
    seen: dict[str, str] = {}  # value -> where it is first used
    for number, row in rows[1:]:
        if len(row) != len(columns) + 1:
            raise _broken(path, f"line {number} has {len(row)} values, not {len(columns) + 1}")
        values = [value.strip().lower() for value in row[1:]]
        for column, value in zip(columns, values, strict=True):
            seen.setdefault(value, f"line {number}, {column}")
        if row[0] not in item_of:
            continue  # a table may cover more images than the folder holds
        if item_of[row[0]] in cells:
            raise _broken(path, f"line {number} is a second row for image {item_of[row[0]]}")
        cells[item_of[row[0]]] = values
    missing = [item for item in files if item not in cells]
    if missing:
        raise _broken(path, f"{len(missing)} of {len(files)} images have no row: {few(missing)}")
    code = _convention(path, seen)
    return {
        column: {item: code[values[i]] for item, values in cells.items()}
        for i, column in enumerate(columns)
    }


def _convention(path: Path, seen: dict[str, str]) -> dict[str, bool]:
    """Return the one convention that has all values seen."""
    for convention in CONVENTIONS:
        if seen.keys() <= convention.keys():
            return convention
    known = {value for convention in CONVENTIONS for value in convention}
    odd = {value: where for value, where in seen.items() if value not in known} or seen
    shown = [f"{value!r} ({where})" for value, where in odd.items()]
    raise _broken(
        path, f"values must be all 0/1, all -1/1 or all true/false, but there are {few(shown)}"
    )


def _broken(path: Path, reason: str) -> ValueError:
    return ValueError(f"data.attributes={path} cannot be used: {reason}. Correct the file")
