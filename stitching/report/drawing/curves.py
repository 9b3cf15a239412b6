"""Curves: the score of the penalty, and measures against rank or a swept setting."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from stitching.results.measures import MEASURES, Measure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABELS = {measure.key: measure.label for measure in MEASURES}
#: Colours that stay apart in every kind of colour vision (Okabe and Ito).
_FIRST, _SECOND, _CHOSEN = "#0072b2", "#d55e00", "#009e73"
COLOURS = (_FIRST, _SECOND, _CHOSEN, "#cc79a7", "#e69f00", "#56b4e9", "#000000")
#: Shapes that stay apart in print.
MARKERS = "osD^vP*"
_SCORES = {
    "cv_mse": "cross-validated squared error per element",
    "image_rmse": "RMSE of held-out fit images",
}


def penalty_curve(table: pd.DataFrame) -> bytes:
    """Draw the score of every penalty, its degrees of freedom, and the choice.

    Args:
        table: Columns `alpha`, `dof`, `cv_mse`, `chosen` and, where present, `flat` and
            `image_rmse`, as `Ridge.penalty_curve` has them.

    Returns:
        A PNG file, the same bytes for the same table.
    """
    from matplotlib.ticker import NullLocator

    key = "image_rmse" if "image_rmse" in table else "cv_mse"
    other_penalty = table[table["flat"] > 0] if "flat" in table else table[:0]

    def draw(axes: Axes) -> None:
        axes.set(xscale="log", xlabel="penalty alpha (squared source units)")
        # Powers in mathematical type take longer to set than all else to draw.
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.plot(table["alpha"], table[key], color=_FIRST)
        axes.set_ylabel(_SCORES[key], color=_FIRST)
        # Without a penalty the error can be many times that of the mean: show the lower part.
        low, high = table[key].min(), table[key].iloc[-1]
        if table[key].max() > low + 3 * (high - low) > low:
            axes.set_ylim(low - 0.1 * (high - low), low + 2 * (high - low))
        picked = table[table["chosen"] > 0]
        sizes = 20 + 60 * picked["chosen"] / picked["chosen"].max()
        x, y = picked["alpha"], picked[key]
        axes.scatter(x, y, s=sizes, color=_CHOSEN, zorder=3)
        x, y = other_penalty["alpha"], other_penalty[key]
        axes.scatter(x, y, s=80, facecolors="none", edgecolors=_CHOSEN, linewidths=2, zorder=3)
        other = axes.twinx()
        other.plot(table["alpha"], table["dof"], color=_SECOND, linestyle="--")
        other.set_ylabel("degrees of freedom", color=_SECOND)

    ring = ", ring: a tie" if len(other_penalty) else ""
    return _figure(f"Choice of the ridge penalty (dot: chosen{ring})", draw)


def rank_curve(table: pd.DataFrame) -> bytes:
    """Draw latent R2 against the rank of the map, and image measures where they were taken.

    Args:
        table: Columns `rank`, `latent/r2` and any `image/...`; empty where not measured.

    Returns:
        A PNG file, the same bytes for the same table.
    """
    shown = next((k for k in ("image/lpips", "image/rmse") if k in table), None)

    def draw(axes: Axes) -> None:
        ranked = table[table["rank"] > 0]
        axes.set(xscale="log", xlabel="rank of the map")
        axes.plot(ranked["rank"], ranked["latent/r2"], color=_FIRST)
        axes.set_ylabel(_LABELS["latent/r2"], color=_FIRST)
        if shown is None:
            return
        measured = ranked.dropna(subset=[shown])
        other = axes.twinx()
        other.plot(measured["rank"], measured[shown], "o--", color=_SECOND, markersize=4)
        other.set_ylabel(_LABELS[shown], color=_SECOND)

    return _figure("Measures against the rank of the map", draw)


def setting_curve(frame: pd.DataFrame, setting: str, measure: Measure) -> bytes:
    """Draw a measure against a setting: a panel for each decoder, a line for each encoder.

    Args:
        frame: Columns `encoder`, `decoder`, the setting and the measure's key.
        setting: Name of a numeric column.
        measure: Measure to draw.

    Returns:
        A PNG file, the same bytes for the same table.
    """
    decoders, encoders = (list(dict.fromkeys(frame[role])) for role in ("decoder", "encoder"))
    values = frame[setting]
    spread = values.min() > 0 and values.max() >= 10 * values.min()

    def draw(axes: Axes, decoder: str) -> None:
        if spread:
            axes.set_xscale("log")
        for place, encoder in enumerate(encoders):
            chosen = (frame["encoder"] == encoder) & (frame["decoder"] == decoder)
            part = frame[chosen].sort_values(setting)
            (line,) = axes.plot(part[setting], part[measure.key], label=encoder, markersize=4)
            line.set(color=COLOURS[place % 7], marker=MARKERS[place % 7])
        axes.set(title=f"to {decoder}", xlabel=setting)

    return _panels(measure.label, [partial(draw, decoder=decoder) for decoder in decoders])


def _panels(title: str, draws: Sequence[Callable[[Axes], None]]) -> bytes:
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context("default"):
        size = (1.2 + 2.6 * len(draws), 3.4)
        figure = Figure(figsize=size, dpi=160, layout="constrained")
        panels = figure.subplots(1, len(draws), sharey=True, squeeze=False)[0]
        for axes, draw in zip(panels, draws, strict=True):
            draw(axes)
            rule(axes)
        panels[-1].legend(frameon=False, fontsize=8, title="encoder", title_fontsize=8)
        figure.suptitle(title, size=12, x=0.01, ha="left")
        return png(figure)


def rule(axes: Axes) -> None:
    """Draw thin lines behind the curves."""
    axes.grid(color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file, the same bytes for the same figure."""
    buffer = io.BytesIO()
    # At level 3 packing takes half the time, and the file is a tenth larger.
    options = {"compress_level": 3}
    figure.savefig(buffer, format="png", metadata={"Software": None}, pil_kwargs=options)
    return buffer.getvalue()


def _figure(title: str, draw: Callable[[Axes], None]) -> bytes:
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context("default"):
        figure = Figure(figsize=(6.4, 4.0), dpi=160)
        # Fixed, because to find margins takes as long as to draw, and every cell has a curve.
        axes = figure.add_axes((0.13, 0.13, 0.74, 0.77))
        draw(axes)
        rule(axes)
        # Given places save finding them from the sizes of all texts around them.
        axes.set_title(title, size=12, loc="left", y=1.02)
        axes.xaxis.set_label_coords(0.5, -0.1)
        for place, side in zip((-0.11, 1.12), figure.axes, strict=False):
            side.yaxis.set_label_coords(place, 0.5)
        return png(figure)
