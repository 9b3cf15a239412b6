from stitching.results.configs import Configs
from stitching.results.reading import read_cells
from stitching.results.variants import axes_of, views_of
from tests.report.made import make_cell
from tests.report.page.made import cell, failed, read


def views(root):
    cells, _ = read_cells(root)
    return views_of(root, cells, Configs(cells))


def test_a_plain_grid_is_one_view_without_axes(tmp_path):
    cell(tmp_path, "vae", "vae", 0)
    found, rest = views(tmp_path)
    assert (axes_of(found), rest) == ([], [])


def test_protocols_are_an_axis(tmp_path):
    cell(tmp_path, "vae", "vae", 0)
    make_cell(tmp_path, "vae", "vae", 1, protocol="paper")
    found, _ = views(tmp_path)
    assert axes_of(found) == [("protocol", ["strict", "paper"])]


def test_a_swept_number_is_an_axis_in_order_of_size(tmp_path):
    for number, n in enumerate((1000, 50, 200)):
        cell(tmp_path, "vae", "vae", number, settings={"data__n_train": n}, n_train=n)
    found, _ = views(tmp_path)
    assert axes_of(found) == [("data.n_train", ["50", "200", "1000"])]
    assert [len(view.grid.cells) for view in found] == [1, 1, 1]


def test_seeds_that_go_together_are_one_axis(tmp_path):
    for seed in (0, 1):
        settings = {"seed": seed, "data__seed": seed}
        cell(tmp_path, "vae", "vae", seed, settings=settings)
    found, _ = views(tmp_path)
    assert [axis for axis, _ in axes_of(found)] in (["seed"], ["data.seed"])


def test_data_sets_are_an_axis_and_what_they_imply_is_none(tmp_path):
    for number, (name, n) in enumerate((("faces", 100), ("celeba", 500))):
        settings = {"data__name": name, "data__n_train": n}
        cell(tmp_path, "vae", "vae", number, settings=settings, data=name)
    found, _ = views(tmp_path)
    assert axes_of(found) == [("data", ["faces", "celeba"])]


def test_a_failed_cell_belongs_to_the_view_of_its_settings(tmp_path):
    for number, n in enumerate((50, 100)):
        cell(tmp_path, "vae", "vae", number, settings={"data__n_train": n})
    failed(tmp_path, "nf", "vae", 2, data__n_train=50)
    found, rest = views(tmp_path)
    assert rest == []
    assert [view.grid.absent for view in found] == [{("nf", "vae"): "failed"}, {}]


def test_a_failed_cell_without_settings_belongs_to_no_view_of_several(tmp_path):
    for number, n in enumerate((50, 100)):
        cell(tmp_path, "vae", "vae", number, settings={"data__n_train": n})
    make_cell(tmp_path, "nf", "vae", 2, state="failed")
    page = read(tmp_path)
    assert any(x.startswith("in none") and "nf-to-vae_2" in x for x in page.index["notes"])
    assert page.index["counts"]["failed"] == 1


def test_where_things_go_is_no_axis(tmp_path):
    for number in (0, 1):
        cell(tmp_path, "vae", "vae", number, settings={"batch_size": 8 + number})
    found, _ = views(tmp_path)
    assert axes_of(found) == []
