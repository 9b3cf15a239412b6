"""Claims on the accuracy of probes of latents: C4, C9."""

from __future__ import annotations

from collections.abc import Sequence

from stitching.claims.base import CANNOT_TELL, SUPPORTED, Answer, Number, Region, judge
from stitching.claims.claim import Claim
from stitching.claims.evidence import FLOOR, Evidence, NotRun, median, ratio
from stitching.compute.attributes import HEAVY_MAKEUP, MALE
from stitching.records.program import command_line
from stitching.results.cell import CellRecord
from stitching.results.differences import Quantity, combine, mean, mean_gap

#: A class is represented alike if at least this share of its accuracy above the most frequent
#: class comes through the map.
KEPT = 0.5

#: The image comes through, so that lost classes are no lost images, above this recovered share.
IMAGE_KEPT = 0.5

#: Agreement of the probes on true and mapped latents, over that of two probes of one model.
_AGREEMENT = "probe/kappa_relative"

#: The encoder that holds the attributes and nothing else of an image.
_ORACLE = "labels"


class C4(Claim):
    """Which attributes are represented most alike."""

    id = "C4"
    about = "a grid of trained models with attribute probes"
    text = f"`{MALE}` and `{HEAVY_MAKEUP}` are the attributes that models represent most alike."
    rule = (
        f"`{_AGREEMENT}`: two probes of one model, fitted on disjoint halves; kappa of one on "
        "true and the other on mapped latents, over that of both on true latents, so that an "
        "attribute which no probe reads well does not count as represented differently. Its "
        "mean over ordered pairs of different trained models, over the attributes that have it, "
        "with an interval, in every pair: that of both must be above that of every other "
        "attribute. Of an attribute that hardly a test image has there is no interval; it is "
        f"left out and named. Facts give the same for the encoder `{_ORACLE}`, which holds the "
        "attributes alone: what it reaches, no model needs to share more than the labels for."
    )
    first = (MALE, HEAVY_MAKEUP)

    def applies(self, evidence: Evidence) -> bool:
        """Whether there are probes on mapped latents of a trained model."""
        keys = ("probe/kappa", _AGREEMENT)
        return any(cell.attributes(key) for cell in evidence.cells for key in keys)

    def answer(self, evidence: Evidence) -> Answer:
        """Judge both attributes against every other."""
        cells = [cell for cell in evidence.cells if cell.attributes(_AGREEMENT)]
        names = dict.fromkeys(name for cell in cells for name in cell.attributes(_AGREEMENT))
        known = [
            name
            for name in names
            if all(cell.number(f"{_AGREEMENT}/{name}") is not None for cell in cells)
        ]
        missing = [name for name in self.first if name not in known]
        undefined = [
            f"{'-to-'.join(cell.pair)} ({cell.values.get(f'{_AGREEMENT}_missing/{name}')})"
            for name in missing
            for cell in cells
            if name in cell.attributes(_AGREEMENT) and cell.number(f"{_AGREEMENT}/{name}") is None
        ]
        if undefined:
            reason = f"{_AGREEMENT} of {' and '.join(missing)} is undefined in {undefined[0]}"
            more = f", and {len(undefined) - 1} more pairs" if len(undefined) > 1 else ""
            return Answer(CANNOT_TELL, reason + more)
        if missing:
            raise NotRun(f"needs {_AGREEMENT} of {' and '.join(missing)} in every pair of models")
        rare = [name for name in known if name not in self.first and _rare(cells, name)]
        known = [name for name in known if name not in rare]
        others = [name for name in known if name not in self.first]
        if not others:
            raise NotRun("needs other attributes to compare with")
        parts = {name: _agreements(cells, name) for name in known}
        decisive = [
            Number(f"{name} - {other}", mean_gap(parts[name], parts[other]))
            for name in self.first
            for other in others
        ]
        ranking = [Number(name, mean(found)) for name, found in parts.items()]
        ranking.sort(key=lambda number: -(number.quantity.value or 0.0))
        facts = [Number(f"{place}. {x.name}", x.quantity) for place, x in enumerate(ranking, 1)]
        facts += self._oracle(evidence, known)
        facts += evidence.ceilings(*(f"{_AGREEMENT}/{name}" for name in self.first))
        left = [name for name in names if name not in (*known, *rare)]
        notes = [f"{_AGREEMENT}, mean over {len(cells)} pairs of models", *evidence.left_out()]
        notes += [f"left out, undefined in some pair: {', '.join(left)}"] if left else []
        notes += [f"left out, without an interval in some pair: {', '.join(rare)}"] if rare else []
        if not evidence.controls(_ORACLE):
            notes.append(
                f"what the labels alone reach is not known without encoder={_ORACLE}: "
                "experiment=controls has it"
            )
        one = [
            "-to-".join(cell.pair)
            for cell in cells
            if cell.values.get("map/flat") and f"flat/{_AGREEMENT}/{MALE}" not in cell.values
        ]
        notes += [f"not measured at the other penalty: {', '.join(one)}"] if one else []
        lacking = evidence.lacking([cell.pair for cell in cells])
        verdict = judge(decisive, Region(low=0))
        return Answer(*verdict, decisive, facts, notes, lacking=lacking)

    def _oracle(self, evidence: Evidence, names: Sequence[str]) -> list[Number]:
        """Return the agreement that the labels alone reach, mean over the decoders."""
        cells = [
            cell
            for encoder in evidence.controls(_ORACLE)
            for decoder in evidence.trained
            if (cell := evidence.cell(encoder, decoder))
        ]
        found = {name: mean(_agreements(cells, name)) for name in names}
        return [Number(f"{_ORACLE}: {k}", x) for k, x in found.items() if x.value is not None]


