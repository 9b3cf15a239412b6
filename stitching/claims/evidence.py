"""Finished cells as evidence for claims: one data set, one protocol, one folder."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from stitching.claims.base import Number
from stitching.claims.models import Model, changes, models_of
from stitching.results.cell import CellRecord
from stitching.results.differences import Numbers, Quantity, combine
from stitching.results.grid import Grid, Pair, grid_of, read_grid, require_unique
from stitching.results.variants import Variant, split

#: Encoder whose latents do not depend on the image: what a map gets without any information.
FLOOR = "random"

#: Measures of how much of an image is left, and their names. RMSE is squared to be additive.
IMAGE_MEASURES = {"image/rmse": "squared error", "image/lpips": "LPIPS"}

#: What the images of a data set are.
_IMAGES = {
    "faces": "drawn faces, no photographs",
    "drawn": "images that a GAN drew, no photographs",
    "celeba": "photographs of faces (CelebA)",
    "folder": "images of a folder of yours",
}


class NotRun(Exception):
    """Cells that a claim needs are missing; the message names them."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Finished cells of one folder, protocol and data set.

    Attributes:
        grid: The cells; of a sweep over the number of fit images those with the most.
        variant: Protocol, and seeds where a sweep went over them.
        smaller: The grids with fewer fit images, by their number, ascending.
        size: The number of fit images of `grid`; 0 where no sweep went over it.
    """

    grid: Grid
    variant: Variant
    smaller: Mapping[int, Grid] = field(default_factory=dict)
    size: int = 0

    @property
    def first(self) -> CellRecord:
        """The first cell of the grid."""
        return next(iter(self.grid.cells.values()))

    @property
    def data(self) -> str:
        """Name of the data set."""
        return str(self.first.values.get("data"))

    @property
    def images(self) -> str:
        """What the images are, in words."""
        return _IMAGES.get(self.data, self.data)

    @property
    def label(self) -> str:
        """Data set, protocol and seeds, in one line."""
        protocol = self.variant.protocol or "unnamed protocol"
        return ", ".join([self.data, protocol, *(f"{k}={v}" for k, v in self.variant.seeds)])

    @cached_property
    def changed(self) -> list[str]:
        """What was changed in the models for the sake of stitching, a line for each model."""
        return changes(self.models.values())

    @property
    def scope(self) -> list[str]:
        """What an answer holds for, a note each."""
        changed = " | ".join(self.changed) or "nothing that the cells record"
        fit, test = (self.first.values.get(key, "?") for key in ("n_train", "n_test"))
        notes = [
            f"images: {self.images}; {fit} to fit the maps, {test} to test them",
            f"changed in the models for the sake of stitching: {changed}",
            f"intervals cover other test images{self._refits}, not other trainings",
        ]
        if not self.retrained:
            notes.append(
                "no model is here in two trainings: how far two trainings of one model agree, "
                "the ceiling of every pair, is not known"
            )
        return notes

    @property
    def _refits(self) -> str:
        """Measures whose intervals cover other fit images too, in words; "" without any."""
        if not any(cell.number("map/refits") for cell in self.grid.cells.values()):
            return ""
        measures = self.first.values.get("protocol/refits") or "latents"
        both = "latents and images" if measures == "images" else "latents"
        return f" and, for measures of {both}, other fit images"

    def cell(self, encoder: str, decoder: str) -> CellRecord | None:
        """Return a finished cell, None where there is none."""
        return self.grid.cells.get((encoder, decoder))

    def with_cells(self, cells: dict[Pair, CellRecord]) -> Evidence:
        """Return the same evidence with other cells of the same pairs."""
        return replace(self, grid=replace(self.grid, cells=cells, _known={}))

    @cached_property
    def models(self) -> dict[str, Model]:
        """All models by name, controls included."""
        return models_of(self.grid)

    @cached_property
    def trained(self) -> list[str]:
        """Trained generative models, of each training its last weights alone."""
        return [x.name for x in self.models.values() if x.trained and x.name not in self.earlier]

    @cached_property
    def earlier(self) -> list[str]:
        """Checkpoints, such as `nf-5000`, with later ones of the same kind and width."""
        models = self.models.values()
        return [x.name for x in models if any(x.before(other) for other in models)]

    @property
    def recipes(self) -> set[tuple[str, float | None]]:
        """Trained models in `cells`; several trainings of one count once."""
        return {self.models[name].recipe for cell in self.cells for name in cell.pair}

    def controls(self, kind: str) -> list[str]:
        """Return the names of the encoders of a kind of control, such as `thumbnail`."""
        return [name for name in self.grid.encoders if self.grid.kinds[name] == kind]

    def of_family(self, kind: str) -> str:
        """Return the trained model of a kind.

        Raises:
            NotRun: There is none, or more than one.
        """
        found = [name for name in self.trained if self.grid.kinds[name] == kind]
        if kind in found or len(found) == 1:
            return kind if kind in found else found[0]
        count = f"{len(found)} models ({', '.join(found)})" if found else "no model"
        raise NotRun(f"needs one model of the kind `{kind}`, found {count}")

    @cached_property
    def cells(self) -> list[CellRecord]:
        """Finished cells of ordered pairs of different trained models.

        Two sets of options of one model with the same weights, or two trainings of one model, are
        no such pair.
        """
        return [cell for cell in self._pairs if not self.one_model(*cell.pair)]

    @cached_property
    def retrained(self) -> list[CellRecord]:
        """Finished cells of two trainings of one model: how alike two models can be."""
        return [
            cell
            for cell in self._pairs
            if self.models[cell.encoder].retrained(self.models[cell.decoder])
        ]

    @cached_property
    def _pairs(self) -> list[CellRecord]:
        return [
            cell
            for encoder in self.trained
            for decoder in self.trained
            if encoder != decoder and (cell := self.cell(encoder, decoder)) is not None
        ]

    def one_model(self, encoder: str, decoder: str) -> bool:
        """Whether two names are of one model: the same weights, or trained twice."""
        one, other = self.models[encoder], self.models[decoder]
        return one.same_weights(other) or one.retrained(other)

    def ceilings(self, *keys: str) -> list[Number]:
        """Return measures of the cells of two trainings of one model."""
        return [
            Number(f"ceiling, two trainings: {'-to-'.join(cell.pair)}, {key}", cell.quantity(key))
            for cell in self.retrained
            for key in keys
            if cell.number(key) is not None
        ]

    def pairs(self) -> list[Pair]:
        """Return encoder and decoder of each of `cells`."""
        return [cell.pair for cell in self.cells]

    def lacking(self, used: Sequence[Pair], decoders: Collection[str] | None = None) -> list[str]:
        """Return the pairs of different trained models that are not among some, with their state.

        Args:
            used: Those that are measured.
            decoders: Columns to look at; None: all.
        """
        columns = self.grid.decoders if decoders is None else decoders
        return [
            f"{'-to-'.join(pair)} ({self.grid.absent.get(pair, 'without the measure')})"
            for pair in itertools.product(self.grid.encoders, self.grid.decoders)
            if pair not in used
            and pair[1] in columns
            and pair[0] != pair[1]
            and {*pair} <= {*self.trained}
            and not self.one_model(*pair)
        ]

    def left_out(self) -> list[str]:
        """Return notes on models that are no evidence."""
        if not self.earlier:
            return []
        return [f"left out, earlier weights of a model: {', '.join(self.earlier)}"]

    def recovered(self, encoder: str, decoder: str, key: str) -> Quantity:
        """Return which share of what the decoder itself reconstructs comes through a map.

        (floor - pair) / (floor - own), draw by draw, in squared error or LPIPS: 0 is what the
        floor's latents give, 1 the decoder's own reconstruction. Undefined where that is no
        better than the floor, or where one of the three cells is missing.
        """
        cells = [self.cell(name, decoder) for name in (FLOOR, encoder, decoder)]
        power = 2 if key == "image/rmse" else 1
        parts = [cell.quantity(key) if cell else Quantity(None) for cell in cells]
        return combine(lambda x: _share(x**power), parts)

    def trained_on(self, kind: str) -> list[tuple[int, CellRecord]]:
        """Return the cells of a kind of decoder, with how many images it had been trained on."""
        return [
            (int(seen), cell)
            for cell in self.grid.cells.values()
            if cell.kinds[1] == kind
            and (seen := cell.number("weights/decoder_images_seen")) is not None
        ]

    def checkpoints(self, kind: str) -> dict[int, CellRecord]:
        """Return a cell for each number of images that a kind of decoder had been trained on.

        Raises:
            NotRun: Different weights had seen the same number of images.
        """
        found: dict[int, CellRecord] = {}
        for seen, cell in self.trained_on(kind):
            other = found.setdefault(seen, cell)
            if other.values.get("weights/decoder") != cell.values.get("weights/decoder"):
                raise NotRun(
                    f"{other.path.name} and {cell.path.name} have different weights of `{kind}` "
                    f"after {seen} images: put each training into a folder of its own"
                )
        return dict(sorted(found.items()))


def read_evidence(folders: Sequence[Path]) -> Iterator[Evidence]:
    """Yield the evidence of each folder, by protocol and seed.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No finished cell, or cells of one pair of models differ in their results.
    """
    for folder in folders:
        for variant, cells in split(read_grid(folder).read)[0].items():
            *smaller, (size, grid) = _by_size(folder, cells)
            require_unique(grid.frame)
            yield Evidence(grid, variant, dict(smaller), size)


def _by_size(folder: Path, cells: Sequence[CellRecord]) -> list[tuple[int, Grid]]:
    """Return a grid for each number of fit images, ascending, where a sweep went over it."""
    sizes: dict[Pair, set[int]] = {}
    for cell in cells:
        if cell.state == "done":
            sizes.setdefault(cell.pair, set()).add(_size(cell) or 0)
    if all(len(found) == 1 for found in sizes.values()):
        return [(0, grid_of(folder, cells))]
    found = []
    for size in sorted(set.union(*sizes.values())):
        members = [cell for cell in cells if _size(cell) in (size, None)]
        if any(cell.state == "done" for cell in members):
            found.append((size, grid_of(folder, members)))
    return found


def _size(cell: CellRecord) -> int | None:
    """Return the number of fit images that a cell was planned with; None where it is not known."""
    planned = (cell.config.get("data") or {}).get("n_train")
    words = [x for x in cell.overrides if x.startswith("data.n_train=")]
    found = planned or (words[-1].partition("=")[2] if words else cell.number("n_train"))
    return int(float(found)) if found else None


def ratio(part: Numbers, whole: Numbers) -> Numbers:
    """Return part / whole, NaN where whole is not above 0: a share of nothing."""
    share = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=share, where=whole > 0)
    return share


def median(parts: Sequence[Quantity]) -> Quantity:
    """Return the median of quantities; undefined if there are none or one is undefined."""
    return combine(lambda x: np.median(x, axis=0), parts)


def _share(x: Numbers) -> Numbers:
    floor, pair, own = x
    return ratio(floor - pair, floor - own)
