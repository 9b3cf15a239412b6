"""Binary attributes of images from a table with one row per image."""

import csv
import io
import unicodedata
from pathlib import Path

from stitching.data.base import few

#: Ways to write a binary attribute; a file uses one of them.
CONVENTIONS = (
    {"0": False, "1": True},
    {"-1": False, "1": True},
    {"false": False, "true": True},
)

#: Possible delimiters; the one that is most frequent in the header is used.
_DELIMITERS = ",;\t"

#: Byte order marks of text that is not UTF-8.
_UTF_16_32 = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")


class _Names:
    """Looks up images by the names in a table: paths below the root, or ids.

    A name that matches exactly has priority. Any other is compared without spaces around it, with
    "/" for a backslash, and composed (NFC): macOS stores names decomposed.
    """

    def __init__(self, table: Path, root: Path, files: dict[str, Path]) -> None:
        paths = {file.relative_to(root).as_posix(): item for item, file in files.items()}
        clashes = [key for key, item in paths.items() if key in files and item != key]
        if clashes:
            raise _broken(table, f"{few(clashes)} is one image's file name and another's id")
        self.table = table
        self.exact = paths | {item: item for item in files}
        self.alike: dict[str, dict[str, str]] = {}  # simple name -> id -> exact name
        for name, item in self.exact.items():
            self.alike.setdefault(_simple(name), {}).setdefault(item, name)

    def item(self, name: str) -> str | None:
        """Return the id of the image of this name; None if there is none."""
        if name in self.exact:
            return self.exact[name]
        alike = self.alike.get(_simple(name), {})
        if len(alike) > 1:
            raise _broken(
                self.table,
                f"{name!r} can mean {' or '.join(map(ascii, alike.values()))}, which differ in "
                "spaces, or in how accents are coded: write the name of one, or rename it",
            )
        return next(iter(alike), None)


def read_attributes(path: Path, root: Path, files: dict[str, Path]) -> dict[str, dict[str, bool]]:
    """Return the values of all files: attribute -> id -> value.

    Args:
        path: Text in UTF-8 with commas, semicolons or tabs, and a header line.
        root: The folder of the images.
        files: Their paths by id.

    Raises:
        FileNotFoundError: There is no such table.
        ValueError: It cannot be read, an image has no row or two, or a value is not binary.
    """
    rows = _rows(path)
    names = _Names(path, root, files)
    if not rows or len(rows[0][1]) < 2:
        raise _broken(path, "line 1 must name two columns or more: the file and its attributes")
    columns = [_clean(name) for name in rows[0][1][1:]]
    if names.item(rows[0][1][0]) is not None:
        raise _broken(path, f"line 1 must be a header, but begins with the image {rows[0][1][0]}")
    if "" in columns or len(set(columns)) != len(columns):
        raise _broken(path, f"names of columns must be unique and not empty: {few(columns)}")
    cells: dict[str, list[str]] = {}
    seen: dict[str, str] = {}  # value -> where it is first used
    for number, row in rows[1:]:
        if len(row) != len(columns) + 1:
            raise _broken(path, f"line {number} has {len(row)} values, not {len(columns) + 1}")
        values = [_clean(value).lower() for value in row[1:]]
        for column, value in zip(columns, values, strict=True):
            seen.setdefault(value, f"line {number}, {column}")
        item = names.item(row[0])
        if item is None:
            continue  # a table may cover more images than the folder holds
        if item in cells:
            raise _broken(path, f"line {number} is a second row for image {item}")
        cells[item] = values
    missing = [item for item in files if item not in cells]
    if missing:
        raise _broken(path, f"{len(missing)} of {len(files)} images have no row: {few(missing)}")
    code = _convention(path, seen)
    return {
        column: {item: code[values[i]] for item, values in cells.items()}
        for i, column in enumerate(columns)
    }


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Return number and values of each line that is not empty."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"data.attributes={path} does not exist: give a CSV file, or data.attributes=null"
        ) from None
    if content.startswith(_UTF_16_32):
        raise _broken(path, "it is UTF-16 or UTF-32 text: save it as UTF-8")
    if b"\0" in content:
        raise _broken(path, "it is not a CSV text file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _broken(path, f"line {line} is not UTF-8 text: save it as UTF-8") from None
    delimiter = max(_DELIMITERS, key=text.partition("\n")[0].partition("\r")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        return [(reader.line_num, row) for row in reader if any(value.strip() for value in row)]
    except csv.Error:
        raise _broken(path, "it is not a CSV text file") from None


def _convention(path: Path, seen: dict[str, str]) -> dict[str, bool]:
    """Return the convention that contains all values."""
    for convention in CONVENTIONS:
        if seen.keys() <= convention.keys():
            return convention
    known = {value for convention in CONVENTIONS for value in convention}
    odd = {value: where for value, where in seen.items() if value not in known} or seen
    shown = few([f"{value!r} ({where})" for value, where in odd.items()])
    raise _broken(
        path, f"values must be all 0/1, all -1/1 or all true/false, but there are {shown}"
    )


def _clean(text: str) -> str:
    # The csv module keeps a quote after a space.
    return unicodedata.normalize("NFC", text.strip().strip('"').strip())


def _simple(name: str) -> str:
    return _clean(name).replace("\\", "/").removeprefix("./")


def _broken(path: Path, reason: str) -> ValueError:
    return ValueError(f"data.attributes={path} cannot be used: {reason}. Correct the file")
