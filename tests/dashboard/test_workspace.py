import json

import pytest

from stitching.dashboard import Target, build_workspace
from stitching.results.measures import MEASURES

pytest.importorskip("wandb_workspaces")


def spec_of(target):
    """The JSON that the server would get."""
    model = build_workspace(target)._to_model()
    return json.loads(model.spec.model_dump_json(by_alias=True, exclude_none=True))["section"]


@pytest.fixture(scope="module")
def section():
    return spec_of(Target("p", "me", "sweep-1"))


def sections_of(section):
    return {s["name"]: s for s in section["panelBankConfig"]["sections"]}


def metrics_of(sections, names=None):
    return [
        key
        for name, found in sections.items()
        for panel in found["panels"]
        for key in panel["config"].get("metrics", [])
        if names is None or name in names
    ]


def filters_of(runs):
    return {(f["key"]["section"], f["key"]["name"], f["op"], f["value"]) for f in runs}


def test_each_measure_has_one_panel(section):
    measured = [m for m in metrics_of(sections_of(section)) if not m.startswith(("time/", "mem"))]
    assert sorted(measured) == sorted(measure.key for measure in MEASURES)


def test_sections_are_families_of_measures(section):
    sections = sections_of(section)
    assert list(sections) == ["Latents", "Images", "Probes", "Geometry", "Time", "Pictures"]
    for name, prefixes in (("Latents", "latent/"), ("Probes", ("probe/", "class/", "factor/"))):
        assert all(key.startswith(prefixes) for key in metrics_of(sections, [name]))


def test_only_measures_that_are_shown_have_a_panel():
    shown = tuple(m for m in MEASURES if m.key in ("latent/r2", "image/rmse"))
    sections = sections_of(spec_of(Target("p", measures=shown)))
    assert metrics_of(sections, ["Latents", "Images"]) == ["latent/r2", "image/rmse"]
    assert "Geometry" not in sections


def test_runs_are_the_cells_of_the_sweep(section):
    (runs,) = section["runSets"]
    assert filters_of(runs["filters"]["filters"]) == {
        ("run", "jobType", "=", "cell"),
        ("run", "group", "=", "sweep-1"),
    }


def test_without_a_sweep_runs_are_the_cells_of_the_project():
    (runs,) = spec_of(Target("p"))["runSets"]
    assert filters_of(runs["filters"]["filters"]) == {("run", "jobType", "=", "cell")}


@pytest.mark.parametrize("group", ["a=b", "it's", "a<b"])
def test_a_sweep_that_cannot_be_filtered_by_is_refused(group):
    with pytest.raises(ValueError, match="its id must have none of"):
        build_workspace(Target("p", group=group))


def test_runs_are_in_order_of_encoder_and_decoder(section):
    keys = [item["key"]["name"] for item in section["runSets"][0]["sort"]["keys"]]
    assert keys == ["encoder.value.name", "decoder.value.name"]


def test_no_plot_averages_over_cells(section):
    assert section["runSets"][0]["grouping"] == []
    for found in sections_of(section).values():
        for panel in found["panels"]:
            assert not panel["config"].get("groupBy")
            assert not panel["config"].get("aggregate")


def test_columns_are_models_state_printed_measures_and_the_error(section):
    columns = section["runSets"][0]["runFeed"]["columnOrder"]
    assert columns[:4] == [
        "run:displayName",
        "run:state",
        "config:encoder.value.name",
        "config:decoder.value.name",
    ]
    assert columns[-1] == "summary:error"
    assert {f"summary:{m.key}" for m in MEASURES if m.printed} <= set(columns)


def test_a_title_says_which_end_is_better(section):
    titles = {
        panel["config"]["metrics"][0]: panel["config"]["chartTitle"]
        for panel in sections_of(section)["Images"]["panels"]
    }
    assert titles["image/rmse"] == "Pixel RMSE (0-1 scale): lower is better"


def test_plots_show_more_cells_than_the_ten_of_a_fresh_workspace(section):
    assert section["settings"]["maxRuns"] == 100


def test_panels_that_are_not_listed_are_not_made(section):
    assert section["settings"]["shouldAutoGeneratePanels"] is False


def test_a_workspace_read_back_is_the_one_written():
    from wandb_workspaces.workspaces import Workspace, internal

    model = build_workspace(Target("p", "me", "sweep-1"))._to_model()
    text = model.model_dump_json(by_alias=True)
    again = Workspace._from_model(internal.View.model_validate_json(text))
    spec = again._to_model().spec.model_dump(by_alias=True, exclude_none=True)
    assert spec == model.spec.model_dump(by_alias=True, exclude_none=True)
