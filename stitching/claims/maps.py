"""Claims on what linear maps between models keep of an image, beyond its pixels: C1, C7."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from stitching.claims.base import (
    CANNOT_TELL,
    EXPLAINED,
    NOT_SUPPORTED,
    SUPPORTED,
    Answer,
    Judgement,
    Number,
    Region,
    judge,
)
from stitching.claims.claim import Claim
from stitching.claims.evidence import FLOOR, IMAGE_MEASURES, Evidence, NotRun, median, ratio
from stitching.records.program import command_line
from stitching.results.cell import CellRecord
from stitching.results.differences import combine
from stitching.results.grid import Pair

#: A stitched image may be worse than that of a control by so much of the control's error. Of an
#: RMSE of 0.05 this is 0.0025, less than one of 255 levels of grey.
MARGIN = 0.05

#: Measures of images whose gains over the controls are judged, and the controls.
_MEASURES = {"image/rmse": "RMSE", "image/lpips": "LPIPS"}
_CONTROLS = {"": "pixels", "_pca": "as many components of pixels"}

#: What a source explains of a target that its pixels do not.
BEYOND = "latent/r2_beyond_pixels"

_NEEDED = (BEYOND, *(f"{key}_gain{end}" for key in _MEASURES for end in _CONTROLS))


class _NoWorseThanPixels(Claim):
    """A claim that stitches keep the image, and that trained models are why."""

    def judged(self, evidence: Evidence, decoders: Collection[str]) -> Answer:
        """Judge all pairs to some decoders, by controls and by what is shared beyond pixels."""
        pairs = [cell for cell in evidence.cells if cell.decoder in decoders]
        cells = [x for x in pairs if all(x.number(key) is not None for key in _NEEDED)]
        if not cells:
            raise NotRun(f"needs cells of trained models with {', '.join(_NEEDED)}")
        used = [cell.pair for cell in cells]
        beyond = [
            Number(f"{'-to-'.join(cell.pair)}, R2 beyond pixels", cell.quantity(BEYOND))
            for cell in cells
        ]
        gains = [
            [_relative(cell, key, end) for cell in cells] for key in _MEASURES for end in _CONTROLS
        ]
        every = [number for numbers in gains for number in numbers]
        uneven = [cell for cell in cells if cell.number("d_source") != cell.number("d_target")]
        notes = [
            "gains are shares of the control's error: above 0 is better than the control",
            f"{len(uneven)} of {len(cells)} pairs differ in the width of their latents",
            *evidence.left_out(),
        ]
        if any(evidence.cell(FLOOR, cell.decoder) is None for cell in cells):
            notes.append(f"the share recovered is not known without the encoder `{FLOOR}`")
        return Answer(
            *_verdict(judge(every, Region(low=-MARGIN)), beyond),
            [*beyond, *every],
            [*_medians(beyond, *gains), *evidence.ceilings(*_NEEDED), *_recovered(evidence, used)],
            notes,
            lacking=evidence.lacking(used, decoders),
        )


def _verdict(image: Judgement, beyond: Sequence[Number]) -> Judgement:
    if image.verdict == NOT_SUPPORTED:
        _, _, which = image.reason.partition(": ")
        worse = f"worse than the maps from pixels by more than {MARGIN:.0%} of their error"
        return Judgement(NOT_SUPPORTED, f"{worse}: {which}")
    if image.verdict != SUPPORTED:
        return Judgement(image.verdict, f"gains over the maps from pixels: {image.reason}")
    more = judge(beyond, Region(low=0))
    if more.verdict == SUPPORTED:
        return Judgement(
            SUPPORTED, f"no worse than the maps from pixels, and R2 beyond pixels: {more.reason}"
        )
    ends = [number.quantity.interval() for number in beyond]
    none = [x for x, found in zip(beyond, ends, strict=True) if found and found[0] <= 0]
    if not none:
        return Judgement(CANNOT_TELL, f"R2 beyond pixels: {more.reason}")
    highest = max(none, key=lambda x: (x.quantity.interval() or (0, 0))[1])
    return Judgement(
        EXPLAINED,
        f"no worse than the maps from pixels, but {len(none)} of {len(beyond)} pairs need not "
        f"share anything beyond pixels; the most that one of them may is {highest}",
    )


def _relative(cell: CellRecord, key: str, end: str) -> Number:
    """Return the gain over a control as a share of the control's error."""
    parts = [cell.quantity(f"{key}_gain{end}"), cell.quantity(key)]
    share = combine(lambda x: ratio(x[0], x[0] + x[1]), parts)
    return Number(f"{'-to-'.join(cell.pair)}, {_MEASURES[key]} against {_CONTROLS[end]}", share)


def _medians(*columns: Sequence[Number]) -> Iterator[Number]:
    for numbers in columns:
        if len(numbers) > 1:
            name = f"median of {len(numbers)} pairs, {numbers[0].name.partition(', ')[2]}"
            yield Number(name, median([number.quantity for number in numbers]))


def _recovered(evidence: Evidence, pairs: Sequence[Pair]) -> Iterator[Number]:
    """Yield medians of the recovered share, of pairs and of a thumbnail in their columns."""
    decoders = dict.fromkeys(decoder for _, decoder in pairs)
    rows = {f"{len(pairs)} pairs": pairs}
    rows |= {name: [(name, d) for d in decoders] for name in evidence.controls("thumbnail")}
    for key, label in IMAGE_MEASURES.items():
        for row, members in rows.items():
            found = median([evidence.recovered(*pair, key) for pair in members])
            if found.value is not None:
                yield Number(f"share recovered, median of {row}, {label}", found)


_RULE = (
    "(1) By RMSE and by LPIPS, its error exceeds that of the map from `pixels`, and that of the "
    "map from as many leading components of the pixels as the encoder has latents, by less than "
    f"{MARGIN:.0%}. (2) `{BEYOND}` is above 0. If (1) holds and (2) does not, the stitch is "
    "explained by pixels. The recovered share, (floor - pair) / (floor - own) with "
    f"`{FLOOR}` as floor, decides nothing: a thumbnail of the image has most of it."
)


class C1(_NoWorseThanPixels):
    """Linear maps keep most of the image."""

    id = "C1"
    about = "a grid of trained models"
    text = (
        "Linear maps between well trained models keep most of the visual information, also "
        "where the sizes of the latents differ."
    )
    rule = f"For every ordered pair of different trained models: {_RULE}"

    def applies(self, evidence: Evidence) -> bool:
        """Whether there are two trained models."""
        return len(evidence.trained) > 1

    def answer(self, evidence: Evidence) -> Answer:
        """Judge every pair."""
        return self.judged(evidence, evidence.grid.decoders)


class C7(_NoWorseThanPixels):
    """Any encoder can be stitched to the GAN."""

    id = "C7"
    about = "the decoder gan on images that it drew"
    text = "On images that the GAN drew, every encoder can be stitched to its decoder."
    rule = f"For every trained foreign encoder to `gan`, on drawings of that GAN: {_RULE}"

    def applies(self, evidence: Evidence) -> bool:
        """Whether a GAN decodes, which it does for its own drawings only."""
        return any(evidence.grid.kinds[name] == "gan" for name in evidence.grid.decoders)

    def commands(self, options: Sequence[str]) -> list[str]:
        """Return the command line of the grid with the GAN, which has data of its own."""
        return [command_line("run", "experiment=grid-gan")]

    def answer(self, evidence: Evidence) -> Answer:
        """Judge every encoder."""
        gan = evidence.of_family("gan")
        return self.judged(evidence, [gan])
