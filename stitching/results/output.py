"""Files of a report: written, and removed when they no longer hold, as their record lists them.

`report.json` in a sweep's folder lists every file that tables, figures, page and claims left
below it, with its SHA-256. A file that it does not list is never touched.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from stitching.records.ledger import Ledger
from stitching.records.text import as_utf8
from stitching.results.earlier import files_of_earlier
from stitching.results.measures import MEASURES

#: In the folder of a sweep: lists the files that a report wrote.
RECORD = "report.json"

#: Below the folder of a sweep: one folder per protocol, where it has several.
VARIANTS = "report"

#: Below the folder of tables.
FIGURES = "figures"

PAGE, CLAIMS = "report.html", ("claims.md", "claims.json")

#: Protocols side by side.
PROTOCOLS = ("protocols.md", "protocols.csv")

#: Of a sweep over numbers of fit images.
LEARNING = ("learning.md", "learning.csv", "learning.png")

_TABLES = (
    "summary.csv", "grid.parquet", "table.md", "table.tex", "tables.md", "tables.tex",
    "pictures.png", *LEARNING,
)  # fmt: skip

#: Numbers of the paper's figures.
_NUMBERS = range(1, 7)

_FACTS = {"written_by": "python -m stitching.report"}


def picture_name(kind: str, key: str) -> str:
    """Return the file name of a measure's picture."""
    return f"{kind}_{key.replace('/', '_')}.png"


class Output:
    """A folder that a report writes to.

    Args:
        folder: Of the sweep. It need not exist, and gets no file before the first is written.
        below: Path of the folder below it, with "/"; "" for itself.

    Example:
        >>> output = Output(Path(sweep))
        >>> output.require_free(["summary.csv"])
        >>> output.write({"summary.csv": "encoder,decoder"})
    """

    def __init__(self, folder: Path, below: str = "") -> None:
        self.folder = folder / below
        self._root, self._below = folder, below
        self._ledger = Ledger(folder, RECORD, ours=("written_by", "files"))

    def variant(self, name: str) -> Output:
        """Return the folder of one protocol and seed."""
        return Output(self._root, f"{VARIANTS}/{name}")

    def require_free(
        self,
        names: Iterable[str] | None = None,
        measures: Iterable[str] = (),
        remedy: str = "rename them",
    ) -> None:
        """Check, before any work, that no file of other origin is in the way.

        Args:
            names: Of files to write; None stands for all of a report, page and claims.
            measures: Keys of measures, besides the usual ones, that get a picture.
            remedy: What the user may do.

        Raises:
            ForeignFilesError: Some names are taken by files that this project did not write.
        """
        wanted = [*_usual(), *_pictures(measures)] if names is None else names
        paths = [self._path(name) for name in wanted]
        if not self._ledger.read():
            earlier = {*self._earlier()}
            paths = [path for path in paths if path not in earlier]
        self._ledger.require_free(paths, remedy)

    def write(self, files: Mapping[str, bytes | str]) -> list[Path]:
        """Write files atomically, in place of those that the record lists; return their paths.

        Text is written in UTF-8. A listed file that was changed since is renamed to `NAME.kept-N`
        before.

        Raises:
            ForeignFilesError: A file of other origin has one of the names.
        """
        with self._open() as ledger:
            ledger.write_all(
                {
                    self._path(name): as_utf8(data) if isinstance(data, str) else data
                    for name, data in files.items()
                }
            )
        return [self.folder / name for name in files]

    def remove(self, names: Iterable[str]) -> None:
        """Remove those of the names that the record lists; changed ones are set aside."""
        with self._open() as ledger:
            ledger.remove([self._path(name) for name in names])

    def remove_others(self, keep: Collection[Path]) -> None:
        """Remove tables, pictures and figures of an earlier report, except some files.

        Pages, claims and comparisons of protocols stay: they are written separately.
        """
        self.remove(
            name
            for name in self._listed()
            if str(PurePosixPath(name).parent) in (".", FIGURES)
            if not name.endswith(".html") and name not in (*CLAIMS, *PROTOCOLS)
            if self.folder / name not in keep
        )

    def remove_variants(self, keep: Collection[str]) -> None:
        """Remove the reports of protocols and seeds that a sweep no longer has."""
        listed = [(name, PurePosixPath(name).parts) for name in self._listed()]
        self.remove(
            name
            for name, parts in listed
            if len(parts) > 2 and parts[0] == VARIANTS and parts[1] not in keep
        )

    def found(self, pattern: str) -> list[Path]:
        """Return those files of a report that are there, by a pattern such as `figures/*.svg`."""
        parent = PurePosixPath(pattern).parent
        return sorted(
            self.folder / name
            for name in self._listed()
            if PurePosixPath(name).parent == parent and fnmatchcase(name, pattern)
            if (self.folder / name).is_file()
        )

    def note_run(self, run: str) -> None:
        """Record which run of the tracker is the sweep's summary, in place of an earlier one.

        Args:
            run: As `Tracker.place`. The tracker's library goes on writing to it when the run has
                ended, so its files have no hashes here, and are never removed.
        """
        with self._open() as ledger:
            ledger.save(ledger.read() | {"runs": [run]})

    def _path(self, name: str) -> str:
        return f"{self._below}/{name}" if self._below else name

    def _listed(self) -> list[str]:
        """Return the files of all reports below this folder, relative to it."""
        start = self._path("")
        names = self._ledger.listed() if self._ledger.read() else self._earlier()
        return [name.removeprefix(start) for name in names if name.startswith(start)]

    def _earlier(self) -> list[str]:
        def names(place: Path) -> list[str]:
            drawn = place.glob("heatmap_*.png"), place.glob("curve_*.png")
            pictures = (path.name for paths in drawn for path in paths)
            return [*dict.fromkeys(["grid.csv", *_usual(), *pictures])]

        return files_of_earlier(self._root, names)

    @contextmanager
    def _open(self) -> Iterator[Ledger]:
        """Yield the ledger while no other process changes the record."""
        self._root.mkdir(parents=True, exist_ok=True)
        with _locked(self._root):
            if not self._ledger.read():
                self._ledger.save(_FACTS, earlier=self._earlier())
            yield self._ledger


def _usual() -> list[str]:
    """Return the names that a report may write into a folder, whatever its cells measured."""
    figures = [f"{FIGURES}/figure{n}.{kind}" for n in _NUMBERS for kind in ("svg", "png")]
    pictures = _pictures(measure.key for measure in MEASURES if measure.pictured)
    return [*_TABLES, *PROTOCOLS, *pictures, *figures, PAGE, *CLAIMS]


def _pictures(measures: Iterable[str]) -> list[str]:
    return [picture_name(kind, key) for key in measures for kind in ("heatmap", "curve")]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder itself, where the system supports it: it needs no file."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    place = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have none
            fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        os.close(place)
