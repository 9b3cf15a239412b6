"""Claims on what linear maps between models keep of an image: C1, C2, C3, C7."""

from __future__ import annotations

import math
from collections.abc import Sequence

from stitching.claims.base import Answer, Claim, Number, Region, judge, of_all
from stitching.claims.evidence import FLOOR, IMAGE_MEASURES, Evidence, NotRun, median
from stitching.results.cell import CellRecord
from stitching.results.commands import python
from stitching.results.differences import combine, mean, mean_gap
from stitching.results.grid import Pair
from stitching.results.measures import headline

#: "Most" of an image: more than half of what lies between the floor and the decoder's own.
MOST = 0.5

#: Measures of latents that judge a map, whatever the protocol's other measures are.
_LATENT = ("latent/r2", "latent/nmse", "latent/mse", "latent/rmse")


class C1(Claim):
    """Linear maps keep most of the image."""

    id = "C1"
    about = "a grid of trained models"
    text = (
        "Linear maps between well trained models keep most of the visual information, also "
        "where the sizes of the latents differ."
    )
    rule = (
        f"Recovered share of a pair: (floor - pair) / (floor - own), where the floor is the "
        f"encoder `{FLOOR}` and own the decoder's reconstruction in the same column. Its median "
        "over ordered pairs of different trained models, in squared error and in LPIPS, over all "
        f"pairs and over those of different width, must be above {MOST:g}."
    )

    def applies(self, evidence: Evidence) -> bool:
        """Whether there are two trained models."""
        return len(evidence.trained) > 1

    def answer(self, evidence: Evidence) -> Answer:
        """Judge the medians of recovered shares."""
        pairs = evidence.measured_pairs()
        uneven = [pair for pair in pairs if _widths_differ(evidence, pair)]
        decisive, facts = [], []
        for key, name in IMAGE_MEASURES.items():
            shares = {pair: evidence.recovered(*pair, key) for pair in pairs}
            found = median([*shares.values()])
            decisive.append(Number(f"median of {len(pairs)} pairs, {name}", found))
            if uneven and uneven != pairs:
                found = median([shares[pair] for pair in uneven])
                label = f"median of {len(uneven)} pairs of different width, {name}"
                decisive.append(Number(label, found))
            worst, share = min(shares.items(), key=lambda item: _or_inf(item[1].value))
            facts.append(Number(f"lowest, {'-to-'.join(worst)}, {name}", share))
        width = f"{len(uneven)} of {len(pairs)} pairs differ in the width of their latents"
        notes = [width, *evidence.left_out(pairs)]
        verdict = judge(decisive, Region(low=MOST))
        return Answer(*verdict, decisive, facts, notes)


class C2(Claim):
    """Which encoders stitch well."""

    id = "C2"
    about = "a grid with nf or vqvae, and vae or dm, as encoders"
    text = "The encoders of `nf` and `vqvae` stitch better to other decoders than `vae` and `dm`."
    rule = (
        "Each of `nf` and `vqvae` against each of `vae` and `dm`: the mean difference of their "
        "recovered shares (C1), in squared error and in LPIPS, over the columns in which both are "
        "foreign, must be above 0."
    )
    better, worse = ("nf", "vqvae"), ("vae", "dm")

    def applies(self, evidence: Evidence) -> bool:
        """Whether models of these kinds are among those that encode."""
        encoders = [name for name in evidence.grid.encoders if name in evidence.trained]
        kinds = {evidence.grid.kinds[name] for name in encoders}
        return len(kinds & {*self.better, *self.worse}) > 1

    def answer(self, evidence: Evidence) -> Answer:
        """Judge four contrasts in two measures."""
        pairs = evidence.measured_pairs()
        better, worse = (
            [evidence.of_family(kind) for kind in kinds] for kinds in (self.better, self.worse)
        )
        decisive = []
        for first, second in [(a, b) for a in better for b in worse]:
            columns = [
                decoder
                for decoder in evidence.trained
                if (first, decoder) in pairs and (second, decoder) in pairs
            ]
            if not columns:
                raise NotRun(f"needs a column in which both {first} and {second} are foreign")
            for key, name in IMAGE_MEASURES.items():
                a, b = ([evidence.recovered(x, d, key) for d in columns] for x in (first, second))
                label = f"{first} - {second} on {', '.join(columns)}, {name}"
                decisive.append(Number(label, mean_gap(a, b)))
        facts = [
            Number(f"mean recovered share of {name} as encoder, {label}", mean(shares))
            for name in [*better, *worse]
            for key, label in IMAGE_MEASURES.items()
            if (shares := [evidence.recovered(*pair, key) for pair in pairs if pair[0] == name])
        ]
        verdict = judge(decisive, Region(low=0))
        return Answer(*verdict, decisive, facts, evidence.left_out(pairs))


