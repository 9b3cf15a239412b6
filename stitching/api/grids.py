"""A grid of cells from Python: `grid`, its result, and `read` for the files of any sweep."""

import contextlib
import html
import io
import logging
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stitching import config
from stitching.api.calls import Call, Model, Part, calling
from stitching.api.cells import Cell, new_sweep, require_same
from stitching.compute import progress
from stitching.records.words import nearest
from stitching.results.cell import CellRecord
from stitching.results.finding import finding
from stitching.results.formats import direction
from stitching.results.grid import Grid as Cells
from stitching.results.grid import grid_of, read_grid
from stitching.results.marks import legend
from stitching.results.measures import Measure, headline

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from stitching.data.base import ImageData

log = logging.getLogger(__name__)

#: Tables that a notebook shows of a grid, at most.
_SHOWN = 4


class Grid:
    """Finished cells, encoders by decoders; made by `grid` and `read`.

    Iterating yields its cells. `grid["vae", "nf"]` is the cell from `vae` to `nf`.

    Args:
        cells: Those of a folder.
        keeper: Keeps a temporary folder as long as it exists.

    Attributes:
        folder: Of the files.
    """

    def __init__(self, cells: Cells, keeper: object = None) -> None:
        self._cells, self._keeper = cells, keeper
        self.folder = cells.folder

    @property
    def encoders(self) -> list[str]:
        """Names of the rows; controls come first."""
        return list(self._cells.encoders)

    @property
    def decoders(self) -> list[str]:
        """Names of the columns."""
        return list(self._cells.decoders)

    @property
    def notes(self) -> list[str]:
        """What was left out, and failures, one line each."""
        return list(self._cells.notes)

    @property
    def frame(self) -> "pd.DataFrame":
        """One row per finished cell: encoder, decoder, measures with intervals, provenance."""
        return self._cells.frame

    @cached_property
    def measures(self) -> list[str]:
        """Keys of the measures that some cell has."""
        return [measure.key for measure in self._cells.measured]

    @cached_property
    def parts(self) -> "dict[str, Grid]":
        """The grids of a sweep over protocols, maps or seeds, by label; else this one alone."""
        from stitching.results.variants import split

        parts, _ = split(self._cells.read)
        if len(parts) < 2:
            return {variant.label: self for variant in parts}
        found = {variant.label: grid_of(self.folder, cells) for variant, cells in parts.items()}
        return {label: Grid(cells, self._keeper) for label, cells in found.items()}

    def __iter__(self) -> Iterator[Cell]:
        return map(self._cell, self._cells.done)

    def __len__(self) -> int:
        return len(self._cells.done)

    def __getitem__(self, pair: tuple[str, str]) -> Cell:
        found = self._cells.cells.get(pair)
        if found is None:
            state = self._cells.absent.get(pair, f"not in the grid {self._names()}")
            raise KeyError(f"{' to '.join(pair)}: {state}")
        return self._cell(found)

    def table(self, measure: str = "image/rmse", *, intervals: bool = False) -> "pd.DataFrame":
        """Return one measure, encoders by decoders.

        Args:
            measure: Its key, such as `latent/r2`; `measures` lists all.
            intervals: Return texts such as `0.064 [0.061, 0.067]`, rounded, with the signs of
                tables: `*` the best of a column among models, `≈` as good.

        Returns:
            Numbers, NaN where a cell has none.

        Raises:
            ValueError: No such measure, or cells of one pair differ in their results: see `parts`.
        """
        import pandas as pd

        chosen, cells = self._measure(measure), self._cells
        cells.require_unique()
        if intervals:
            from stitching.report.tables import grid_texts

            rows: list[list[Any]] = [
                [" ".join(part for part in cell if part) for cell in row]
                for row in grid_texts(cells, chosen)
            ]
        else:
            numbers = {pair: cell.number(measure) for pair, cell in cells.cells.items()}
            rows = [[numbers.get((e, d)) for d in cells.decoders] for e in cells.encoders]
        index = pd.Index(cells.encoders, name="encoder")
        columns = pd.Index(cells.decoders, name="decoder")
        return pd.DataFrame(rows, index, columns, dtype=object if intervals else float)

    def plot(self, measure: str = "image/rmse") -> "Image.Image":
        """Return one measure as a heatmap with intervals, encoders by decoders.

        Raises:
            ValueError: As in `table`.
        """
        from PIL import Image

        from stitching.report.heatmaps import heatmap

        chosen = self._measure(measure)
        self._cells.require_unique()
        return Image.open(io.BytesIO(heatmap(self._cells, chosen)))

    def pictures(self) -> "Image.Image":
        """Return one test image by every pair of models: encoders are rows, decoders columns.

        Raises:
            ValueError: No cell has pictures, or cells show different test images.
        """
        from stitching.report.grid_report import picture_sheet

        sheet = picture_sheet(self._cells)
        if sheet is None:
            raise ValueError(f"no cell in {self.folder} has pictures")
        return sheet

    def save(self, folder: str | Path, *, report: bool = True) -> Path:
        """Write the cells into a folder, as a sweep does; return it.

        Args:
            folder: Need not exist.
            report: Whether to write tables, heatmaps and `report.html` too.

        Raises:
            FileExistsError: The folder has cells of another grid, or files of other origin under
                names that are needed.
        """
        from stitching.records.status import CellFolder
        from stitching.report import report_sweeps
        from stitching.results.output import Output
        from stitching.results.reading import listed

        place = Path(folder)
        if place.resolve() != self.folder.resolve():
            sweep = new_sweep(place)
            records = [CellFolder(place / cell.path.name, sweep) for cell in self._cells.done]
            Output(place).require_free(remedy="choose another folder")
            there = {path.parent.name for path in place.glob("*/status.json")}
            if others := sorted(there - {cell.path.name for cell in self._cells.done}):
                raise FileExistsError(
                    f"{place} has cells of another grid, {listed(others)}: its tables and page "
                    "would be replaced. Choose another folder"
                )
            for record, cell in zip(records, self._cells.done, strict=True):
                record.require_free("choose another folder")
                require_same(record.folder, cell.key)
            for record, cell in zip(records, self._cells.done, strict=True):
                record.begin()
                record.copy_from(cell.path)
                record.mark_done(cell.key)
        if report:
            with contextlib.redirect_stdout(io.StringIO()):
                report_sweeps([place])
        return place

    def _cell(self, record: CellRecord) -> Cell:
        metrics = {key: record.values[key] for key in record.values if not _of_run(key)}
        return Cell(record.encoder, record.decoder, metrics, record.path, keeper=self._keeper)

    def _measure(self, key: str) -> Measure:
        for measure in self._cells.measured:
            if measure.key == key:
                return measure
        raise ValueError(
            f"this grid has no measure {key!r}{nearest(key, self.measures)}; see grid.measures"
        )

    @property
    def finding(self) -> list[str]:
        """What the grid shows in sentences, as on its page; empty without two trained models."""
        return finding(self._cells)

    def _names(self) -> str:
        return f"of {', '.join(self.encoders)} by {', '.join(self.decoders)}"

    def __repr__(self) -> str:
        return f"<Grid {self._names()}: {len(self)} cells in {self.folder}>"

    def _repr_html_(self) -> str:
        from stitching.report import tables

        cells, text = self._cells, html.escape
        texts = [f"<p>{text(f'Grid {self._names()}: {tables.setting_of(cells)}')}</p>"]
        texts += [f"<p>{text(sentence)}</p>" for sentence in self.finding]
        shown = [m for m in headline(cell.values for cell in cells.done) if m.key in self.measures]
        for measure in [] if len(cells.frame) > len(cells.cells) else shown[:_SHOWN]:
            table = self.table(measure.key, intervals=True)
            signs = legend(map(str, table.to_numpy().ravel()))
            texts += [f"<p><b>{text(tables.label(cells, measure))}</b>: "
                      f"{text(direction(measure))}</p>", table.to_html(),
                      *(f"<small>{text(note)}</small>" for note in signs)]  # fmt: skip
        notes = "".join(f"<li>{text(note)}</li>" for note in cells.notes)
        return "".join([*texts, f"<ul>{notes}</ul>" if notes else ""])


