"""Tables of protocols and maps side by side: `protocols.md`, `.csv` and the console's summary."""

from __future__ import annotations

from collections.abc import Iterator

from stitching.report.tables import caveats, cell_texts
from stitching.results.cell import difference
from stitching.results.differences import Difference
from stitching.results.formats import aligned, direction, markdown_table, setting, with_interval
from stitching.results.grid import Pair
from stitching.results.measures import Measure, headline
from stitching.results.protocols import Comparison, Effect
from stitching.results.variants import Variant

_COLUMNS = (
    "measure", "protocol", "seeds", "encoder", "decoder", "value", "low", "high",
    "difference", "difference_low", "difference_high", "paired",
)  # fmt: skip


def markdown(compared: Comparison) -> str:
    """Return the effects of protocols, and every cell under every protocol."""
    usual = compared.protocols[0]
    names = _titles(compared)
    maps = bool(compared.reference_map)
    lines = [f"# {'Maps' if maps else 'Protocols'} side by side", ""]
    lines += [f"- {setting(grid.frame)}" for grid in compared.grids.values()]
    lines += ["", "Brackets hold 95 % intervals."]
    if maps:
        lines += [
            f"A difference is the map minus {names[0]}, on the same resamples of the test images. "
            "Bold: its interval leaves out 0."
        ]
    elif any(label.startswith(f"{usual}, ") for label in compared.protocols):
        lines += [f"A column named by a switch is {usual} with this switch alone set otherwise."]
    if compared.seeded:
        lines += [
            "Where a protocol was run with several seeds a number is the mean over seeds, and "
            "brackets hold the lowest and the highest; each seed's own tables lie in `report/`."
        ]
    if len(names) > 1:
        lines += _effects(compared, names)
    for measure in compared.measures:
        labels = compared.protocols
        rows = [
            [*pair, *(entry(compared, label, pair, measure) for label in labels)]
            + [_moved_in(compared, label, pair, measure) for label in labels[1:] if maps]
            for pair in compared.pairs
        ]
        lines += ["", f"## {measure.label}", ""]
        if all(text == "missing" for row in rows for text in row[2:]):
            lines += [f"`{measure.key}`: in no cell."]
            continue
        lines += [f"`{measure.key}`: {direction(measure)}.", *_notes(compared, measure)]
        head = [*names, *(f"{name}: difference" for name in names[1:] if maps)]
        lines += ["", *markdown_table(["encoder", "decoder", *head], rows, left=2)]
    return "\n".join(lines) + "\n"


def entry(compared: Comparison, protocol: str, pair: Pair, measure: Measure) -> str:
    """Return a measure of a pair under a protocol, with its interval or the range over seeds."""
    grids = compared.of_protocol(protocol)
    cells = [grid.cells[pair] for grid in grids if pair in grid.cells]
    if not cells:
        return next((grid.absent[pair] for grid in grids if pair in grid.absent), "missing")
    values = [x for x in (cell.number(measure.key) for cell in cells) if x is not None]
    if len(grids) == 1 or not values:
        return " ".join(cell_texts(cells[0], measure)).strip()
    texts = with_interval(sum(values) / len(values), (min(values), max(values)), measure)
    text = " ".join(texts)
    return text if len(values) == len(grids) else f"{text} ({len(values)} of {len(grids)} seeds)"


def _moved_in(compared: Comparison, label: str, pair: Pair, measure: Measure) -> str:
    """Return the difference of a pair's measure to the first label, for one seed each."""
    cells = [
        grid.cells.get(pair)
        for of in (label, compared.protocols[0])
        for grid in compared.of_protocol(of)[:1]
    ]
    if compared.seeded or len(cells) < 2 or cells[0] is None or cells[1] is None:
        return ""
    if cells[0].diagonal:
        return ""
    return _difference(difference(cells[0], cells[1], measure.key), measure)


def _titles(compared: Comparison) -> list[str]:
    """Return the titles of the columns of protocols or maps."""
    names = [_short(label, compared.protocols[0]) for label in compared.protocols]
    return [f"map={compared.reference_map}", *names[1:]] if compared.reference_map else names


def _notes(compared: Comparison, measure: Measure) -> list[str]:
    """Return the protocols with this headline measure, and its caveats by protocol."""
    usual = compared.protocols[0]
    found: dict[str, list[str]] = {}
    judging = []
    for variant, grid in compared.grids.items():
        if measure in headline(cell.values for cell in grid.cells.values()):
            judging.append(_short(variant.protocol, usual))
        for note in caveats(grid, measure):
            found.setdefault(note, []).append(_short(variant.label, usual))
    lines = [f"Headline measure of: {'; '.join(dict.fromkeys(judging))}."] if judging else []
    for note, labels in found.items():
        where = "" if len(labels) == len(compared.grids) else f" ({'; '.join(labels)})"
        lines.append(f"{note[0].upper()}{note[1:]}{where}.")
    return lines