class C3(Claim):
    """Every trained encoder beats the floor."""

    id = "C3"
    about = "a grid of trained models"
    text = f"Every trained encoder does better than `{FLOOR}`."
    rule = (
        f"In every column, each foreign trained encoder against `{FLOOR}`, by each measure of "
        "images and of latents that the protocol judges by: the gain must be above 0."
    )

    def applies(self, evidence: Evidence) -> bool:
        """Whether a trained model encodes for another."""
        return bool(evidence.cells)

    def answer(self, evidence: Evidence) -> Answer:
        """Judge every encoder in every column by every measure."""
        cells = [
            (cell, floor)
            for cell in evidence.cells
            if (floor := evidence.cell(FLOOR, cell.decoder))
        ]
        if not cells:
            raise NotRun(f"needs the encoder `{FLOOR}` in the columns of the decoders")
        used = [cell.pair for cell, _ in cells]
        notes = evidence.left_out(used)
        decisive = []
        for measure in headline(cell.values for cell, _ in cells):
            if not (measure.key.startswith("image/") or measure.key in _LATENT):
                continue
            if all(cell.number(measure.key) is None for cell, _ in cells):
                notes.append(f"not measured: {measure.key}")
                continue
            if not measure.good:
                notes.append(f"left out, its better end is not known: {measure.key}")
                continue
            sign = -1 if measure.lower_is_better else 1
            decisive += [_gain(cell, floor, measure.key, sign) for cell, floor in cells]
        if not decisive:
            raise NotRun("needs a measure of images or latents that the protocol judges by")
        verdict = of_all(judge(decisive, Region(low=0)), evidence.missing(used))
        return Answer(*verdict, decisive, (), notes)


class C7(Claim):
    """Any encoder can be stitched to the GAN."""

    id = "C7"
    about = "the decoder gan on images that it drew"
    text = "On images that the GAN drew, every encoder can be stitched to its decoder."
    rule = (
        "Decoder `gan` on its own drawings: the recovered share (C1) of every trained foreign "
        f"encoder, in squared error and in LPIPS, must be above {MOST:g}."
    )

    def applies(self, evidence: Evidence) -> bool:
        """Whether a GAN decodes, which it does for its own drawings only."""
        return any(evidence.grid.kinds[name] == "gan" for name in evidence.grid.decoders)

    def commands(self, options: Sequence[str]) -> list[str]:
        """Return the command line of the grid with the GAN, which has data of its own."""
        return [python("launch.py", "experiment=grid-gan")]

    def answer(self, evidence: Evidence) -> Answer:
        """Judge every encoder."""
        gan = evidence.of_family("gan")
        pairs = [pair for pair in evidence.measured_pairs() if pair[1] == gan]
        if not pairs:
            raise NotRun(f"needs trained encoders, `{FLOOR}` and `{gan}` itself, to `{gan}`")
        decisive = [
            Number(f"{encoder}, {name}", evidence.recovered(encoder, gan, key))
            for encoder, _ in pairs
            for key, name in IMAGE_MEASURES.items()
        ]
        missing = [pair for pair in evidence.missing(pairs) if pair[1] == gan]
        verdict = of_all(judge(decisive, Region(low=MOST)), missing)
        return Answer(*verdict, decisive)


def _widths_differ(evidence: Evidence, pair: Pair) -> bool:
    cell = evidence.cell(*pair)
    widths = [cell.number(key) for key in ("d_source", "d_target")] if cell else [None]
    return None not in widths and widths[0] != widths[1]


def _or_inf(value: float | None) -> float:
    return math.inf if value is None else value


def _gain(cell: CellRecord, floor: CellRecord, key: str, sign: int) -> Number:
    gain = combine(lambda x: sign * (x[0] - x[1]), [cell.quantity(key), floor.quantity(key)])
    return Number(f"{'-to-'.join(cell.pair)}, {key}", gain)
