"""The finding of a grid in a few sentences, made by rules from its numbers.

Every number has its interval, and every sentence says what it counts. Pairs are those of different
trained models: controls are what they are compared with, own reconstructions are no result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from stitching.results.cell import CellRecord
from stitching.results.controls import is_control
from stitching.results.formats import with_interval
from stitching.results.grid import Grid

_BEYOND, _R2 = "latent/r2_beyond_pixels", "latent/r2"

#: Gains over images from pixels, and the measures they are of.
_GAINS = {"image/rmse_gain": "RMSE", "image/lpips_gain": "LPIPS"}

#: Controls that the best map is shown beside, if there are cells of them.
_BESIDE = ("pixels", "pca", "thumbnail")

#: What the images of a data set are called; others by their name.
_IMAGES = {"faces": "drawn faces", "celeba": "photographs of faces (CelebA)"}


class Known(NamedTuple):
    """A measure of a cell with an interval.

    Attributes:
        cell: The cell.
        value: Its value.
        low: Low end of the 95 % interval.
        high: High end.
    """

    cell: CellRecord
    value: float
    low: float
    high: float

    def text(self, percent: bool = False) -> str:
        """Return the number and its interval."""
        if percent:
            value, low, high = (f"{100 * x:.0f}" for x in self[1:])
            return f"{value} % [{low}, {high}]"
        return " ".join(with_interval(self.value, (self.low, self.high)))


def finding(grid: Grid) -> list[str]:
    """Return what a grid shows, one sentence for each of its questions that it can answer.

    How much encoders explain beyond pixels, whether images are better than those from pixels, how
    good the best map is beside controls, and what two trainings of one model share. Empty where
    no cell of two different trained models has finished.
    """
    trained = [x for x in grid.off_diagonal if not any(map(is_control, x.kinds))]
    pairs = [cell for cell in trained if cell.kinds[0] != cell.kinds[1]]
    again = [x for x in trained if x.kinds[0] == x.kinds[1] and not x.same_weights]
    sentences = [*_beyond(pairs), *_images(pairs), *_best(grid, pairs), *_trainings(again)]
    return [f"{_data(grid)}: {sentences[0]}", *sentences[1:]] if sentences else []


def _data(grid: Grid) -> str:
    def shared(key: str) -> object:
        values = {cell.values.get(key) for cell in grid.cells.values()}
        return values.pop() if len(values) == 1 else None

    name, n_train, n_test = map(shared, ("data", "n_train", "n_test"))
    images = _IMAGES.get(str(name), str(name)) if name else "images"
    if n_train is None or n_test is None:
        return f"On {images}"
    return f"On {n_train:,} {images} to fit and {n_test:,} to test"


def _beyond(pairs: Sequence[CellRecord]) -> list[str]:
    found = _known(pairs, _BEYOND)
    if not found:
        return []
    above = sorted((x for x in found if x.low > 0), key=lambda x: -x.value)
    left = "of a decoder's latents that a linear map from raw pixels leaves unexplained"
    if not above:
        return [f"in none of {_pairs(len(found))} does the encoder explain any part {left}."]
    best = above[0]
    return [
        f"in {len(above)} of {_pairs(len(found))} the encoder explains a part {left}, at most "
        f"{best.text(percent=True)}, from {_from_to(best.cell)}."
    ]


def _images(pairs: Sequence[CellRecord]) -> list[str]:
    better, worse, totals = {}, {}, set()
    for key, name in _GAINS.items():
        found = _known(pairs, key)
        if found:
            better[name] = sum(x.low > 0 for x in found)
            worse[name] = sum(x.high < 0 for x in found)
            totals.add(len(found))
    if not better or len(totals) > 1:
        return []

    def counts(of: dict[str, int]) -> str:
        return " and ".join(f"{n} by {name}" for name, n in of.items())

    return [
        f"Of {_pairs(totals.pop())}, {counts(better)} have better images than the map from raw "
        f"pixels to the same decoder; {counts(worse)} have worse ones."
    ]


def _best(grid: Grid, pairs: Sequence[CellRecord]) -> list[str]:
    found = _known(pairs, _R2)
    if not found:
        return []
    best = max(found, key=lambda x: x.value)
    beside = []
    for cell in grid.off_diagonal:
        control = _known([cell], _R2)
        if control and cell.kinds[0] in _BESIDE and cell.decoder == best.cell.decoder:
            beside.append(f"`{cell.encoder}` {control[0].text()}")
    text = f"The best map between different models, {_from_to(best.cell)}, has R² {best.text()}"
    if beside:
        return [f"{text}; of controls to the same decoder {', '.join(beside)}."]
    return [
        f"{text}. Controls are not in this grid: add `encoder=thumbnail,pca,pixels` to see how "
        "much of it pixels alone give."
    ]


def _trainings(cells: Sequence[CellRecord]) -> list[str]:
    found = _known(cells, _R2)
    if not found:
        return []
    texts = [f"{_from_to(x.cell)} {x.text()}" for x in found]
    return [f"Between two trainings of one model R² is: {', '.join(texts)}."]


def _known(cells: Sequence[CellRecord], key: str) -> list[Known]:
    found = []
    for cell in cells:
        value, ends = cell.number(key), cell.interval(key)
        if value is not None and ends is not None:
            found.append(Known(cell, value, *ends))
    return found


def _from_to(cell: CellRecord) -> str:
    return f"`{cell.encoder}` to `{cell.decoder}`"


def _pairs(n: int) -> str:
    return f"{n} pair{'s' if n != 1 else ''} of different models"