def _agreements(cells: Sequence[CellRecord], name: str) -> list[Quantity]:
    return [cell.quantity(f"{_AGREEMENT}/{name}") for cell in cells]


def _rare(cells: Sequence[CellRecord], name: str) -> bool:
    """Whether an attribute lacks an interval where those of the claim have one."""
    return any(
        cell.interval(f"{_AGREEMENT}/{name}") is None
        and all(cell.interval(f"{_AGREEMENT}/{wanted}") for wanted in C4.first)
        for cell in cells
    )


class C9(Claim):
    """Classes are represented differently."""

    id = "C9"
    about = "a grid of trained models on images whose classes are their content"
    text = "On data with several classes, models represent the classes differently."
    rule = (
        "Only where classes are the content of the images: `data.classes=folders`, one folder per "
        "class. Kinds of hair of drawn faces are no such classes. Kept share of a pair: (accuracy "
        "on mapped latents - most frequent class) / (accuracy on own latents - most frequent "
        "class). Its median over ordered pairs of different trained models must be below "
        f"{KEPT:g}, while the median recovered share of squared error of these pairs is above "
        f"{IMAGE_KEPT:g}: where a map loses the image too, it is no evidence on classes. Pairs "
        "whose own accuracy is not above the most frequent class have nothing to keep and are "
        "left out. Facts give the kept share of the map from `pixels`."
    )

    def applies(self, evidence: Evidence) -> bool:
        """Whether cells of two trained models have probes of classes that are the content."""
        return any(_classes_are_content(x) for x in evidence.cells)

    def commands(self, options: Sequence[str]) -> list[str]:
        """Return the command lines of a grid on a folder with one folder of images per class."""
        data = ["data=folder", "data.root=DIR"]
        train = command_line("train", "model=MODEL", *data, "out=ZOO")
        return [
            f"for model in vae vqvae nf dm; do {train.replace('MODEL', '$model')}; done",
            command_line("run", "experiment=grid", *data, "data.classes=folders", "zoo=ZOO"),
        ]

    def answer(self, evidence: Evidence) -> Answer:
        """Judge the median of the kept share."""
        all_cells = [x for x in evidence.cells if x.number("class/accuracy_mapped") is not None]
        empty = [cell for cell in all_cells if _is_guess(cell)]
        cells = [cell for cell in all_cells if cell not in empty]
        if not cells:
            raise NotRun("needs a decoder whose own latents predict classes better than guessing")
        kept = [_kept(cell) for cell in cells]
        images = [evidence.recovered(*x.pair, "image/rmse") for x in cells]
        decisive = [Number(f"median kept share of {len(kept)} pairs", median(kept))]
        facts = [Number("median recovered share of squared error", median(images))]
        pixels = [
            (name, found)
            for name in evidence.controls("pixels")
            for decoder in evidence.trained
            if (found := evidence.cell(name, decoder))
        ]
        facts += [Number(f"{x}-to-{cell.decoder}, kept share", _kept(cell)) for x, cell in pixels]
        facts += [
            Number(f"{'-to-'.join(cell.pair)}, kept share", share)
            for cell, share in zip(cells, kept, strict=True)
        ]
        notes = [f"classes: {', '.join(cells[0].attributes('class/accuracy_own'))}"]
        if empty:
            names = ", ".join("-to-".join(cell.pair) for cell in empty)
            notes.append(f"left out, own latents do not predict the classes: {names}")
        lacking = evidence.lacking([cell.pair for cell in all_cells])
        verdict = judge(decisive, Region(high=KEPT))
        keeps = judge(facts[:1], Region(low=IMAGE_KEPT))
        if verdict.verdict == SUPPORTED and keeps.verdict != SUPPORTED:
            reason = f"classes are lost, but so may be the images: {facts[0]}"
            if facts[0].quantity.value is None:
                reason += f" (needs `{FLOOR}` and the decoders themselves as encoders)"
            return Answer(CANNOT_TELL, reason, decisive, facts, notes, lacking=lacking)
        return Answer(*verdict, decisive, facts, notes, lacking=lacking)


def _classes_are_content(cell: CellRecord) -> bool:
    data = cell.config.get("data") or {}
    return data.get("classes") == "folders" and cell.number("class/accuracy_own") is not None


def _majority(cell: CellRecord) -> Quantity:
    # Of the labels alone: where it came without draws, it is a number like any other constant.
    found = cell.quantity("class/majority")
    return Quantity(found.value, exact=True) if found.draws is None else found


def _is_guess(cell: CellRecord) -> bool:
    gain = combine(lambda x: x[0] - x[1], [cell.quantity("class/accuracy_own"), _majority(cell)])
    ends = gain.interval()
    return ends is not None and ends[0] <= 0


def _kept(cell: CellRecord) -> Quantity:
    keys = ("class/accuracy_mapped", "class/accuracy_own")
    return combine(
        lambda x: ratio(x[0] - x[2], x[1] - x[2]),
        [*(cell.quantity(key) for key in keys), _majority(cell)],
    )
