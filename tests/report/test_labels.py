"""Labels in reports: rows by label, kinds by model, reconstructions by fact."""

from stitching.claims.evidence import Evidence
from stitching.report.tables import caveats
from stitching.results.grid import read_grid
from stitching.results.measures import measure_of
from stitching.results.variants import Variant
from tests.report.made import make_cell


def test_two_models_of_one_name_are_no_reconstruction(tmp_path):
    # As an earlier version wrote it for encoder.n_steps=5.
    make_cell(tmp_path, "dm", "dm", 0, map="ridge")
    make_cell(tmp_path, "vae", "vae", 1, map="identity")
    grid = read_grid(tmp_path)
    assert grid.own == {("vae", "vae")}
    assert "dm-to-dm_0 is no reconstruction: two models" in " ".join(grid.notes)


def test_options_that_differ_are_columns_complete_for_all_cells(tmp_path):
    usual = {"encoder": {"n_steps": 10}, "decoder": {}}
    make_cell(tmp_path, "dm[n_steps=5]", "vae", 0, encoder__n_steps=5, config=usual)
    make_cell(tmp_path, "dm", "vae", 1, config=usual)
    make_cell(tmp_path, "nf", "vae", 2, config={"encoder": {}, "decoder": {}})
    frame = read_grid(tmp_path).frame
    assert frame["encoder"].tolist() == ["dm[n_steps=5]", "dm", "nf"]
    assert frame["encoder/n_steps"].tolist() == [5, 10, None]


def test_kinds_go_by_the_model_whatever_it_is_called(tmp_path):
    make_cell(tmp_path, "noise", "glow", 0, encoder__model="random", decoder__model="nf-celeba64")
    make_cell(tmp_path, "nf[width=8]", "vae-x", 1)
    grid = read_grid(tmp_path)
    kinds = {"noise": "random", "glow": "nf", "nf[width=8]": "nf", "vae-x": "vae"}
    assert grid.kinds == kinds
    assert "noise" not in Evidence(grid, Variant("strict")).trained


def test_two_options_of_one_set_of_weights_are_no_pair_of_models(tmp_path):
    same = {"weights__encoder": "a" * 64, "weights__decoder": "a" * 64}
    make_cell(tmp_path, "dm[n_steps=5]", "dm", 0, **same)
    make_cell(tmp_path, "vae", "dm", 1, **same | {"weights__encoder": "b" * 64})
    assert Evidence(read_grid(tmp_path), Variant("strict")).pairs() == [("vae", "dm")]


def test_a_checkpoint_in_a_label_is_an_earlier_state(tmp_path):
    seen = "weights__encoder_images_seen"
    make_cell(tmp_path, "nf[checkpoint=10]", "vae", 0, d_source=4, **{seen: 10})
    make_cell(tmp_path, "nf", "vae", 1, d_source=4, **{seen: 90})
    assert Evidence(read_grid(tmp_path), Variant("strict")).earlier == ["nf[checkpoint=10]"]


def test_notes_count_images_that_were_left_out_and_say_what_a_network_was_made_for(tmp_path):
    make_cell(tmp_path, "vae", "nf", 0, n_invalid=0, n_invalid_fit=3, image__lpips=0.1,
              image__lpips_note="images of 32 pixels")  # fmt: skip
    grid = read_grid(tmp_path)
    assert "not finite: 3 fit images left out in 1 cells" in " ".join(grid.notes)
    assert "images of 32 pixels" in caveats(grid, measure_of("image/lpips"))
