r"""Tables for papers: `table.tex` and, of all other measures, `tables.tex`, for `\input`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stitching.report import tables
from stitching.results import formats
from stitching.results.grid import Grid
from stitching.results.marks import BEST, BIAS, FLAT, TIE, legend
from stitching.results.measures import Measure, main_measures

_CHARACTERS = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    # After a line break LaTeX takes these for its options.
    "[": "{[}", "*": "{*}",
    TIE: r"\ensuremath{\approx}", BIAS: r"\textdagger{}", FLAT: r"\S{}",
    "²": r"\textsuperscript{2}", "≤": r"\ensuremath{\leq}", "\n": " ",
})  # fmt: skip

# Of a number, not of a power of ten.
_MINUS = re.compile(r"(^|[ \[])-(?=\d)")

#: Decoders up to which an interval stands beside its number, not below it.
_INLINE = 5

_HEAD = r"""% Needs \usepackage{booktabs}, and \usepackage[T1]{fontenc} for
% letters with accents. Written by `python -m stitching.report`: changes are lost.
"""


def main_latex(grid: Grid, name: str = "") -> str:
    r"""Return the main measures as one LaTeX `table`, one below the other, controls apart.

    Its label is `tab:stitching`. A number is followed by its 95 % interval, or stands above it
    where there are many decoders.

    Args:
        grid: Cells.
        name: Name of one grid among several of a sweep, for caption and label.

    Raises:
        ValueError: Cells of one encoder and decoder differ in their results.
    """
    grid.require_unique()
    measures = main_measures(grid.measured)
    n, rows, notes = len(grid.decoders), [], []
    for k, measure in enumerate(measures):
        title = rf"\textbf{{{escaped(tables.label(grid, measure))}}}"
        title += f", {escaped(formats.direction(measure))}"
        rows += [r"    \midrule"] if k else []
        rows.append(rf"    \multicolumn{{{n + 1}}}{{l}}{{{title}}} \\")
        rows += _body(grid, measure, inline=n <= _INLINE)
        found = tables.caveats(grid, measure)
        notes += [f"{measure.label}: {'; '.join(found)}"] if found else []
    notes += legend("".join(tables.signs_of(grid, measure) for measure in measures))
    caption = _caption(grid, measures, ["Encoders are rows, decoders columns"], name)
    remarks = [*tables.not_measured(grid), *grid.notes]
    comments = "".join(f"% {' '.join(note.split())}\n" for note in remarks)
    # Five measures of a dozen encoders fill a page.
    table = _float(grid, caption, f"stitching {name}", rows, notes, small=True)
    return f"{_HEAD}{comments}\n{table}"


def latex(grid: Grid, name: str = "", measures: Sequence[Measure] | None = None) -> str:
    r"""Return measures as LaTeX, a `table` each, with caption and label.

    A number stands above its 95 % interval; the best of a column is bold, where resamples resolve
    it. Labels are `tab:MEASURE`, such as `tab:latent-r2`.

    Args:
        grid: Cells.
        name: Name of one grid among several of a sweep, for captions and labels.
        measures: Measures to show; all if None.

    Raises:
        ValueError: Cells of one encoder and decoder differ in their results.
    """
    grid.require_unique()
    chosen = grid.measured if measures is None else measures
    return _HEAD + "\n" + "\n".join(_table(grid, measure, name) for measure in chosen)


def _table(grid: Grid, measure: Measure, name: str) -> str:
    facts = [tables.label(grid, measure), formats.direction(measure)]
    notes = [*tables.caveats(grid, measure), *legend(tables.signs_of(grid, measure))]
    caption = _caption(grid, [measure], facts, name)
    rows = _body(grid, measure)
    return _float(grid, caption, f"{measure.key} {name}", rows, notes, small=False)


def _caption(grid: Grid, measures: Sequence[Measure], first: Sequence[str], name: str) -> str:
    sentences = [*first, tables.setting_of(grid), name]
    caption = ". ".join(f"{x[0].upper()}{escaped(x[1:])}" for x in sentences if x)
    if any(f"{measure.key}/low" in grid.frame for measure in measures):
        caption += r". In brackets: 95\,\% intervals over resamples of the test images"
    return caption


def _body(grid: Grid, measure: Measure, *, inline: bool = False) -> list[str]:
    """Return the rows of a measure, controls and models below their titles."""
    of = dict(zip(grid.encoders, tables.grid_texts(grid, measure), strict=True))
    rows = []
    for k, (title, encoders) in enumerate(grid.groups):
        rows += [r"    \addlinespace"] if k else []
        if title:
            width = len(grid.decoders) + 1
            rows.append(rf"    \multicolumn{{{width}}}{{l}}{{\emph{{{title}}}}} \\")
        rows += [
            f"    {line} \\\\"
            for encoder in encoders
            for line in _rows(encoder, of[encoder], inline=inline)
        ]
    return rows


def _float(
    grid: Grid, caption: str, name: str, rows: Sequence[str], notes: Sequence[str], *, small: bool
) -> str:
    """Return a `table` of rows with a column per decoder."""
    n = len(grid.decoders)
    below = "; ".join(
        escaped(note.replace(f"{BEST} ", "bold: ", 1) if note.startswith(BEST) else note)
        for note in notes
    )
    label = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering" + r"\footnotesize" * small,
            rf"  \caption{{{caption}.}}",
            rf"  \label{{tab:{label}}}",
            rf"  \begin{{tabular}}{{l{'r' * n}}}",
            r"    \toprule",
            rf"    & \multicolumn{{{n}}}{{c}}{{decoder}} \\",
            rf"    \cmidrule(l){{2-{n + 1}}}",
            f"    encoder & {' & '.join(map(escaped, grid.decoders))} \\\\",
            r"    \midrule",
            *rows,
            r"    \bottomrule",
            r"  \end{tabular}",
            *([rf"  \par\smallskip{{\footnotesize {below}.\par}}"] if below else []),
            "\\end{table}\n",
        ]
    )


def _rows(encoder: str, row: Sequence[tuple[str, str, str]], *, inline: bool) -> list[str]:
    """Return a line of numbers, with their intervals or above a line of these."""
    numbers = [_number(value, signs) for value, _, signs in row]
    small = [rf"{{\scriptsize {_minus(x)}}}" if x else "" for _, x, _ in row]
    if inline:
        both = [
            f"{number} {interval}".rstrip()
            for number, interval in zip(numbers, small, strict=True)
        ]
        return [" & ".join([escaped(encoder), *both])]
    lines = [" & ".join([escaped(encoder), *numbers])]
    if any(small):
        lines.append(" & ".join(["", *small]).lstrip())
    return lines


def _number(value: str, signs: str) -> str:
    text = _minus(value)
    if BEST in signs:
        text = rf"\textbf{{{text}}}"
    others = escaped(signs.replace(BEST, ""))
    return rf"{text}\textsuperscript{{{others}}}" if others else text


def _minus(text: str) -> str:
    if "-" not in text:
        return text if text[:1].isdigit() or text[:1] == "[" else escaped(text)
    return _MINUS.sub(r"\1$-$", escaped(text).replace("{[}", "["))


def escaped(text: str) -> str:
    """Return a text with LaTeX's special characters escaped."""
    return text.translate(_CHARACTERS)
