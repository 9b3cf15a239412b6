"""The report of a sweep, from the run of its summary and those of its cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stitching.dashboard.library import filter_of, reports
from stitching.dashboard.target import FAMILIES, Target
from stitching.dashboard.workspace import measure_plot

#: Columns of a report's grid of panels.
_WIDTH = 24

#: Each cell is a group of its own: with fewer keys, W&B averages over cells.
_GROUPS = ("encoder.name", "decoder.name", "data.name", "protocol.name", "seed")


def build_report(target: Target, *, linked: bool = False) -> Any:
    """Return the report of a sweep, a `wandb_workspaces.reports.v2.Report`.

    Args:
        target: Project, sweep and measures.
        linked: Whether sets of runs name the project, which the library then looks up on the
            server; else they are of the report's own project.

    Raises:
        ModuleNotFoundError: wandb-workspaces is not installed.
        ValueError: The sweep's id cannot be filtered by.
    """
    wr = reports()
    what = target.group or "all sweeps"
    about = f"Cells of {what}" + (f": {target.setting}." if target.setting else ".")
    summary = _runs("Summary of the sweep", "summary", target, linked)
    cells = _runs("Cells", "cell", target, linked, _GROUPS)
    blocks = [
        wr.P(
            f"{about} Each cell encodes images with one model, maps the latents and decodes them "
            "with another. Files of the cells are the record; what is here is a copy."
        ),
        wr.TableOfContents(),
        wr.H2("Grid"),
        wr.P("One row per cell, failed and missing ones too, with ends of 95 % intervals."),
        _grid(summary, [_table("grid/cells")]),
        wr.H2("Pictures"),
        wr.P("One test image by every pair of models."),
        _grid(summary, [_media("Pictures", target.pictures)]),
        wr.H2("Heatmaps"),
        _grid(summary, [_media("Heatmaps", target.heatmaps)]),
    ]
    for name in FAMILIES:
        plots = [measure_plot(measure) for measure in target.family(name)]
        if plots:
            blocks += [wr.H2(name), wr.P("One bar per cell."), _grid(cells, _tiled(plots))]
    blocks += [
        wr.H2("Claims"),
        wr.P(
            "The paper's claims, and answers from the cells; empty before `stitching.claims` ran."
        ),
        _grid(summary, [_table("grid/claims")]),
    ]
    return wr.Report(
        project=target.project,
        entity=target.entity,
        title=f"Stitching: {what}"[:128],
        description=target.setting,
        blocks=blocks,
        width="fluid",
    )


def _runs(
    name: str, job_type: str, target: Target, linked: bool, groups: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the options of a set of runs; each grid of panels has a set of its own."""
    filters = filter_of(job_type, target.group)
    place = {"entity": target.entity, "project": target.project} if linked else {}
    groupby = [f"config.{key}" for key in groups]
    return {"name": name, "filters": filters, "groupby": groupby, **place}


def _grid(runs: dict[str, Any], panels: list[Any]) -> Any:
    wr = reports()
    return wr.PanelGrid(runsets=[wr.Runset(**runs)], panels=panels)


def _table(key: str) -> Any:
    wr = reports()
    return wr.WeavePanelSummaryTable(table_name=key, layout=wr.Layout(w=_WIDTH, h=16))


def _media(title: str, keys: list[str]) -> Any:
    wr = reports()
    layout = wr.Layout(w=_WIDTH, h=20)
    return wr.MediaBrowser(title=title, media_keys=keys, num_columns=2, layout=layout)


def _tiled(panels: list[Any], columns: int = 3, height: int = 8) -> list[Any]:
    """Place panels row by row."""
    wr = reports()
    width = _WIDTH // columns
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        panel.layout = wr.Layout(x=column * width, y=row * height, w=width, h=height)
    return panels
