"""Base class of trackers, and the tracker that keeps nothing."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from stitching.records.text import first_line

if TYPE_CHECKING:
    import numpy as np

    Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

Scalar = str | int | float | bool | None

#: Characters of a tag: Weights & Biases refuses a run with a longer one.
MAX_TAG_LENGTH = 64

#: Tags of a run besides those that a tracker adds itself; more are confusing on a page.
MAX_TAGS = 20


@dataclass(frozen=True)
class Start:
    """Checked arguments of `Tracker.start`."""

    config: dict[str, object]
    name: str
    group: str
    dir: Path
    job_type: str
    tags: tuple[str, ...]
    id: str | None


class Tracker:
    """Receives the configuration, numbers, tables and pictures of one cell or training.

    Call `start` once, then `log`, `summarize`, `table` and `image` in any order, and `finish`. As
    a context manager it finishes in every case, and an exception marks the run as failed. After
    `finish` the same object can be started again.
    """

    _running = False

    @property
    def place(self) -> str | None:
        """Path of the files of the active run, relative to its folder where they are in it."""
        return None

    def start(
        self,
        config: Mapping[str, object],
        name: str,
        group: str,
        dir: Path,
        *,
        job_type: str = "cell",
        tags: Sequence[str] = (),
        id: str | None = None,
    ) -> None:
        """Begin a run.

        Args:
            config: Resolved settings as plain nested dicts, lists and scalars.
            name: Readable name, such as "vae-to-nf".
            group: Sweep that the run belongs to.
            dir: Existing folder of the run; a tracker writes nothing outside of it.
            job_type: Kind of run: "cell", "summary" of a sweep, or "train".
            tags: Labels of this run alone.
            id: Identity of the run in its project: a run with the same one is replaced. None
                makes a new one.

        Raises:
            RuntimeError: The previous run of this object is not finished.
            TypeError: The configuration has other values than plain containers and scalars.
            ValueError: The configuration has a missing value ("???"), or tags are too long or too
                many.
            FileNotFoundError: There is no such folder.
        """
        if self._running:
            raise RuntimeError(f"cannot start run {name!r}: call finish() on the last one first")
        _check_plain(config, "config")
        check_tags(tags, f"tags of run {name!r}")
        if not Path(dir).is_dir():
            raise FileNotFoundError(f"the folder of run {name!r} does not exist: {dir}")
        self._start(Start(dict(config), name, group, Path(dir), job_type, tuple(tags), id))
        self._running = True

    def log(self, scalars: Mapping[str, Scalar]) -> None:
        """Record one step of named values; the last value of each name is its summary.

        NaN and infinite values, which viewers leave out of charts, appear as "invalid" in the
        summary and as `invalid/NAME` = 1; None appears as "not available".

        Raises:
            TypeError: A value is not a plain str, int, float, bool or None.
        """
        self._check_scalars(scalars)
        self._store(scalars, panels=True)

    def summarize(self, scalars: Mapping[str, Scalar]) -> None:
        """Record values of the run as a whole: columns of a table, without charts.

        Values that are not finite, and None, appear as words, as in `log`.

        Raises:
            TypeError: A value is not a plain str, int, float, bool or None.
        """
        self._check_scalars(scalars)
        self._store(scalars, panels=False)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Scalar]]) -> None:
        """Record a table, such as one row per attribute.

        Raises:
            ValueError: A row has another length than `columns`.
        """
        self._require_run()
        width = len(columns)
        for number, row in enumerate(rows):
            if len(row) != width:
                raise ValueError(
                    f"table {name!r} has {width} columns, row {number} has {len(row)}"
                )
        self._table(name, columns, rows)

    def image(self, name: str, image: Pixels | Path) -> None:
        """Record a picture unchanged: an array pixel by pixel, a file byte by byte.

        Args:
            name: Key of the picture.
            image: uint8 array of shape (H, W, 3), or the path of a PNG file.

        Raises:
            ValueError: The array is not uint8 or not of shape (H, W, 3), or the file is no PNG.
            FileNotFoundError: There is no such file.
        """
        self._require_run()
        if isinstance(image, Path):
            if not image.is_file():
                raise FileNotFoundError(f"picture {name!r} does not exist: {image}")
            size = _png_size(image)
            if size is None:
                raise ValueError(f"picture {name!r} must be a PNG file: {image}")
        elif image.dtype != "uint8" or image.ndim != 3 or image.shape[2] != 3:
            seen = f"{image.dtype} of shape {image.shape}"
            raise ValueError(f"picture {name!r} must be uint8 of shape (H, W, 3), got {seen}")
        else:
            size = image.shape[1], image.shape[0]
        self._image(name, image, size)

    def finish(self, ok: bool = True, error: str | None = None) -> None:
        """End the run and mark it as finished or failed. Without a run, do nothing.

        Args:
            ok: False marks the run as failed.
            error: Why it failed, in one line: the value `error` of its summary.
        """
        if self._running:
            self._running = False
            self._finish(ok, error)

    def _require_run(self) -> None:
        if not self._running:
            raise RuntimeError("no run is active: call start() first")

    def _check_scalars(self, scalars: Mapping[str, Scalar]) -> None:
        self._require_run()
        for key, value in scalars.items():
            if not isinstance(value, Scalar):
                kind = type(value).__name__
                raise TypeError(f"{key} must be a plain number, str or None, got a {kind}")

    def __enter__(self) -> Self:
        """Return the tracker itself; `start` may be called before or inside the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        """Finish the run, as failed if the block was left by an exception."""
        self.finish(error is None, None if error is None else first_line(error))

    # What a subclass stores; the arguments are checked, and a run is active. `size` is width and
    # height of a picture.
    def _start(self, start: Start) -> None: ...

    def _store(self, scalars: Mapping[str, Scalar], panels: bool) -> None: ...

    def _table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Scalar]]
    ) -> None: ...

    def _image(self, name: str, image: Pixels | Path, size: tuple[int, int]) -> None: ...

    def _finish(self, ok: bool, error: str | None) -> None: ...


