"""Learning curves: measures of each pair of models against the number of fit images."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stitching.results.cell import BASELINES, CellRecord
from stitching.results.differences import Quantity
from stitching.results.extrapolation import EXPONENTS, FLAGS, Extrapolation, extrapolate
from stitching.results.formats import markdown_table, with_interval
from stitching.results.grid import Pair
from stitching.results.measures import measure_of
from stitching.results.reading import listed

#: The setting that a learning curve is over, as on the command line.
SETTING = "data.n_train"

#: Measures that are extrapolated, and the lowest and highest value that each can have.
EXTRAPOLATED = {
    "latent/r2": (-math.inf, 1.0),
    "latent/r2_beyond_pixels": (-math.inf, 1.0),
    "image/rmse": (0.0, math.inf),
    "image/lpips": (0.0, math.inf),
}

#: Signs of `FLAGS` in tables.
SIGNS = {"far": "↗", "open": "?", "bound": "⊣"}

_COLUMNS = ("measure", "encoder", "decoder", "n_train", "value", "low", "high", "exponent",
            "exponent_low", "exponent_high", "flags", "reason")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Curve:
    """One measure of one pair of models against the number of fit images.

    Attributes:
        encoder: Name of the model that encodes.
        decoder: Name of the model that decodes.
        key: Of the measure.
        control: Whether the encoder is a control and no trained generative model.
        sizes: Numbers of fit images, ascending.
        values: The measure at each.
        end: The extrapolation to infinitely many.
    """

    encoder: str
    decoder: str
    key: str
    control: bool
    sizes: tuple[int, ...]
    values: tuple[Quantity, ...]
    end: Extrapolation

    @property
    def pair(self) -> Pair:
        """Encoder and decoder."""
        return self.encoder, self.decoder


def learning_curves(
    cells: Iterable[CellRecord], keys: Sequence[str] = tuple(EXTRAPOLATED)
) -> list[Curve]:
    """Return the curves of the finished cells that differ in `data.n_train` and in models alone.

    Args:
        cells: Of one data set, protocol and seed. Left out are cells that have not finished, and
            those of one set of weights in both roles, under whatever options.
        keys: Measures. One that a pair lacks everywhere has no curve; sizes that lack it are
            left out of it. Measures that are not among `EXTRAPOLATED` have no bounds.

    Returns:
        Curves by measure, then in the order of the cells.
    """
    pairs: dict[Pair, dict[int, CellRecord]] = {}
    for cell in cells:
        own = cell.diagonal or cell.same_weights
        if cell.state == "done" and not own and (n := cell.number("n_train")):
            pairs.setdefault(cell.pair, {}).setdefault(int(n), cell)
    return [
        curve
        for key in keys
        for found in pairs.values()
        if (curve := _curve(key, dict(sorted(found.items())))) is not None
    ]


def _curve(key: str, cells: dict[int, CellRecord]) -> Curve | None:
    values = {n: cell.quantity(key) for n, cell in cells.items()}
    known = {n: value for n, value in values.items() if value.value is not None}
    if not known:
        return None
    first = next(iter(cells.values()))
    low, high = EXTRAPOLATED.get(key, (-math.inf, math.inf))
    sizes, measured = tuple(known), tuple(known.values())
    name = f"{first.encoder}-to-{first.decoder} {key}"
    end = extrapolate(sizes, measured, name, low=low, high=high)
    control = first.kinds[0] in BASELINES
    return Curve(first.encoder, first.decoder, key, control, sizes, measured, end)


def as_csv(curves: Sequence[Curve]) -> str:
    """Return curves with a row per size, and one with `n_train` "inf" per extrapolation."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for curve in curves:
        start = [curve.key, *curve.pair]
        for n, value in zip(curve.sizes, curve.values, strict=True):
            writer.writerow([*start, n, *_numbers(value), *[""] * 5])
        end = curve.end
        fitted = [end.exponent or "", *(end.exponents or ("", ""))]
        flags = " ".join(end.flags)
        writer.writerow([*start, "inf", *_numbers(end.limit), *fitted, flags, end.reason])
    return buffer.getvalue()


def _numbers(quantity: Quantity) -> list[float | str]:
    """Return value, low and high; "" for what is not there."""
    value = "" if quantity.value is None else quantity.value
    return [value, *(quantity.interval() or ("", ""))]


def markdown(curves: Sequence[Curve], setting: str = "") -> str:
    """Return curves and their limits as tables, one per measure; controls are in italics.

    Args:
        curves: As from `learning_curves`.
        setting: What all cells share, in one line.
    """
    lines = ["# Learning curves", ""]
    lines += [f"{setting}.", ""] if setting else []
    lines.append(
        "In brackets: 95 % intervals. N → ∞ is y of the power law value = y + c N^-p, with p "
        f"between {EXPONENTS[0]:g} and {EXPONENTS[1]:g}; its interval varies test images, p and "
        "the distance of sizes from the law. Controls are in italics."
    )
    for key in dict.fromkeys(curve.key for curve in curves):
        part = ordered([curve for curve in curves if curve.key == key])
        sizes = sorted({n for curve in part for n in curve.sizes})
        head = ["to", "from", *(f"{n:,}" for n in sizes), "N → ∞", "p", ""]
        lines += ["", f"## {measure_of(key).label}", "", f"`{key}`", ""]
        lines += markdown_table(head, [_row(curve, sizes) for curve in part], left=2)
        lines += _notes(part)
    return "\n".join(lines) + "\n"


def ordered(curves: Sequence[Curve]) -> list[Curve]:
    """Return curves by decoder in order of appearance, within each controls first."""
    places = {name: place for place, name in enumerate(dict.fromkeys(x.decoder for x in curves))}
    return sorted(curves, key=lambda curve: (places[curve.decoder], not curve.control))


def _row(curve: Curve, sizes: Sequence[int]) -> list[str]:
    measure, known = measure_of(curve.key), dict(zip(curve.sizes, curve.values, strict=True))
    name = f"*{curve.encoder}*" if curve.control else curve.encoder
    row = [curve.decoder, name]
    for value in [*(known.get(n) for n in sizes), curve.end.limit]:
        if value is None or value.value is None:
            row.append("")
        else:
            row.append(" ".join(with_interval(value.value, value.interval(), measure)).rstrip())
    return [*row, exponent_text(curve.end), "".join(SIGNS[flag] for flag in curve.end.flags)]


def exponent_text(end: Extrapolation) -> str:
    """Return the exponent with its interval, such as "0.52 [0.40, 0.71]"; "" without a limit."""
    if end.exponent is None or end.exponents is None:
        return ""
    return f"{end.exponent:.2f} [{end.exponents[0]:.2f}, {end.exponents[1]:.2f}]"


def _notes(curves: Sequence[Curve]) -> list[str]:
    """Return the meaning of each sign, and each reason for a missing limit, as a list."""
    flags = {flag for curve in curves for flag in curve.end.flags}
    found = [f"- {SIGNS[flag]} : {text}" for flag, text in FLAGS.items() if flag in flags]
    reasons: dict[str, list[str]] = {}
    for curve in curves:
        if curve.end.reason:
            reasons.setdefault(curve.end.reason, []).append("-to-".join(curve.pair))
    found += [f"- {listed(names)}: {reason}." for reason, names in reasons.items()]
    return ["", *found] if found else []