def grid(
    models: Sequence[Model] = (),
    data: "ImageData | str" = "faces",
    *overrides: str,
    encoders: Sequence[Model] | None = None,
    decoders: Sequence[Model] | None = None,
    folder: str | Path | None = None,
    map: str = "ridge",
    device: str | None = None,
    dtype: str | None = None,
    **options: Any,
) -> Grid:
    """Stitch all pairs of models.

    All of it is checked before the first image is encoded. A cell that fails later does not stop
    the others: `Grid.notes` has its reason.

    Args:
        models: Names, or models of `load_model` or `wrap`; rows, and columns where they decode.
        data: A data set of `load_data`, or its name.
        overrides: Further settings as on the command line, such as `"map.alpha=0.1"`.
        encoders: Rows, in place of `models`.
        decoders: Columns, in place of `models`.
        folder: Where cells are written. In a second call finished ones are kept; those of other
            settings or functions are replaced, with a warning. None for a temporary folder,
            which lasts as long as the result; see `Grid.save`.
        map: Kind of map: an option of `map=`.
        device: Of models given by name, and of maps; None for that of loaded models, or `auto`.
        dtype: The same of the precision, or `float32`.
        options: Settings by name, as in `stitch`.

    Raises:
        ForeignFilesError: The folder has files of other origin under names that are needed.
        TypeError: An argument is of another type.
        ValueError: A setting is unknown, or two of them do not go together.
        FileNotFoundError: Weights are missing.
        Exception: That of the first cell, if all fail.

    Example:
        >>> import stitching as st
        >>> from torch.nn import functional as F
        >>> mine = st.wrap(lambda x: F.avg_pool2d(x, 8), name="mine", latent_shape=(3, 4, 4))
        >>> data = st.load_data("faces", n_train=24, n_test=8, image_size=32)
        >>> grid = st.grid([mine, "thumbnail"], data, metric=["rmse"], probe="none")
        >>> grid.encoders, grid.decoders
        (['thumbnail', 'mine'], ['thumbnail'])
        >>> bool(grid.table("image/rmse").loc["mine", "thumbnail"] < 0.3)
        True
        >>> grid["mine", "thumbnail"].metrics["d_source"]
        48
        >>> grid.plot("latent/r2").save("r2.png")
    """
    rows, columns = (list(models if x is None else x) for x in (encoders, decoders))
    with calling(
        [*rows, *columns], data, overrides, {"map": map} | options, device, dtype
    ) as call:
        sources = dict.fromkeys(call.parts[: len(rows)])
        targets = dict.fromkeys(call.parts[len(rows) :])
        if decoders is None:
            targets = dict.fromkeys(part for part in targets if part.decodes)
        pairs = [(source, target) for source in sources for target in targets]
        if not pairs:
            raise ValueError("a grid needs an encoder and a decoder at least: give models")
        for pair in pairs:
            call.cell(*pair)  # all checks of a cell, before any of them runs
        keeper = _Temporary() if folder is None else None
        place = keeper.path if keeper is not None else Path(str(folder))
        _run(call, pairs, place, remember=keeper is None)
    return Grid(read_grid(place), keeper)