class NoTracker(Tracker):
    """Checks its arguments and keeps nothing: the files of the cell are the record."""


def check_tags(tags: Sequence[str], what: str) -> None:
    """Check labels of runs, which messages call `what`.

    Raises:
        TypeError: They are no sequence of str.
        ValueError: One is empty or longer than 64 characters, or there are more than 20.
    """
    if isinstance(tags, str) or not all(isinstance(tag, str) for tag in tags):
        raise TypeError(f"{what} must be a list of str, got {tags!r}")
    for tag in tags:
        if not 1 <= len(tag) <= MAX_TAG_LENGTH:
            raise ValueError(
                f"{what} must have 1 to {MAX_TAG_LENGTH} characters each, got {len(tag)}: {tag!r}"
            )
    if len(tags) > MAX_TAGS:
        raise ValueError(f"{what} must be {MAX_TAGS} at most, got {len(tags)}: leave some out")


def _check_plain(value: object, path: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"keys of {path} must be str, got {key!r}")
            _check_plain(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _check_plain(item, f"{path}[{number}]")
    elif not isinstance(value, Scalar):
        raise TypeError(
            f"{path} must be a plain dict, list or scalar, got {type(value).__name__}: convert "
            "with OmegaConf.to_container(config, resolve=True, throw_on_missing=True)"
        )
    elif value == "???":
        raise ValueError(f"{path} has no value ('???'): set it on the command line")


def _png_size(path: Path) -> tuple[int, int] | None:
    """Return width and height of a PNG file; None if it is none."""
    with path.open("rb") as file:
        head = file.read(24)
    if len(head) < 24 or head[:8] != b"\x89PNG\r\n\x1a\n" or head[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", head[16:])
    return width, height
