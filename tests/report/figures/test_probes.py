"""Figures 4 and 5."""

from stitching.report.figures.facts import probe_setting
from stitching.report.figures.probes import (
    draw_accuracy,
    draw_agreement,
    mapped_cells,
    own_cells,
)
from stitching.report.figures.readings import MEAN, Row, attribute_panel, attributes_of
from stitching.results.grid import read_grid
from tests.report.figures.grids import (
    ATTRIBUTES,
    make_grid,
    measured,
    probed,
    words,
)
from tests.report.made import make_cell


def row(tmp_path, key="probe/consistency", against=None, sides=(), draws=None, **facts):
    make_cell(tmp_path, "vae", "nf", draws=draws, **(probed() | facts))
    [cell] = read_grid(tmp_path).cells.values()
    return Row("vae → nf", cell, key, against, sides)


def test_own_latents_are_read_in_the_cell_of_the_decoder_itself(tmp_path):
    grid = make_grid(tmp_path)
    assert {name: cell.encoder for name, cell in own_cells(grid).items()} == {
        "vae": "vae",
        "nf": "nf",
    }


def test_without_its_own_cell_any_of_a_decoder_does(tmp_path):
    make_cell(tmp_path, "random", "nf", 0)
    make_cell(tmp_path, "vae", "nf", 1, **probed())
    assert own_cells(read_grid(tmp_path))["nf"].encoder == "vae"


def test_accuracy_stands_beside_the_majority(tmp_path, written):
    grid = make_grid(tmp_path)
    draw_accuracy(grid, own_cells(grid))
    assert (
        words(written).count("90.0") == 2 * 3 + 1
    )  # models by attributes and mean, end of the scale
    assert words(written).count("60.0") == 3 + 1  # attributes, their mean, end of the scale
    assert "majority" in words(written)


def test_models_with_another_majority_have_a_row_of_their_own(tmp_path, written):
    make_cell(tmp_path, "vae", "vae", 0, **probed(majority=0.6))
    make_cell(tmp_path, "nf", "nf", 1, **probed(majority=0.7))
    grid = read_grid(tmp_path)
    draw_accuracy(grid, own_cells(grid))
    assert {"majority, vae", "majority, nf"} <= set(words(written))


def test_maps_are_ordered_by_decoder_with_baselines_first(tmp_path):
    grid = make_grid(tmp_path, ("vae", "random", "nf"), ("vae", "nf"))
    pairs = [(cell.encoder, cell.decoder) for cell in mapped_cells(grid)]
    assert pairs == [("random", "vae"), ("nf", "vae"), ("random", "nf"), ("vae", "nf")]


def test_both_panels_name_every_map(tmp_path, written):
    grid = make_grid(tmp_path)
    draw_agreement(grid, mapped_cells(grid))
    assert words(written).count("vae → nf") == 2
    assert words(written).count("80.0") == 4 * 3 + 2  # and both ends of the scale
    assert words(written).count("\N{MINUS SIGN}10.0") == 4 * 3 + 1


def test_a_map_without_result_is_named_below(tmp_path, written):
    make_cell(tmp_path, "vae", "nf", 0, **probed())
    make_cell(tmp_path, "dm", "nf", 1, state="failed")
    grid = read_grid(tmp_path)
    draw_agreement(grid, mapped_cells(grid))
    assert "Not shown: dm → nf (failed)." in words(written)


def test_a_number_has_its_interval_as_the_cell_wrote_it(tmp_path):
    entry = row(tmp_path).entry("Male")
    assert (entry.texts, entry.small) == (("80.0", "80"), "[75.0, 84.0]")


def test_changes_have_a_sign(tmp_path):
    entry = row(tmp_path, "probe/percent_delta", probe__percent_delta=0.02).entry(
        MEAN, signed=True
    )
    assert entry.texts == ("+2.0", "+2")


def test_a_change_that_rounds_to_zero_has_no_sign(tmp_path):
    entry = row(tmp_path, "probe/percent_delta", probe__percent_delta=-0.0001).entry(
        MEAN, signed=True
    )
    assert entry.texts == ("0.0", "0")


