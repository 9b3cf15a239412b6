import json

import pytest

from stitching.dashboard import Target, build_report
from stitching.results.measures import MEASURES

pytest.importorskip("wandb_workspaces")


def blocks_of(target):
    model = build_report(target)._to_model()
    return json.loads(model.spec.model_dump_json(by_alias=True, exclude_none=True))["blocks"]


@pytest.fixture(scope="module")
def blocks():
    return blocks_of(Target("p", "me", "sweep-1", setting="data faces, seed 0"))


def text_of(block):
    return "".join(child.get("text", "") for child in block["children"])


def grids_by_heading(blocks):
    """Grids of panels by the heading above each."""
    found, heading = {}, ""
    for block in blocks:
        if block["type"] == "heading":
            heading = text_of(block)
        elif block["type"] == "panel-grid":
            found[heading] = block["metadata"]
    return found


def panels_of(grid):
    return grid["panelBankSectionConfig"]["panels"]


def filters_of(grid):
    (runs,) = grid["runSets"]
    return {(f["key"]["name"], f["op"], f["value"]) for f in runs["filters"]["filters"]}


FAMILIES = ("Latents", "Images", "Probes", "Geometry")


def test_it_has_the_grid_pictures_heatmaps_measures_and_claims(blocks):
    assert list(grids_by_heading(blocks)) == ["Grid", "Pictures", "Heatmaps", *FAMILIES, "Claims"]


def test_its_first_line_says_which_cells(blocks):
    texts = [text_of(block) for block in blocks if block["type"] == "paragraph"]
    assert any(text.startswith("Cells of sweep-1: data faces, seed 0.") for text in texts)


@pytest.mark.parametrize("heading", ["Grid", "Pictures", "Heatmaps", "Claims"])
def test_tables_and_pictures_are_those_of_the_summary_run(blocks, heading):
    assert filters_of(grids_by_heading(blocks)[heading]) == {
        ("jobType", "=", "summary"),
        ("group", "=", "sweep-1"),
    }


@pytest.mark.parametrize("heading", FAMILIES)
def test_plots_are_of_the_cells(blocks, heading):
    assert filters_of(grids_by_heading(blocks)[heading]) == {
        ("jobType", "=", "cell"),
        ("group", "=", "sweep-1"),
    }


@pytest.mark.parametrize("heading", FAMILIES)
def test_cells_are_grouped_by_encoder_first_and_never_averaged(blocks, heading):
    (runs,) = grids_by_heading(blocks)[heading]["runSets"]
    assert [key["name"] for key in runs["grouping"]] == [
        "encoder.value.name",
        "decoder.value.name",
        "data.value.name",
        "protocol.value.name",
        "seed.value",
    ]


def test_each_measure_has_one_panel(blocks):
    grids = grids_by_heading(blocks)
    keys = [k for name in FAMILIES for p in panels_of(grids[name]) for k in p["config"]["metrics"]]
    assert sorted(keys) == sorted(measure.key for measure in MEASURES)


@pytest.mark.parametrize(("heading", "key"), [("Grid", "grid/cells"), ("Claims", "grid/claims")])
def test_a_table_is_shown_by_its_key_in_the_summary_run(blocks, heading, key):
    (panel,) = panels_of(grids_by_heading(blocks)[heading])
    assert json.dumps(key) in json.dumps(panel)


def test_heatmaps_are_those_of_the_pictured_measures(blocks):
    (panel,) = panels_of(grids_by_heading(blocks)["Heatmaps"])
    keys = panel["config"]["mediaKeys"]
    assert "heatmap/latent_r2" in keys
    assert len(keys) == sum(measure.pictured for measure in MEASURES)


def test_each_protocol_has_heatmaps_and_pictures_of_its_own():
    grids = grids_by_heading(blocks_of(Target("p", variants=("strict", "paper"))))
    (pictures,), (heatmaps,) = (panels_of(grids[x]) for x in ("Pictures", "Heatmaps"))
    assert pictures["config"]["mediaKeys"] == ["strict/grid/pictures", "paper/grid/pictures"]
    assert "paper/heatmap/latent_r2" in heatmaps["config"]["mediaKeys"]


def test_no_two_panels_of_a_grid_overlap(blocks):
    for grid in grids_by_heading(blocks).values():
        taken = [
            (x, y)
            for panel in panels_of(grid)
            for x in range(panel["layout"]["x"], panel["layout"]["x"] + panel["layout"]["w"])
            for y in range(panel["layout"]["y"], panel["layout"]["y"] + panel["layout"]["h"])
        ]
        assert len(taken) == len(set(taken))


def test_a_report_read_back_is_the_one_written():
    from wandb_workspaces.reports.v2 import Report, internal

    model = build_report(Target("p", "me", "sweep-1"))._to_model()
    text = model.spec.model_dump_json(by_alias=True, exclude_none=True)
    spec = internal.Spec.model_validate_json(text)
    again = Report._from_model(model.model_copy(update={"spec": spec}))._to_model()
    assert kept(again.spec) == kept(model.spec)


def kept(spec):
    """What the library keeps when it reads a report: not its width, nor the size of tables."""
    found = json.loads(spec.model_dump_json(by_alias=True, exclude={"width"}, exclude_none=True))
    for grid in grids_by_heading(found["blocks"]).values():
        for panel in panels_of(grid):
            if panel["viewType"] == "Weave":
                panel["layout"] = None
    return found
