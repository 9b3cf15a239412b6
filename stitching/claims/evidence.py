"""Finished cells as evidence for claims: one data set, one protocol, one folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from stitching.results.cell import BASELINES, CellRecord
from stitching.results.differences import Numbers, Quantity, combine
from stitching.results.grid import Grid, Pair, grid_of, read_grid, require_unique
from stitching.results.variants import Variant, split

#: Encoder whose latents do not depend on the image: what a map gets without any information.
FLOOR = "random"

#: Measures of how much of an image is left, and their names. RMSE is squared to be additive.
IMAGE_MEASURES = {"image/rmse": "squared error", "image/lpips": "LPIPS"}

#: The end of a name of an earlier state of a training.
_CHECKPOINT = re.compile(r"-\d+$|[\[,]checkpoint=\d+")


class NotRun(Exception):
    """Cells that a claim needs are missing; the message names them."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Finished cells of one folder, protocol and data set.

    Attributes:
        grid: The cells.
        variant: Protocol, and seeds where a sweep went over them.
    """

    grid: Grid
    variant: Variant

    @property
    def first(self) -> CellRecord:
        """The first cell of the grid."""
        return next(iter(self.grid.cells.values()))

    @property
    def data(self) -> str:
        """Name of the data set."""
        return str(self.first.values.get("data"))

    @property
    def label(self) -> str:
        """Data set, protocol and seeds, in one line."""
        protocol = self.variant.protocol or "unnamed protocol"
        return ", ".join([self.data, protocol, *(f"{k}={v}" for k, v in self.variant.seeds)])

    def cell(self, encoder: str, decoder: str) -> CellRecord | None:
        """Return a finished cell, None where there is none."""
        return self.grid.cells.get((encoder, decoder))

    @cached_property
    def trained(self) -> list[str]:
        """Trained generative models, of each training its last weights alone."""
        names = dict.fromkeys([*self.grid.encoders, *self.grid.decoders])
        return [
            name
            for name in names
            if self.grid.kinds[name] not in BASELINES and name not in self.earlier
        ]

    @cached_property
    def earlier(self) -> list[str]:
        """Checkpoints, such as `nf-5000`, with later ones of the same kind and width."""
        found: dict[str, tuple[str, float | None, float]] = {}
        for cell in self.grid.cells.values():
            for name, role, width in (
                (cell.encoder, "encoder", "d_source"),
                (cell.decoder, "decoder", "d_target"),
            ):
                seen = cell.number(f"weights/{role}_images_seen")
                if seen is not None:
                    found[name] = (self.grid.kinds[name], cell.number(width), seen)
        return [
            name
            for name, (kind, width, seen) in found.items()
            if _CHECKPOINT.search(name)
            and any(x[:2] == (kind, width) and x[2] > seen for x in found.values())
        ]

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

        Two sets of options of one model, with the same weights, are no such pair.
        """
        return [
            cell
            for encoder in self.trained
            for decoder in self.trained
            if encoder != decoder
            and (cell := self.cell(encoder, decoder)) is not None
            and not _same_weights(cell)
        ]

    def pairs(self) -> list[Pair]:
        """Return encoder and decoder of each of `cells`."""
        return [cell.pair for cell in self.cells]

    def measured_pairs(self) -> list[Pair]:
        """Return the pairs whose column also has its floor and its own reconstruction.

        Raises:
            NotRun: There is none.
        """
        found = [
            pair
            for pair in self.pairs()
            if self.cell(FLOOR, pair[1]) is not None and (pair[1], pair[1]) in self.grid.own
        ]
        if not found:
            raise NotRun(
                f"needs cells of two different trained models, and in the same column `{FLOOR}` "
                "and the decoder itself as encoders"
            )
        return found

    def missing(self, used: Sequence[Pair]) -> list[Pair]:
        """Return the pairs of different trained models of this grid that are not among some."""
        encoders = [name for name in self.grid.encoders if name in self.trained]
        decoders = [name for name in self.grid.decoders if name in self.trained]
        return [(e, d) for e in encoders for d in decoders if e != d and (e, d) not in used]

    def left_out(self, used: Sequence[Pair]) -> list[str]:
        """Return notes on what is not among the pairs used, and why."""
        names = ", ".join("-to-".join(pair) for pair in self.missing(used))
        notes = [f"left out, not measured: {names}"] if names else []
        if self.earlier:
            notes.append(f"left out, earlier weights of a model: {', '.join(self.earlier)}")
        return notes

    def recovered(self, encoder: str, decoder: str, key: str) -> Quantity:
        """Return which share of what the decoder itself reconstructs comes through a map.

        (floor - pair) / (floor - own), draw by draw, in squared error or LPIPS: 0 is what the
        floor's latents give, 1 the decoder's own reconstruction. Undefined where that is no
        better than the floor.
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
            grid = grid_of(folder, cells)
            require_unique(grid.frame)
            yield Evidence(grid, variant)


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


def _same_weights(cell: CellRecord) -> bool:
    hashes = [cell.values.get(f"weights/{role}") for role in ("encoder", "decoder")]
    return hashes[0] is not None and hashes[0] == hashes[1]
