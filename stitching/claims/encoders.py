"""Claims on which encoders stitch well: C2, C3."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from stitching.claims.base import NOT_SUPPORTED, Answer, Number, Region, judge
from stitching.claims.claim import Claim
from stitching.claims.evidence import FLOOR, IMAGE_MEASURES, Evidence, NotRun
from stitching.claims.limits import at_limit
from stitching.records.program import command_line
from stitching.results.cell import CellRecord
from stitching.results.differences import combine, mean, mean_gap
from stitching.results.measures import headline

#: Measures of latents that judge a map, whatever the protocol's other measures are.
_LATENT = ("latent/r2", "latent/nmse", "latent/mse", "latent/rmse")

#: Gains that a cell has over the leading components of the pixels, as many as it has latents.
_GAINS = {"image/rmse": "image/rmse_gain_pca", "image/lpips": "image/lpips_gain_pca"}


class C2(Claim):
    """Which encoders stitch well."""

    id = "C2"
    about = "a grid with nf or vqvae, and vae or dm, as encoders"
    text = "The encoders of `nf` and `vqvae` stitch better to other decoders than `vae` and `dm`."
    rule = (
        "Each of `nf` and `vqvae` against each of `vae` and `dm`: the mean difference of their "
        "recovered shares, (floor - pair) / (floor - own), in squared error and in LPIPS, over "
        "the columns in which both are foreign, must be above 0: (1) at one width, with the "
        "leading components of the wider latents (`encoder.width`), as a map from 12,288 latents "
        "has more to fit than one from 512; (2) extrapolated to any number of fit images, from a "
        "sweep over `data.n_train`. Without one of the two the answer is open."
    )
    better, worse = ("nf", "vqvae"), ("vae", "dm")

    def applies(self, evidence: Evidence) -> bool:
        """Whether models of these kinds are among those that encode."""
        encoders = [name for name in evidence.grid.encoders if name in evidence.trained]
        kinds = {evidence.grid.kinds[name] for name in encoders}
        return len(kinds & {*self.better, *self.worse}) > 1

    def commands(self, options: Sequence[str]) -> list[str]:
        """Return the command line of learning curves at both widths, of all that it compares."""
        rows, columns = "encoder=random,vae,nf,vqvae,dm", "decoder=vae,nf,vqvae,dm"
        return [command_line("run", "experiment=learning", rows, columns, *options)]

    def answer(self, evidence: Evidence) -> Answer:
        """Judge four contrasts in two measures, at one width and in the limit."""
        rows = {kind: evidence.of_family(kind) for kind in (*self.better, *self.worse)}
        plain = self._contrasts(evidence, rows, "")
        if not _known(plain):
            raise NotRun(
                f"needs `{FLOOR}` and the decoder itself as encoders, in the decoders' columns"
            )
        narrow, width = _at_one_width(evidence, rows)
        lacking, decisive = [], []
        if narrow:
            decisive += self._contrasts(evidence, narrow, f"{width:g} latents, ")
        else:
            lacking.append("the four encoders at one width (encoder.width=512)")
        limit = at_limit(evidence)
        if limit is not None:
            found = self._contrasts(limit, narrow or rows, "extrapolated, ")
            if not _known(found):  # curves of the whole latents alone
                found = self._contrasts(limit, rows, "extrapolated, ")
            decisive += found
        else:
            lacking.append("learning curves (a sweep over data.n_train)")
        notes = evidence.left_out()
        facts = plain if narrow else []
        facts = [*facts, *self._levels(evidence, rows)]
        verdict = judge(decisive or plain, Region(low=0))
        lacking += evidence.lacking(evidence.pairs())
        return Answer(*verdict, decisive or plain, facts, notes, lacking=lacking)

    def _contrasts(self, evidence: Evidence, rows: Mapping[str, str], how: str) -> list[Number]:
        found = []
        for better, worse in [(a, b) for a in self.better for b in self.worse]:
            columns = [
                decoder
                for decoder in evidence.trained
                if evidence.grid.kinds[decoder] not in (better, worse)
                and all(evidence.cell(rows[kind], decoder) for kind in (better, worse))
            ]
            if not columns:
                raise NotRun(f"needs a column in which both {better} and {worse} are foreign")
            for key, name in IMAGE_MEASURES.items():
                a, b = (
                    [evidence.recovered(rows[kind], d, key) for d in columns]
                    for kind in (better, worse)
                )
                label = f"{how}{rows[better]} - {rows[worse]} on {', '.join(columns)}, {name}"
                found.append(Number(label, mean_gap(a, b)))
        return found

    def _levels(self, evidence: Evidence, rows: Mapping[str, str]) -> list[Number]:
        return [
            Number(f"mean recovered share of {name} as encoder, {label}", mean(shares))
            for name in rows.values()
            for key, label in IMAGE_MEASURES.items()
            if (shares := [evidence.recovered(*x, key) for x in evidence.pairs() if x[0] == name])
        ]


def _known(numbers: Sequence[Number]) -> bool:
    return any(number.quantity.value is not None for number in numbers)


def _at_one_width(
    evidence: Evidence, rows: Mapping[str, str]
) -> tuple[dict[str, str], float | None]:
    """Return for each kind a row with equally wide latents, the widest there are, and the width.

    Returns:
        An empty dictionary and None where the rows have no width in common.
    """
    found = {
        kind: {
            model.recipe[1]: model.name
            for model in evidence.models.values()
            if model.name in evidence.grid.encoders
            and (model.name == name or (model.cut and model.same_weights(evidence.models[name])))
        }
        for kind, name in rows.items()
    }
    shared = set.intersection(*(set(x) for x in found.values())) - {None}
    if not shared:
        return {}, None
    width = max(x for x in shared if x is not None)
    return {kind: names[width] for kind, names in found.items()}, width


class C3(Claim):
    """Every trained encoder beats what needs no training."""

    id = "C3"
    about = "a grid of trained models"
    text = "Every trained encoder does better than encoders that nobody trained."
    rule = (
        "In every column, each foreign trained encoder against two controls: the leading "
        "components of the pixels, as many as it has latents (`image/*_gain_pca`; for measures of "
        "latents the row `pca`), and networks with random weights (rows `untrained`). By each "
        "measure of images and of latents that the protocol judges by, the gain must be above 0. "
        f"`{FLOOR}`, which does not depend on the image, is no control: any encoder that does "
        "can beat it."
    )

    def applies(self, evidence: Evidence) -> bool:
        """Whether a trained model encodes for another."""
        return bool(evidence.cells)

    def commands(self, options: Sequence[str]) -> list[str]:
        """Return the command line of the grid with all controls."""
        return [command_line("run", "experiment=controls", *options)]

    def answer(self, evidence: Evidence) -> Answer:
        """Judge every encoder in every column by every measure."""
        notes = evidence.left_out()
        decisive: list[Number] = []
        absent: dict[str, None] = {}
        for measure in headline(cell.values for cell in evidence.cells):
            if not (measure.key.startswith("image/") or measure.key in _LATENT):
                continue
            known = [cell for cell in evidence.cells if cell.number(measure.key) is not None]
            if not known:
                notes.append(f"not measured: {measure.key}")
                continue
            if not measure.good:
                notes.append(f"left out, its better end is not known: {measure.key}")
                continue
            sign = -1 if measure.lower_is_better else 1
            for cell, control in itertools.product(known, ("pca", "untrained")):
                found = list(_gains(evidence, cell, control, measure.key, sign))
                decisive += found
                if not found and evidence.controls(control):
                    absent[f"{control}-to-{cell.decoder}, {measure.key}"] = None
                elif not found:
                    absent[f"`{control}` as encoder"] = None
        if not decisive:
            raise NotRun("needs `pca` and `untrained` as encoders in the columns of the decoders")
        verdict = judge(decisive, Region(low=0))
        lacking = evidence.lacking(evidence.pairs())
        if verdict.verdict == NOT_SUPPORTED:  # further controls could only add to that
            notes += [f"not measured: {x}" for x in absent]
        else:
            lacking += absent
        return Answer(*verdict, decisive, (), notes, lacking=lacking)


def _gains(
    evidence: Evidence, cell: CellRecord, control: str, key: str, sign: int
) -> Iterator[Number]:
    """Yield the gains of a cell over a control, of several networks over each."""
    name = f"{'-to-'.join(cell.pair)} over"
    own = _GAINS.get(key, "")
    if control == "pca" and cell.number(own) is not None:
        yield Number(f"{name} as many components of pixels, {key}", cell.quantity(own))
        return
    rows = [
        row
        for encoder in evidence.controls(control)
        if (row := evidence.cell(encoder, cell.decoder)) and row.number(key) is not None
    ]
    if control == "pca":  # of several the one with the most similar width
        width = cell.number("d_source") or 0
        rows = sorted(rows, key=lambda row: abs((row.number("d_source") or 0) - width))[:1]
    for row in rows:
        gain = combine(lambda x: sign * (x[0] - x[1]), [cell.quantity(key), row.quantity(key)])
        yield Number(f"{name} {row.encoder}, {key}", gain)
