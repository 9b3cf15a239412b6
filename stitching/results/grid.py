"""Grids of cells: encoders by decoders."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from stitching.results.cell import CellRecord, family
from stitching.results.controls import controls_first, phrases
from stitching.results.frame import frame_of, level_name
from stitching.results.measures import MEASURES, Measure, measure_of
from stitching.results.reading import listed, read_cells

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

T = TypeVar("T")

Pair = tuple[str, str]

_SETTING_KEYS = (
    "encoder/model", "decoder/model", "protocol", "data", "map", "alpha", "n_train", "n_test",
    "seed", "folder", "sweep",
)  # fmt: skip

# Columns that describe a run and not its result: repeats of a cell may differ in them.
_RUN_KEYS = ("folder", "sweep", "time/", "memory/", "count/")


@dataclass(eq=False)
class Grid:
    """Cells of a sweep.

    Attributes:
        folder: Of the sweep.
        frame: One row per finished cell: `encoder`, `decoder`, measures, the rest. Numbers are
            raw; NaN and infinity are the word "invalid". Columns are the keys of `metrics.json`
            with "/" for ".", as in `image/rmse/low`.
        read: All cells, in any state.
        encoders: Names in order of appearance, failed cells included; controls come first.
        decoders: The same of decoders.
        cells: The finished cell of each pair, the first of repeats.
        absent: Why a pair has no row: "failed", "unfinished", "invalid" or "missing".
        notes: What was left out, and failures, one line each.
        compared: Whether resamples are read to decide which numbers differ.
        done: The finished cells, in the order of the rows of `frame`.
    """

    folder: Path
    frame: pd.DataFrame
    read: list[CellRecord] = field(default_factory=list)
    encoders: list[str] = field(default_factory=list)
    decoders: list[str] = field(default_factory=list)
    cells: dict[Pair, CellRecord] = field(default_factory=dict)
    absent: dict[Pair, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    compared: bool = True
    done: list[CellRecord] = field(default_factory=list)
    _known: dict[tuple[object, ...], object] = field(default_factory=dict, repr=False)

    @cached_property
    def off_diagonal(self) -> list[CellRecord]:
        """The finished cells of two different models."""
        return [cell for cell in self.cells.values() if not cell.diagonal]

    @property
    def repeated(self) -> bool:
        """Whether a pair of models has several finished cells."""
        return len(self.done) > len(self.cells)

    @cached_property
    def kinds(self) -> dict[str, str]:
        """The kind of the model behind each name; by the name where no cell has finished."""
        found = {name: family(name) for name in (*self.encoders, *self.decoders)}
        for cell in self.cells.values():
            found |= zip(cell.pair, cell.kinds, strict=True)
        return found

    @cached_property
    def controls(self) -> dict[str, str]:
        """What the controls among encoders and decoders are, by name."""
        return phrases(dict.fromkeys([*self.encoders, *self.decoders]), self.kinds)

    @cached_property
    def groups(self) -> list[tuple[str, list[str]]]:
        """The encoders in groups with a title: controls and models, or one without a title."""
        n = sum(name in self.controls for name in self.encoders)
        if n in (0, len(self.encoders)):
            return [("", self.encoders)]
        return [("controls", self.encoders[:n]), ("models", self.encoders[n:])]

    @cached_property
    def own(self) -> frozenset[Pair]:
        """The pairs whose cell is a model's own reconstruction."""
        return frozenset(pair for pair, cell in self.cells.items() if cell.diagonal)

    @cached_property
    def columns(self) -> dict[str, list[CellRecord]]:
        """The finished cells of two different models, by decoder."""
        found: dict[str, list[CellRecord]] = {name: [] for name in self.decoders}
        for cell in self.off_diagonal:
            found[cell.decoder].append(cell)
        return found

    @cached_property
    def measured(self) -> list[Measure]:
        """The measures that at least one finished cell has a value for.

        Measures of images that are not among `MEASURES`, a user's own, come last.
        """
        columns = {str(column) for column in self.frame}
        own = [key.removesuffix("/low") for key in map(str, self.frame) if key.endswith("/low")]
        known = {measure.key for measure in MEASURES}
        others = [key for key in own if key.startswith("image/") and key not in known]
        return [
            measure
            for measure in [*MEASURES, *map(measure_of, dict.fromkeys(others))]
            if measure.key in columns and bool(self.frame[measure.key].notna().any())
        ]

    def require_unique(self) -> None:
        """Check the cells as the function `require_unique`, once."""
        self.once(("unique",), lambda: require_unique(self.frame))

    def once(self, key: tuple[object, ...], compute: Callable[[], T]) -> T:
        """Return the result of `compute`, which is called once for each key."""
        if key not in self._known:
            self._known[key] = compute()
        found: T = self._known[key]  # type: ignore[assignment]  # as `compute` of this key made it
        return found


def collect(folder: str | Path) -> pd.DataFrame:
    """Return `read_grid(folder).frame`, one row per finished cell; log what is left out."""
    grid = read_grid(folder)
    for note in grid.notes:
        log.warning("%s", note)
    return grid.frame


def read_grid(folder: str | Path) -> Grid:
    """Read the cells of a sweep.

    A cell counts as finished if its status is "done" and `results.reading` finds its files
    valid. Of several sweeps in the folder the one in `sweep.json` counts, without that file the
    one written to last.

    Args:
        folder: Of the sweep, or of a single cell.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No cell in it, or none that is finished.
    """
    folder = Path(folder)
    folder = folder if folder.name else folder.resolve()  # "." has no name
    cells, notes = read_cells(folder)
    return grid_of(folder, cells, notes)