def read(folder: str | Path) -> Grid:
    """Return the cells of a sweep, or the one of a single cell, from their files.

    Args:
        folder: Of a sweep or a cell, whether of `launch.py`, `Grid.save` or `Cell.save`.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No cell in it, or none that is finished.

    Example:
        >>> import stitching as st
        >>> data = st.load_data("faces", n_train=24, n_test=8, image_size=32)
        >>> cell = st.stitch("thumbnail", "pixels", data, metric=["rmse"], probe="none")
        >>> again = st.read(cell.save("cell"))["thumbnail", "pixels"]
        >>> again.scores.equals(cell.scores)
        True
    """
    return Grid(read_grid(folder))


class _Temporary:
    """A folder that is removed with this object."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="stitching-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def _run(call: Call, pairs: Sequence[tuple[Part, Part]], place: Path, *, remember: bool) -> None:
    """Run cells into a folder; raise the error of the first if all fail."""
    from stitching.records.status import CellFolder, Index, read_status
    from stitching.results.output import Output
    from stitching.sweeps.cells import record_failure, run_cell

    sweep = new_sweep(place)
    records = [
        CellFolder(place / f"{source.name}-to-{target.name}_{number}", sweep)
        for number, (source, target) in enumerate(pairs)
    ]
    Output(place).require_free(remedy="choose another folder")
    for record in records:
        record.require_free("choose another folder")
    index = Index(config.cache_root(call.settings["cache"]))
    errors: list[Exception] = []
    with progress.bar(len(pairs), "grid", "cell", even=False) as bar:
        for record, (source, target) in zip(records, pairs, strict=True):
            bar.describe(f"{source.name} to {target.name}")
            lasting, before = source.lasting and target.lasting, read_status(record.folder)
            try:
                run_cell(
                    call.plain(source, target),
                    partial(call.cell, source, target),
                    record,
                    sweep,
                    index if lasting else None,
                    remember=remember,
                )
                if before.get("key") not in (None, read_status(record.folder)["key"]):
                    warnings.warn(
                        f"{record.folder}: a finished cell of other settings or functions was "
                        "replaced",
                        stacklevel=3,
                    )
            except BaseException as error:
                record_failure(record, error)
                if not isinstance(error, Exception):
                    raise
                log.error("%s to %s: %s", source.name, target.name, error)
                errors.append(error)
            bar.update()
    if len(errors) == len(pairs):
        raise errors[0]


def _of_run(key: str) -> bool:
    return key in ("folder", "sweep") or key.startswith(("time/", "memory/", "count/"))
