r"""Tables for papers: `table.tex`, for `\input`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stitching.report import tables
from stitching.results import formats
from stitching.results.grid import Grid
from stitching.results.marks import BEST, BIAS, FLAT, TIE, legend
from stitching.results.measures import Measure

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

_HEAD = r"""% One table per measure. Needs \usepackage{booktabs}, and \usepackage[T1]{fontenc} for
% letters with accents. Written by `python -m stitching.report`: changes are lost.
"""


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
    blocks = [_table(grid, measure, name) for measure in chosen]
    notes = [*tables.not_measured(grid), *grid.notes]
    remarks = "".join(f"% {' '.join(note.split())}\n" for note in notes)
    return _HEAD + remarks + "\n" + "\n".join(blocks)


def _table(grid: Grid, measure: Measure, name: str) -> str:
    texts = tables.grid_texts(grid, measure)
    n = len(grid.decoders)
    rows = []
    of = dict(zip(grid.encoders, texts, strict=True))
    for k, (title, encoders) in enumerate(grid.groups):
        rows += [r"    \addlinespace"] if k else []
        if title:
            rows.append(rf"    \multicolumn{{{n + 1}}}{{l}}{{\emph{{{title}}}}} \\")
        rows += [
            f"    {line} \\\\" for encoder in encoders for line in _rows(encoder, of[encoder])
        ]
    signs = "".join(sign for row in texts for _, _, sign in row)
    label, shared = tables.label(grid, measure), tables.setting_of(grid)
    parts = [label, formats.direction(measure), shared, name]
    caption = ". ".join(f"{x[0].upper()}{escaped(x[1:])}" for x in parts if x)
    if f"{measure.key}.low" in grid.frame:
        caption += r". In brackets: 95\,\% intervals over resamples of the test images"
    notes = [*tables.caveats(grid, measure), *legend(signs)]
    below = "; ".join(
        escaped(note.replace(f"{BEST} ", "bold: ", 1) if note.startswith(BEST) else note)
        for note in notes
    )
    label = re.sub(r"[^A-Za-z0-9]+", "-", f"{measure.key} {name}").strip("-")
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
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


def _rows(encoder: str, row: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return a line of numbers, and one of their intervals, if there are any."""
    numbers = [_number(value, signs) for value, _, signs in row]
    lines = [" & ".join([escaped(encoder), *numbers])]
    if any(interval for _, interval, _ in row):
        small = [rf"{{\scriptsize {_minus(x)}}}" if x else "" for _, x, _ in row]
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