def grid_of(
    folder: Path, cells: Sequence[CellRecord], notes: Sequence[str] = (), *, finished: bool = True
) -> Grid:
    """Return the grid of cells.

    Args:
        folder: Of the sweep.
        cells: In any state.
        notes: What was left out before.
        finished: Whether at least one cell must have finished.

    Raises:
        ValueError: None has.
    """
    import pandas as pd

    grid = Grid(folder, pd.DataFrame(), list(cells), notes=list(notes))
    grid.encoders = [*dict.fromkeys(cell.encoder for cell in cells if cell.encoder)]
    grid.decoders = [*dict.fromkeys(cell.decoder for cell in cells if cell.decoder)]
    for cell in cells:
        if cell.state != "done":
            grid.absent[cell.pair] = cell.state
            grid.notes.append(f"{cell.path.name} {cell.state}: {cell.reason}")
    done = [cell for cell in cells if cell.state == "done"]
    if not done and finished:
        raise ValueError("\n  ".join([f"no finished cell in {folder}", *grid.notes]))
    _note_pairs(done, grid)
    grid.encoders, grid.decoders = (
        controls_first(names, grid.kinds) for names in (grid.encoders, grid.decoders)
    )
    rows = {name: place for place, name in enumerate(grid.encoders)}
    columns = {name: place for place, name in enumerate(grid.decoders)}
    done.sort(key=lambda cell: (rows[cell.encoder], columns[cell.decoder]))
    ends = ("", ".low", ".high")
    measures = [f"{measure.key}{end}" for measure in MEASURES for end in ends]
    first = ["encoder", "decoder", *measures, *_SETTING_KEYS]
    grid.done = done
    grid.frame = frame_of([cell.values for cell in done], first)
    _fill_options(grid)
    grid.frame.columns = grid.frame.columns.map(lambda key: level_name(key, grid.frame))
    _note_invalid(grid)
    return grid


def _note_invalid(grid: Grid) -> None:
    """Note how many images cells left out because of values that are not finite."""
    for key, what in (("n_invalid_fit", "fit"), ("n_invalid", "test")):
        counts = [int(n) for cell in grid.done if (n := cell.number(key))]
        if counts:
            most = f"up to {max(counts)}" if len(set(counts)) > 1 else f"{counts[0]}"
            grid.notes.append(
                f"values that are not finite: {most} {what} images left out in {len(counts)} cells"
            )


def _fill_options(grid: Grid) -> None:
    """Complete the columns of options that only some cells set otherwise than the model's YAML."""
    for column in [str(c) for c in grid.frame if str(c).startswith(("encoder/", "decoder/"))]:
        role, _, option = column.partition("/")
        lacks = grid.frame[column].isna()
        if option == "model" or not lacks.any():
            continue
        usual = [_option(cell, role, option) for cell in grid.done]
        grid.frame[column] = grid.frame[column].astype(object).where(~lacks, usual)


def _option(cell: CellRecord, role: str, option: str) -> object:
    """Return an option from a cell's configuration, by its dotted name; None where it has none."""
    node: object = cell.config.get(role)
    for key in option.split("."):
        node = node.get(key) if isinstance(node, dict) else None
    return node if node is None or isinstance(node, (str, int, float)) else json.dumps(node)


def _note_pairs(done: Sequence[CellRecord], grid: Grid) -> None:
    """Note pairs of models without a finished cell, and those with more than one."""
    folders: dict[Pair, list[CellRecord]] = {}
    for cell in done:
        folders.setdefault(cell.pair, []).append(cell)
    for pair in [(e, d) for e in grid.encoders for d in grid.decoders]:
        if pair in folders:
            grid.cells[pair] = folders[pair][0]
            grid.absent.pop(pair, None)
            if pair[0] == pair[1] and not grid.cells[pair].diagonal:
                grid.notes.append(
                    f"{grid.cells[pair].path.name} is no reconstruction: two models with "
                    f"different options are both called {pair[0]}"
                )
            if len(folders[pair]) > 1:
                names = listed([cell.path.name for cell in folders[pair]])
                grid.notes.append(f"repeats, of which tables show one: {names}")
        elif pair not in grid.absent:
            grid.absent[pair] = "missing"
            grid.notes.append(f"{'-to-'.join(pair)} missing: it was not started")


def require_unique(frame: pd.DataFrame) -> None:
    """Check that repeats of a cell have the same results.

    Raises:
        ValueError: Cells of one encoder and decoder differ in their results.
    """
    pair = ["encoder", "decoder"]
    if len({*zip(frame["encoder"], frame["decoder"], strict=True)}) == len(frame):
        return
    results = [column for column in frame if not str(column).startswith(_RUN_KEYS)]
    for names, group in frame[frame.duplicated(pair, keep=False)].groupby(pair, sort=False):
        counts = group[results].astype(str).nunique(dropna=False).to_dict()
        differ = [str(column) for column, count in counts.items() if count > 1]
        if differ:
            raise ValueError(
                f"{len(group)} cells for {' to '.join(map(str, names))} differ in "
                f"{', '.join(differ[:5])}: {', '.join(group['folder'].astype(str))}; sweep one "
                "setting per folder"
            )


def pivot(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    """Return one measure as a table, encoders by decoders in order of appearance.

    Identical repeats of a cell count once; nothing is averaged.

    Raises:
        KeyError: No such column.
        ValueError: Cells of one encoder and decoder differ in their results.
    """
    if key not in frame:
        raise KeyError(f"no column {key!r} in the grid")
    require_unique(frame)
    once = frame.drop_duplicates(["encoder", "decoder"])
    table = once.pivot(index="encoder", columns="decoder", values=key)
    return table.reindex(index=once["encoder"].unique(), columns=once["decoder"].unique())
