"""The figures that a grid allows, and their files."""

import io
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from stitching.report.figures import missing_figures, write_figures
from stitching.results.grid import read_grid
from stitching.results.output import Output
from tests.report.figures.grids import IMAGES, make_grid, make_training, probed
from tests.report.made import make_cell, make_pictures

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A grid with the figures that it allows, which tests only read."""
    root = tmp_path_factory.mktemp("made")
    grid = make_grid(root / "sweep", ("random", "vae", "gan"), ("vae", "gan"))
    return grid, write_figures(grid, root)


def test_each_figure_is_an_svg_and_a_png(made):
    _, paths = made
    names = [f"figure{n}.{kind}" for n in (1, 2, 3, 4, 5) for kind in ("svg", "png")]
    assert [path.name for path in paths] == names
    assert {path.parent.name for path in paths} == {"figures"}


def test_figures_are_the_same_to_the_byte_in_a_rerun(made, tmp_path):
    grid, paths = made
    for path, again in zip(paths, write_figures(grid, tmp_path), strict=True):
        assert path.read_bytes() == again.read_bytes(), path.name


def test_settings_of_the_user_do_not_change_a_figure(made, tmp_path):
    import matplotlib as mpl

    grid, paths = made
    with mpl.rc_context({"font.size": 20, "svg.fonttype": "none", "savefig.facecolor": "red"}):
        again = write_figures(grid, tmp_path)
    assert paths[0].read_bytes() == again[0].read_bytes()


def test_pages_are_as_wide_as_two_columns_of_print(made):
    for path in made[1]:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.width == 2100  # 7 inches of 300 pixels
        else:
            assert ElementTree.parse(path).getroot().get("width") == "504pt"  # 7 x 72


def test_an_svg_has_no_text_that_needs_a_typeface(made):
    for path in (path for path in made[1] if path.suffix == ".svg"):
        assert not [*ElementTree.parse(path).getroot().iter(f"{SVG}text")]


def test_an_svg_says_what_it_shows(made):
    _, paths = made
    title = ElementTree.parse(paths[0]).getroot().find(f"{SVG}title")
    assert title.text == "Figure 1: one test image through every pair of models"


def test_a_grid_that_allows_all_figures_but_one_says_what_to_run_for_it(made):
    grid, _ = made
    assert list(missing_figures(grid)) == [6]


def test_pictures_in_an_svg_are_those_of_the_cells(made):
    grid, paths = made
    href = "{http://www.w3.org/1999/xlink}href"
    shown = []
    for image in ElementTree.parse(paths[0]).getroot().iter(f"{SVG}image"):
        import base64

        data = base64.b64decode(image.get(href).partition(",")[2])
        shown.append(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    assert {image.shape for image in shown} == {(8, 8, 3)}
    for cell in grid.cells.values():
        wanted = np.asarray(Image.open(cell.path / "picture.png"))
        assert any(np.array_equal(wanted, image) for image in shown)


def test_figures_that_no_longer_hold_are_removed(tmp_path):
    grid = make_grid(tmp_path / "sweep")
    write_figures(grid, tmp_path)
    for cell in grid.cells.values():
        (cell.path / "picture.png").unlink()
    write_figures(grid, tmp_path)
    left = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert left == {"figure3", "figure4", "figure5"}


def test_removing_all_figures_leaves_other_files(tmp_path):
    write_figures(make_grid(tmp_path / "sweep"), tmp_path)
    (tmp_path / "figures" / "mine.txt").touch()
    Output(tmp_path).remove_others(())
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["mine.txt"]


def test_a_folder_of_figures_alone_goes_with_them(tmp_path):
    write_figures(make_grid(tmp_path / "sweep"), tmp_path)
    Output(tmp_path).remove_others(())
    assert not (tmp_path / "figures").exists()


def test_cells_of_one_pair_that_differ_are_refused(tmp_path):
    for number, rmse in enumerate((0.1, 0.2)):
        make_cell(tmp_path, "vae", "nf", number, image__rmse=rmse)
    with pytest.raises(ValueError, match="differ in image/rmse"):
        write_figures(read_grid(tmp_path), tmp_path)


def test_cells_that_show_different_images_are_refused(tmp_path):
    grid = make_grid(tmp_path)
    make_pictures(grid.cells["vae", "nf"].path, (1, 2, 3), original=(9, 9, 9), size=8)
    with pytest.raises(ValueError, match="different test images"):
        write_figures(grid, tmp_path)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (1, "needs a finished cell of two different models"),
        (2, "needs finished cells with the GAN as decoder"),
        (3, "needs a finished cell of two different models"),
        (4, "needs attribute probes of two models as decoders"),
        (5, "needs attribute probes on a map between two different models"),
        (6, "needs checkpoints of one training as decoders, with probes"),
    ],
)
def test_what_is_missing_is_named_with_its_command(number, reason, tmp_path):
    make_cell(tmp_path, "vae", "vae")
    text = missing_figures(read_grid(tmp_path))[number]
    assert text.startswith(f"{reason}; run: ")
    assert f"python launch.py experiment=figure{number}" in text


def test_a_grid_without_pictures_says_so(tmp_path):
    make_cell(tmp_path, "vae", "nf", **IMAGES)
    assert "needs the pictures of cells" in missing_figures(read_grid(tmp_path))[1]


def test_a_grid_without_image_measures_says_which(tmp_path):
    make_cell(tmp_path, "vae", "nf", image__rmse=None)
    assert "needs the metrics rmse, lpips" in missing_figures(read_grid(tmp_path))[3]


def test_commands_keep_data_weights_and_protocol(tmp_path):
    config = {"data": {"name": "celeba", "root": "/a b/celeba"}, "zoo": "mine"}
    make_cell(tmp_path, "vae", "vae", protocol="paper, latents=mean, probe=ridge", config=config)
    missing = missing_figures(read_grid(tmp_path))
    assert missing[3].endswith(
        "experiment=figure3 data=celeba 'data.root=/a b/celeba' zoo=mine protocol=paper "
        "protocol.latents=mean probe=ridge"
    )
    assert missing[2].endswith("experiment=figure2")
    assert "stitching.train model=nf data=celeba 'data.root=/a b/celeba' out=mine" in missing[6]


def test_a_grid_without_probes_is_not_sent_for_figures_without_probes(tmp_path):
    make_cell(tmp_path, "vae", "vae", protocol="strict, probe=none")
    missing = missing_figures(read_grid(tmp_path))
    assert missing[4].endswith("experiment=figure4")


def test_more_maps_than_a_page_holds_are_not_drawn_by_attribute(tmp_path):
    names = [f"m{i}" for i in range(9)]
    for number, pair in enumerate((a, b) for a in names for b in names if a != b):
        make_cell(tmp_path, *pair, number, **probed())
    assert "60 maps at most, and this grid has 72" in missing_figures(read_grid(tmp_path))[5]


def test_checkpoints_make_figure_6_alone(tmp_path):
    paths = write_figures(make_training(tmp_path / "sweep"), tmp_path)
    assert [path.name for path in paths] == ["figure6.svg", "figure6.png"]


def test_names_of_models_may_hold_any_signs(tmp_path):
    grid = make_grid(tmp_path / "sweep", ("$x_1$", "<b>&--"), ("$x_1$", "<b>&--"))
    paths = write_figures(grid, tmp_path)
    assert len(paths) == 8
    for path in paths[::2]:
        ElementTree.parse(path)


def test_a_cell_that_is_gone_is_a_word_and_no_error(tmp_path):
    grid = make_grid(tmp_path / "sweep")
    shutil.rmtree(grid.cells["vae", "nf"].path)
    assert write_figures(read_grid(tmp_path / "sweep"), tmp_path)