def _effects(compared: Comparison, names: list[str]) -> list[str]:
    what = "another map" if compared.reference_map else "each switch alone"
    lines = ["", f"## What {what} moves", ""]
    lines += [
        f"Mean over cells of two different models of the difference to {names[0]}, cell by cell; "
        "percentages differ by points. Bold: the interval leaves out 0. Both sides rest on the "
        "same resamples of the test images; those with (i) do not, and count as independent."
    ]
    rows = []
    for (measure, encoders), found in _by_row(compared).items():
        counts = sorted({effect.n_cells for effect in found.values()})
        row = [measure.key, encoders, " or ".join(map(str, counts)), _level(found)]
        row += [_moved(found.get(label)) for label in compared.protocols[1:]]
        rows.append(row)
    lines += ["", *markdown_table(["measure", "encoders", "cells", *names], rows, left=2)]
    apart = [f"`{measure.key}`" for measure in compared.measures if measure.by_column]
    if apart:
        lines += ["", f"No mean of {', '.join(apart)}: its unit changes with the decoder."]
    return lines


def _by_row(compared: Comparison) -> dict[tuple[Measure, str], dict[str, Effect]]:
    rows: dict[tuple[Measure, str], dict[str, Effect]] = {}
    for effect in compared.effects():
        rows.setdefault((effect.measure, effect.encoders), {})[effect.protocol] = effect
    return rows


def _level(found: dict[str, Effect]) -> str:
    """Return the mean under the first protocol."""
    effect = next(iter(found.values()))
    value = effect.reference.value
    if value is None:
        return "missing"
    return with_interval(value, effect.reference.interval(), effect.measure)[0]


def _moved(effect: Effect | None, *, brief: bool = False) -> str:
    """Return the difference to the first protocol."""
    found = effect.difference if effect else None
    if effect is None or found is None or found.value is None:
        return "missing " if brief else "missing"
    return _difference(found, effect.measure, brief=brief)


def _difference(found: Difference, measure: Measure, *, brief: bool = False) -> str:
    """Return a difference with its sign and interval, bold where it is resolved."""
    if found.value is None:
        return "missing"
    text, interval = with_interval(found.value, found.ends, measure)
    text = text if text.startswith("-") or float(text) == 0 else f"+{text}"
    if brief:
        return text + ("*" if found.resolved else " ")
    text = f"{text} {interval}".strip()
    text = f"**{text}**" if found.resolved else text
    return text if found.paired or found.ends is None else f"{text} (i)"


def summary(compared: Comparison) -> str:
    """Return the effects of protocols as a compact table."""
    others = compared.protocols[1:]
    if not others:
        return ""
    titles = _titles(compared)
    rows = [["", "", *(f"{title} " for title in titles)]]
    for (measure, encoders), found in _by_row(compared).items():
        effects = [_moved(found.get(label), brief=True) for label in others]
        rows.append([measure.key, encoders, f"{_level(found)} ", *effects])
    title = f"Means over cells of two models, and differences to {titles[0]}"
    return "\n".join([f"{title} (*: 95 % interval leaves out 0):", *aligned(rows, left=2)])


def raw(compared: Comparison) -> str:
    """Return every headline measure as CSV, one row per cell, protocol and seed, unrounded.

    `difference` is to the same cell and seeds under the first protocol. Rows with the encoder
    "mean of ..." are means over cells of two different models, and over seeds.
    """
    import pandas as pd

    rows = [*_cell_rows(compared)]
    for effect in compared.effects():
        rows.append(
            [effect.measure.key, effect.protocol, "all", f"mean of {effect.encoders}",
             "off-diagonal", None, None, None, *effect.difference]
        )  # fmt: skip
    return pd.DataFrame(rows, columns=list(_COLUMNS)).to_csv(index=False, lineterminator="\n")


def _cell_rows(compared: Comparison) -> Iterator[list[object]]:
    for measure in compared.measures:
        for variant, grid in compared.grids.items():
            usual = compared.grids.get(Variant(compared.protocols[0], variant.seeds))
            seeds = " ".join(f"{key}={value}" for key, value in variant.seeds)
            for pair, cell in grid.cells.items():
                value, ends = cell.number(measure.key), cell.interval(measure.key)
                row: list[object] = [measure.key, variant.protocol, seeds, *pair]
                row += [cell_texts(cell, measure)[0] if value is None else value]
                row += ends or (None, None)
                other = usual.cells.get(pair) if usual not in (None, grid) else None
                row += difference(cell, other, measure.key) if other else [None] * 4
                yield row


def _short(label: str, usual: str) -> str:
    """Return a label without the prefix of the reference: the switch alone."""
    return label.removeprefix(f"{usual}, ") or "unnamed"
