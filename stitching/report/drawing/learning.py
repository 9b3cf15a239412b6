"""Learning curves: measures against the number of fit images, and their limits at the right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stitching.report.drawing.curves import COLOURS, MARKERS, png, rule
from stitching.results.grid import Pair
from stitching.results.learning import Curve
from stitching.results.measures import measure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Lines of one model with other options, such as `vae` and `vae[width=512]`; controls start with
#: a dashed one.
_LINES, _DASHED = ("-", ":", "-."), ("--", ":", "-.")

_CONTROL = "#808080"


def learning_curves(curves: Sequence[Curve], own: Mapping[Pair, float] | None = None) -> bytes:
    """Draw curves: a row of panels for each measure, a column for each decoder.

    Trained encoders have colours, one for all options of a model; controls are grey and dashed.
    At the right end stands the limit with its interval, hollow where the sizes do not determine
    it well. Intervals that would hide the curves are cut at the frame.

    Args:
        curves: At least one.
        own: The decoder's own reconstruction by (measure, decoder), drawn as a thin line.

    Returns:
        A PNG file, the same bytes for the same curves.
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    keys = [*dict.fromkeys(curve.key for curve in curves)]
    decoders = [*dict.fromkeys(curve.decoder for curve in curves)]
    looks = _looks(curves)
    sizes = sorted({n for curve in curves for n in curve.sizes})
    with style.context(["default", {"text.parse_math": False}]):
        figure = Figure(
            figsize=(2.2 + 2.7 * len(decoders), 0.5 + 2.5 * len(keys)), dpi=160,
            layout="constrained",
        )  # fmt: skip
        panels = figure.subplots(len(keys), len(decoders), sharey="row", squeeze=False)
        for row, key in zip(panels, keys, strict=True):
            part = [curve for curve in curves if curve.key == key]
            for axes, decoder in zip(row, decoders, strict=True):
                _panel(axes, [x for x in part if x.decoder == decoder], sizes, looks)
                if (level := (own or {}).get((key, decoder))) is not None:
                    axes.axhline(level, color="#1a1a1a", linewidth=0.6)
                axes.set_title(f"to {decoder}" if key == keys[0] else "", size=10)
                axes.set_xlabel("fit images" if key == keys[-1] else "")
            # A label on one line may be longer than its panel is high.
            row[0].set_ylabel(measure_of(key).label.replace(" (", "\n("), size=8)
            row[0].set_ylim(_window(part, [(own or {}).get((key, name)) for name in decoders]))
        handles = {
            name: line
            for row in panels
            for axes in row
            for line, name in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        names = [name for name in looks if name in handles]
        figure.legend(
            [handles[name] for name in names], names, loc="outside right upper", frameon=False,
            fontsize=8, title="encoder", title_fontsize=8,
        )  # fmt: skip
        return png(figure)


def _looks(curves: Sequence[Curve]) -> dict[str, dict[str, Any]]:
    """Return colour, line and marker of each encoder, trained models first."""
    names = dict.fromkeys((x.control, x.encoder) for x in curves)
    models: dict[str, int] = {}
    found: dict[str, dict[str, Any]] = {}
    for control, name in sorted(names, key=lambda x: x[0]):
        model = name.partition("[")[0]
        place = models.setdefault(model, len(models))
        others = sum(other.partition("[")[0] == model for other in found)
        look: dict[str, Any] = {"marker": MARKERS[place % len(MARKERS)]}
        lines = _DASHED if control else _LINES
        colour = _CONTROL if control else COLOURS[place % len(COLOURS)]
        look |= {"color": colour, "linestyle": lines[others % len(lines)]}
        found[name] = look
    return found


def _panel(
    axes: Axes, curves: Sequence[Curve], sizes: Sequence[int], looks: Mapping[str, dict[str, Any]]
) -> None:
    axes.set_xscale("log")
    # As far from the largest size as two sizes are from each other, on average.
    step = (sizes[-1] / sizes[0]) ** (1 / max(1, len(sizes) - 1))
    edge = sizes[-1] * max(step, 1.3)
    for place, curve in enumerate(curves):
        look = looks[curve.encoder]
        y = [value.value or 0.0 for value in curve.values]  # a curve has no undefined ones
        axes.plot(curve.sizes, y, label=curve.encoder, linewidth=1.2, markersize=3.5, **look)
        ends = [value.interval() for value in curve.values]
        known = [(n, *pair) for n, pair in zip(curve.sizes, ends, strict=True) if pair]
        if known:
            n, low, high = zip(*known, strict=True)
            axes.fill_between(n, low, high, color=look["color"], alpha=0.12, linewidth=0)
        limit = curve.end.limit
        if limit.value is None:
            continue
        # Side by side, so that intervals do not lie on each other.
        at = edge * step ** (0.5 * (place + 0.5) / len(curves) - 0.25)
        if (pair := limit.interval()) is not None:
            axes.plot([at, at], pair, color=look["color"], linewidth=1)
        sure = not {"open", "far"} & {*curve.end.flags}
        face = look["color"] if sure else "white"
        axes.plot(
            [at], [limit.value], look["marker"], color=look["color"], markersize=4,
            markerfacecolor=face,
        )  # fmt: skip
        way = [y[-1], limit.value]
        axes.plot([curve.sizes[-1], at], way, color=look["color"], linewidth=0.5, alpha=0.5)
    ticks = [*sizes, edge]
    axes.set_xticks(ticks, [*(f"{n:g}" for n in sizes), "∞"], size=7)
    axes.set_xticks([], minor=True)
    axes.tick_params(axis="y", labelsize=7)
    axes.axvline(sizes[-1] * step**0.5, color="#bdbdbd", linewidth=0.6, linestyle=":")
    rule(axes)


def _window(curves: Sequence[Curve], own: Sequence[float | None]) -> tuple[float, float]:
    """Return the ends of the axis: all values and limits, and a part of what intervals add."""
    values = [x.value for curve in curves for x in (*curve.values, curve.end.limit)]
    known = [x for x in [*values, *own] if x is not None]
    low, high = min(known), max(known)
    room = 0.15 * (high - low) or 0.01
    ends = [end for curve in curves for end in curve.end.limit.interval() or ()]
    low_end, high_end = min([low, *ends]), max([high, *ends])
    return max(low - 2 * room, low_end) - room / 3, min(high + 2 * room, high_end) + room / 3