def test_a_constant_probe_is_told_apart_from_a_number_and_from_none(tmp_path):
    facts = {"probe__constant__Male": "mapped", "probe__missing__Bald": "no such attribute"}
    found = row(tmp_path, sides=("own", "mapped"), **facts)
    kinds = {name: found.entry(name).kind for name in ("Male", "No_Beard", "Bald")}
    assert kinds == {"Male": "quiet", "No_Beard": "usual", "Bald": "absent"}


def test_answers_constant_on_mapped_latents_leave_the_own_accuracy_as_it_is(tmp_path):
    found = row(tmp_path, "probe/accuracy_own", sides=("own",), probe__constant__Male="mapped")
    assert found.entry("Male").kind == "usual"


def test_the_mean_of_uninformative_probes_alone_is_uninformative(tmp_path):
    facts = {f"probe__constant__{name}": "mapped" for name in ATTRIBUTES}
    panel = attribute_panel("t", [row(tmp_path, sides=("mapped",), **facts)], ATTRIBUTES)
    assert [entry.kind for entry in panel.rows[0]] == ["quiet"] * 3


def test_hatching_and_missing_probes_are_explained(tmp_path, written):
    facts = {"probe__constant__Male": "own", "probe__missing__Bald": "no such attribute"}
    grid = make_grid(tmp_path, **facts)
    draw_agreement(grid, mapped_cells(grid))
    notes = " ".join(words(written))
    assert "the probe predicts one label for all own or all mapped latents" in notes
    assert "No probe of Bald: no such attribute." in notes
    assert "n/a" in words(written)


def test_a_change_is_slanted_where_its_interval_holds_zero(tmp_path):
    draws = {
        "probe/percent_delta/Male": measured(0.01, own=0.5),
        "probe/percent_delta/No_Beard": measured(-0.9, own=0.5),
    }
    found = row(tmp_path, "probe/percent_delta", 0.0, draws=draws, probe__n_test=60, n_test=60)
    slanted = [found.entry(name).italic for name in ATTRIBUTES]
    # `probed` overwrites values and ends, not the draws
    assert slanted == [True, False]


def test_accuracy_is_compared_with_the_majority_draw_by_draw(tmp_path):
    draws = {
        "probe/accuracy_own/Male": measured(0.62, shared=0.4),
        "probe/majority/Male": measured(0.60, shared=0.4),
        "probe/accuracy_own/No_Beard": measured(0.62, own=0.4),
        "probe/majority/No_Beard": measured(0.60, own=0.4, seed=2),
    }
    facts = {"probe__accuracy_own__Male": 0.62, "n_test": 60}
    found = row(tmp_path, "probe/accuracy_own", "probe/majority", draws=draws, **facts)
    assert [found.entry(name).italic for name in ATTRIBUTES] == [False, True]


def test_attributes_without_a_probe_come_last(tmp_path):
    make_cell(tmp_path, "vae", "nf", 0, probe__missing__Bald="rare", **probed())
    assert attributes_of([*read_grid(tmp_path).cells.values()], "probe/consistency") == [
        *ATTRIBUTES, "Bald",
    ]  # fmt: skip


def test_the_number_of_items_that_probes_are_asked_about_is_told_where_it_differs(tmp_path):
    counts = {"probe__n_test__Male": 88, "probe__n_test__No_Beard": 1750, "probe__n_test": None}
    grid = make_grid(tmp_path, **counts)
    text = probe_setting(grid, grid.cells.values())
    assert text.endswith("20 to test, seed 0; probes are scored on 88 to 1750 items by attribute")


def test_maps_are_not_told_of_where_they_take_no_part(tmp_path):
    grid = make_grid(tmp_path)
    assert "map" not in probe_setting(grid, grid.cells.values(), maps=False)


def test_intervals_are_left_out_where_they_do_not_fit(tmp_path):
    found = row(tmp_path)
    assert attribute_panel("t", [found], ATTRIBUTES, width=6).intervals
    assert not attribute_panel("t", [found], ATTRIBUTES, width=1.4).intervals
