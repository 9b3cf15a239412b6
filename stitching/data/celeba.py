"""CelebA read from a local folder, in the official layout or as Kaggle's CSV form.

Nothing is downloaded and checksums are not compared: a part of CelebA, or CelebA stored at another
size, works as the whole does. Labels and splits come from the id in the file name.

Source: Liu, Luo, Wang and Tang (2015), Deep Learning Face Attributes in the Wild,
doi:10.1109/ICCV.2015.425
"""

import csv
import os
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stitching.data.base import few
from stitching.data.decoding import Box
from stitching.data.files import FileData

#: Width and height of the official aligned images; crops are given in these pixels.
OFFICIAL_SIZE = (178, 218)

#: Crops (left, top, right, bottom) in official pixels.
CROPS = {
    # The central square.
    "square": (0, 20, 178, 198),
    # The 128 pixels around (89, 121), from the published preprocessing of DDIM's CelebA model.
    "face128": (25, 57, 153, 185),
    # The whole picture, its aspect not kept, as in DiffuseVAE's preprocessing.
    "squeezed": (0, 0, 178, 218),
}

#: The paper fits on ids 1 to 9000 and tests on the ids after them.
PAPER_LAST_FIT_ID = 9000

SPLIT_RULES = ("paper", "partition")

#: Values of the partition file; validation images are not used.
_FIT, _VALIDATION, _TEST = range(3)

_FILE_NAME = re.compile(r"([0-9]{6})\.(?:jpg|jpeg|png)", re.IGNORECASE)

_IMAGES = "img_align_celeba"
_ATTRIBUTES = "list_attr_celeba.txt"
_PARTITION = "list_eval_partition.txt"

#: The parts of the folder, by official name, and the forms each may have, preferred first. The
#: official download has each part in a folder of its own; capitals do not count.
_FORMS = {
    _IMAGES: tuple(
        f"{folder}{form}"
        for folder in ("", "Img/")
        for form in (f"{_IMAGES}/{_IMAGES}", _IMAGES, f"{_IMAGES}_png")
    ),
    _ATTRIBUTES: (_ATTRIBUTES, f"Anno/{_ATTRIBUTES}", "list_attr_celeba.csv"),
    _PARTITION: (_PARTITION, f"Eval/{_PARTITION}", "list_eval_partition.csv"),
}

_LAYOUT = (
    "img_align_celeba/000001.jpg ..., list_attr_celeba.txt and list_eval_partition.txt "
    "(or the two tables as .csv, from Kaggle; or Img/, Anno/ and Eval/, as downloaded)"
)

_SOURCE = (
    "by hand from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html "
    "or from Kaggle (jessicali9530/celeba-dataset)"
)


