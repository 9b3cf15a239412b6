"""The workspace: one bar plot per measure, in sections, and the table of cells beside it."""

from __future__ import annotations

from typing import Any

from stitching.dashboard.library import filter_of, reports, workspaces
from stitching.dashboard.target import FAMILIES, Target
from stitching.results.formats import direction
from stitching.results.measures import Measure

#: Most runs that a bar plot of W&B shows.
MOST_BARS = 100

_TIMES = {
    "time/total_s": "Time of a cell (s)",
    "time/encode_s": "Time to encode (s)",
    "time/fit_s": "Time to fit the map (s)",
    "time/decode_s": "Time to decode (s)",
    "time/score_s": "Time to score (s)",
    "memory/cell_peak_mib": "Peak memory of a cell (MiB)",
}

_PICTURES = {
    "pictures/stitched": "One test image",
    "pictures/original": "The same image, as it is",
    "pictures/reconstructions": "Original, own reconstruction, stitched",
}

_OPEN = ("Latents", "Images", "Probes")

_ROLES = ("encoder", "decoder")

#: W&B keeps the settings of `config.encoder` under `encoder.value`.
_COLUMNS = (
    "run:state",
    "config:encoder.value.name",
    "config:decoder.value.name",
    "config:data.value.name",
    "config:protocol.value.name",
)


def build_workspace(target: Target) -> Any:
    """Return the workspace of a project or sweep, a `wandb_workspaces.workspaces.Workspace`.

    Nothing is sent. Its runs are those of cells, ordered by encoder and decoder.

    Raises:
        ModuleNotFoundError: wandb-workspaces is not installed.
        ValueError: The sweep's id cannot be filtered by.
    """
    ws, wr = workspaces(), reports()

    def section(name: str, panels: list[Any], columns: int = 3) -> Any:
        layout = ws.SectionLayoutSettings(columns=columns, rows=2)
        return ws.Section(name=name, panels=panels, is_open=name in _OPEN, layout_settings=layout)

    sections = [
        section(name, [measure_plot(measure) for measure in target.family(name)])
        for name in FAMILIES
        if target.family(name)
    ]
    sections.append(section("Time", [_bars(key, title) for key, title in _TIMES.items()]))
    pictures = [
        wr.MediaBrowser(title=title, media_keys=[key], num_columns=4)
        for key, title in _PICTURES.items()
    ]
    sections.append(section("Pictures", pictures, columns=1))
    printed = [f"summary:{measure.key}" for measure in target.measures if measure.printed]
    return ws.Workspace(
        entity=target.entity,
        project=target.project,
        name=f"Stitching: {target.group or 'all sweeps'}",
        sections=sections,
        settings=ws.WorkspaceSettings(max_runs=MOST_BARS, group_by_prefix="first"),
        runset_settings=ws.RunsetSettings(
            filters=filter_of("cell", target.group),
            order=[ws.Ordering(ws.Config(f"{role}.value.name")) for role in _ROLES],
            pinned_columns=["run:displayName", *_COLUMNS, *printed, "summary:error"],
        ),
    )


def measure_plot(measure: Measure) -> Any:
    """Return the bar plot of a measure, one bar per cell."""
    return _bars(measure.key, f"{measure.label}: {direction(measure)}")


def _bars(key: str, title: str) -> Any:
    # Not grouped: a mean over decoders, some in units of their own, would mean nothing.
    return reports().BarPlot(
        title=title,
        metrics=[key],
        orientation="h",
        max_runs_to_show=MOST_BARS,
        max_bars_to_show=MOST_BARS,
    )