class CelebA(FileData):
    """CelebA with its 40 attributes.

    Args:
        root: Folder with `img_align_celeba/` (images `NNNNNN.jpg`, `.jpeg` or `.png` in it, or in
            a second `img_align_celeba/` inside, as from Kaggle), `list_attr_celeba` and, for
            `split_by="partition"`, `list_eval_partition`, each as `.txt` (official, preferred)
            or `.csv` (Kaggle). The first may also be in `Img/`, the others in `Anno/` and
            `Eval/`, as in the official download. Capitals in names do not count.
        n_train: Number of items of `train`: the first of the fit part by id.
        n_test: Number of items of `test`: the first of the test part by id.
        image_size: Height and width of every image, in pixels.
        crop: One of `CROPS`, given in official 178 x 218 pixels and scaled to the stored size.
        split_by: "paper": ids 1 to 9000 are the fit part, all later ones the test part.
            "partition": values 0 and 2 of the partition file are the fit and the test part.
        name: Name of the data set.

    Raises:
        TypeError: A number is not an integer.
        ValueError: root is None, a number is below 1, or a setting is not one of those allowed.
    """

    wanted = f"/path/to/celeba, a folder with {_LAYOUT}. Download them {_SOURCE}"
    remedy = f"Get the file {_SOURCE}, or unpack its archive again"

    def __init__(
        self,
        root: str | os.PathLike[str] | None,
        n_train: int,
        n_test: int,
        image_size: int,
        crop: str,
        split_by: str,
        name: str = "celeba",
    ) -> None:
        """Check the settings; nothing is read yet."""
        super().__init__(root, name, n_train, n_test, image_size)
        if crop not in CROPS:
            raise ValueError(f"data.crop must be one of {', '.join(CROPS)}, got {crop!r}")
        if split_by not in SPLIT_RULES:
            raise ValueError(
                f"data.split_by must be one of {', '.join(SPLIT_RULES)}, got {split_by!r}"
            )
        self.crop = crop
        self.split_by = split_by

    @cached_property
    def _parts(self) -> tuple[list[str], list[str]]:
        """The ids of the fit and of the test part, each in ascending order."""
        if self.split_by == "paper":
            ids = sorted(self._attributes.rows)
            fit = [item for item in ids if int(item) <= PAPER_LAST_FIT_ID]
            return fit, ids[len(fit) :]
        path = self._layout[_PARTITION]
        rows = _read_table(path, allowed=("0", "1", "2"), columns=("partition",)).rows
        fit, test = (
            sorted(item for item, (part,) in rows.items() if part == wanted)
            for wanted in (_FIT, _TEST)
        )
        return fit, test

    def _paths(self, ids: Sequence[str]) -> dict[str, Path]:
        folder = self._layout[_IMAGES]
        return {item: _image_path(folder, self._names.get(item, []), item) for item in ids}

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        """The names of the images of each id."""
        names: dict[str, list[str]] = {}
        for name in _listed(self._layout[_IMAGES]):
            match = _FILE_NAME.fullmatch(name)
            if match is not None:
                names.setdefault(match[1], []).append(name)
        return names

    @cached_property
    def _attributes(self) -> "_Table":
        return _read_table(self._layout[_ATTRIBUTES], allowed=("-1", "1"), columns=None)

    def _shortage(self, split: str, found: int) -> str:
        part = {
            ("paper", "train"): f"ids 1 to {PAPER_LAST_FIT_ID}, the paper's fit part",
            ("paper", "test"): f"ids after {PAPER_LAST_FIT_ID}, the paper's test part",
            ("partition", "train"): f"value {_FIT} in list_eval_partition",
            ("partition", "test"): f"value {_TEST} in list_eval_partition",
        }[self.split_by, split]
        remedy = f"give data.n_{split} from 1 to {found}" if found else "choose another data.root"
        if self.split_by == "paper":
            remedy += ", or data.split_by=partition with a partition file"
        return f"{self.root} has {found} such images ({part}): {remedy}"

    def _labels(self, ids: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
        table = self._attributes
        unknown = [item for item in ids if item not in table.rows]
        if unknown:
            raise ValueError(
                f"{table.path}: has no row for {len(unknown)} images: {few(unknown)}. "
                f"Get the complete file {_SOURCE}."
            )
        # A byte is 0 for "-1" and 1 for "1".
        flat = np.frombuffer(b"".join(table.rows[item] for item in ids), np.uint8)
        values = flat.reshape(len(ids), -1).astype(np.bool_)
        return {column: values[:, i].copy() for i, column in enumerate(table.columns)}

    def _crop(self, width: int, height: int) -> Box:
        official_width, official_height = OFFICIAL_SIZE
        # One pixel of slack: half of 178 x 218 may be stored as 89 x 109, a third as 59 x 73.
        if abs(width - height * official_width / official_height) > 1:
            raise ValueError(
                f"size {width} x {height} has not the proportions of CelebA's aligned images, "
                f"{official_width} x {official_height}, so data.crop has no meaning "
                "(images cropped before can be read with data=folder)"
            )
        x, y = width / official_width, height / official_height
        left, top, right, bottom = CROPS[self.crop]
        return (left * x, top * y, right * x, bottom * y)

    def _recipe(self) -> str:
        return f"crop {CROPS[self.crop]} of {OFFICIAL_SIZE}"

    @cached_property
    def _layout(self) -> dict[str, Path]:
        """The tables and the image folder, by official name; one error for all missing ones."""
        self._require_root()
        found, missing = {}, []
        for part, forms in _FORMS.items():
            path = next(filter(None, (_in_any_case(self.root, form) for form in forms)), None)
            if path is not None:
                found[part] = path
            elif part != _PARTITION or self.split_by == "partition":
                missing.append(str(self.root / part))
        if missing:
            folders = [self.root, *(self.root / name for name in ("Img", "Anno", "Eval"))]
            packed = sorted(path.name for folder in folders for path in folder.glob("*.zip"))
            unpack = f", but {few(packed)} is there: unpack it in {self.root}" if packed else ""
            raise FileNotFoundError(
                f"missing: {', '.join(missing)}{unpack}. data.root must hold {_LAYOUT}; "
                f"get what it lacks {_SOURCE}"
            )
        return found


class _Table(NamedTuple):
    """Rows by id; each has one byte per column: the place of its value among those allowed."""

    path: Path
    columns: tuple[str, ...]
    rows: dict[str, bytes]


def _in_any_case(root: Path, form: str) -> Path | None:
    """Return the path below root with this name, whatever its capitals; None if there is none."""
    path = root
    for part in form.split("/"):
        if (path / part).exists():
            path /= part
            continue
        alike = [name for name in _listed(path) if name.lower() == part.lower()]
        if not alike:
            return None
        path /= alike[0]
    return path


def _listed(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def _image_path(folder: Path, names: list[str], item: str) -> Path:
    """Return the image of an id; the official name if there is none."""
    if len(names) > 1:
        first, second = (folder / name for name in names[:2])
        raise ValueError(f"{first} and {second} are both there: remove the one that is not wanted")
    return folder / (names[0] if names else f"{item}.jpg")


def _read_table(path: Path, allowed: Sequence[str], columns: tuple[str, ...] | None) -> _Table:
    """Read one of the two tables, in either form, and check every row.

    Args:
        path: A `.csv` file has a header line and commas; any other has white space between
            its values and no header, or the official one: number of rows, names of columns.
        allowed: The values a row may have.
        columns: Names of the columns where the official form has no header.
    """
    lines = _read_lines(path)
    announced, first, is_csv = None, 1, path.suffix.lower() == ".csv"
    if is_csv:
        header = [name.strip() for name in next(csv.reader(lines[:1]))] or [""]
        if header[0] != "image_id":
            raise _broken(path, f"line 1 must begin with image_id, not {_clip(lines[0])}")
        if columns is not None and tuple(header[1:]) != columns:
            raise _broken(path, f"line 1 must be image_id,{','.join(columns)}")
        columns, first = tuple(header[1:]), 2
    elif columns is None:
        if not lines[0].strip().isdecimal() or len(lines) < 2:
            raise _broken(path, f"line 1 must be the number of images, not {_clip(lines[0])}")
        columns, first, announced = tuple(lines[1].split()), 3, int(lines[0])
    if not columns or len(set(columns)) != len(columns):
        raise _broken(path, f"the names of its columns are not unique: {few(columns)}")
    code = {value: place for place, value in enumerate(allowed)}
    rows: dict[str, bytes] = {}
    body = lines[first - 1 :]
    split: Iterable[list[str]] = (
        ([value.strip() for value in row] for row in csv.reader(body))
        if is_csv
        else map(str.split, body)
    )
    for number, fields in enumerate(split, start=first):
        if not fields:
            continue
        match = _FILE_NAME.fullmatch(fields[0])
        if match is None:
            wanted = "must begin with a name like 000001.jpg"
            raise _broken(path, f"line {number} {wanted}, not {_clip(fields[0])}")
        if len(fields) != len(columns) + 1:
            raise _broken(path, f"line {number} has {len(fields) - 1} values, not {len(columns)}")
        if match[1] in rows:
            raise _broken(path, f"line {number} is a second row for image {match[1]}")
        try:
            rows[match[1]] = bytes(map(code.__getitem__, fields[1:]))
        except KeyError as error:
            value = error.args[0]
            place = f"line {number}, {columns[fields.index(value, 1) - 1]}"
            wanted = f"the value must be {' or '.join(allowed)}"
            raise _broken(path, f"{place}: {wanted}, not {_clip(value)}") from None
    if announced is not None and announced != len(rows):
        raise _broken(path, f"line 1 announces {announced} images, but {len(rows)} rows follow")
    return _Table(path, columns, rows)


def _read_lines(path: Path) -> list[str]:
    content = path.read_bytes()
    if content.lstrip()[:1] == b"<":
        raise _broken(path, "it is a web page (often a quota or log-in page), not a table")
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise _broken(path, "it is not a text file") from None
    if not lines:
        raise _broken(path, "it is empty")
    return lines


def _broken(path: Path, reason: str) -> ValueError:
    return ValueError(f"{path} cannot be used: {reason}. Get the file {_SOURCE} and put it there")


def _clip(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "...")
