"""Heatmaps and sheets of images."""

import io

import numpy as np
import pytest
from PIL import Image

from stitching.report import main, render_reconstructions, report_sweeps
from stitching.report.heatmaps import heatmap
from stitching.results.grid import read_grid
from stitching.results.measures import measure_of
from tests.report.made import make_cell, make_pictures

DARKEST, BEST = (68, 1, 84), (253, 231, 37)  # the ends of viridis
BLANK = (230, 230, 230)


def pixels(source):
    with Image.open(source) as image:
        return np.asarray(image.convert("RGB"))


def places(image, colour):
    """Return rows and columns of the pixels of one colour."""
    return np.nonzero((image == np.array(colour, np.uint8)).all(axis=2))


def make(root, values, key="image/rmse"):
    """Make a grid of a measure; "failed", "missing" and "invalid" stand for no number."""
    number = 0
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            facts = {key.replace("/", "__"): None if value == "missing" else value}
            state = "failed" if value == "failed" else "done"
            make_cell(root, f"e{i}", f"d{j}", number, state=state, **facts)
            number += 1
    return read_grid(root), measure_of(key)


def drawn(root, values, key="image/rmse"):
    return pixels(io.BytesIO(heatmap(*make(root, values, key))))


@pytest.mark.parametrize(("key", "column"), [("image/rmse", 0), ("image/ssim", 1)])
def test_the_better_end_is_bright(tmp_path, key, column):
    image = drawn(tmp_path, [[0.1, 0.2]], key)
    bright, dark = (np.median(places(image, colour)[1]) for colour in (BEST, DARKEST))
    assert (bright < dark) == (column == 0)


def test_a_measure_with_its_own_unit_per_column_is_coloured_by_column(tmp_path):
    values = [[1.0, 100.0], [2.0, 200.0]]
    counts = [
        len(places(drawn(tmp_path / key, values, key), BEST)[0])
        for key in ("image/rmse", "latent/mse")
    ]
    assert counts[1] > 1.7 * counts[0]


@pytest.mark.parametrize("word", ["missing", "failed", "invalid"])
def test_a_cell_without_a_number_is_grey(tmp_path, word):
    full, blank = (
        len(places(drawn(tmp_path / str(x), [[0.5, x], [0.1, 0.2]]), BLANK)[0])
        for x in (0.4, word)
    )
    assert blank > 1000 + full


@pytest.mark.parametrize(
    "values",
    [[[1.0]], [[1.0, 1.0]], [["missing", 2.0], ["missing", 3.0]], [[-50.0, 0.9]]],
    ids=["one cell", "no spread", "empty column", "below the floor"],
)
def test_a_heatmap_of_few_values_is_drawn(tmp_path, values):
    key = "latent/mse" if len(values) > 1 else "latent/r2"
    assert heatmap(*make(tmp_path, values, key)).startswith(b"\x89PNG")


def test_numbers_below_the_floor_have_one_colour(tmp_path):
    darkest = [
        len(places(drawn(tmp_path / str(low), [[-50.0, low, 0.9]], "latent/r2"), DARKEST)[0])
        for low in (-3.0, 0.5)
    ]
    assert darkest[0] > 1.7 * darkest[1]


def test_a_heatmap_is_the_same_every_time_whatever_the_users_settings(tmp_path):
    import matplotlib

    grid, measure = make(tmp_path, [[0.1, 0.2]])
    first = heatmap(grid, measure)
    with matplotlib.rc_context({"font.size": 30, "figure.facecolor": "red"}):
        second = heatmap(grid, measure)
    assert first == second


def test_pictures_have_encoders_as_rows_and_decoders_as_columns(tmp_path):
    colours = {}
    for i, encoder in enumerate(("a", "b", "c")):
        for j, decoder in enumerate(("d", "e")):
            folder = make_cell(tmp_path, encoder, decoder, 2 * i + j)
            colours[i, j] = (50 + 60 * i, 200 - 60 * j, 77)
            make_pictures(folder, colours[i, j], original=(255, 0, 255))
    main([str(tmp_path)])
    image = pixels(tmp_path / "pictures.png")
    centre = {key: [v.mean() for v in places(image, colour)] for key, colour in colours.items()}
    assert centre[0, 0][0] == centre[0, 1][0] < centre[1, 0][0] < centre[2, 0][0]
    assert centre[0, 0][1] == centre[1, 0][1] == centre[2, 0][1] < centre[0, 1][1]
    assert places(image, (255, 0, 255))[1].max() < places(image, colours[0, 0])[1].min()


def test_pictures_are_enlarged_without_interpolation(tmp_path):
    folder = make_cell(tmp_path, "a", "b")
    board = np.indices((8, 8)).sum(0) % 2 * 255
    board = np.stack([board, 255 - board, 0 * board], axis=2).astype(np.uint8)
    make_pictures(folder, (9, 9, 9), size=8)
    Image.fromarray(board).save(folder / "picture.png")
    main([str(tmp_path)])
    image = pixels(tmp_path / "pictures.png")
    assert len(places(image, (255, 0, 0))[0]) == len(places(image, (0, 255, 0))[0]) == 128**2 / 2


def test_a_failed_cell_is_a_blank_among_the_pictures(tmp_path):
    make_pictures(make_cell(tmp_path, "a", "b", 0), (255, 0, 0))
    make_cell(tmp_path, "c", "b", 1, state="failed")
    main([str(tmp_path)])
    assert len(places(pixels(tmp_path / "pictures.png"), BLANK)[0]) > 1000


def test_a_cell_without_pictures_is_named(tmp_path, capsys):
    make_pictures(make_cell(tmp_path, "a", "b", 0), (255, 0, 0))
    make_cell(tmp_path, "c", "b", 1)
    main([str(tmp_path)])
    assert "c-to-b_1 without pictures" in capsys.readouterr().out


def test_cells_that_show_different_test_images_are_refused(tmp_path):
    make_pictures(make_cell(tmp_path, "a", "b", 0), (1, 1, 1), original=(2, 2, 2))
    make_pictures(make_cell(tmp_path, "c", "b", 1), (1, 1, 1), original=(3, 3, 3))
    with pytest.raises(ValueError, match="a-to-b_0 and c-to-b_1 show different test images"):
        report_sweeps([tmp_path])


def test_reconstructions_are_three_rows_in_order():
    shape = (2, 4, 4, 3)
    rows = [np.full(shape, value, np.uint8) for value in (10, 20, 30)]
    image = np.asarray(render_reconstructions(*rows))
    heights = [places(image, (value,) * 3)[0].mean() for value in (10, 20, 30)]
    assert heights == sorted(heights)
    assert len(places(image, (10, 10, 10))[0]) == 2 * 128**2


def test_reconstructions_show_twelve_images_at_most():
    batch = np.zeros((12, 4, 4, 3), np.uint8)
    more = np.zeros((100, 4, 4, 3), np.uint8)
    assert render_reconstructions(more, more, more).size == (
        render_reconstructions(batch, batch, batch).size
    )


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (np.zeros((2, 4, 4, 3)), "own reconstruction must be uint8 of shape .* float64"),
        (np.zeros((2, 3, 4, 4), np.uint8), r"must be uint8 of shape \(n, H, W, 3\)"),
        (np.zeros((3, 4, 4, 3), np.uint8), "as many images as the original"),
    ],
    ids=["float", "channels first", "another count"],
)
def test_reconstructions_of_another_form_are_refused(own, message):
    good = np.zeros((2, 4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match=message):
        render_reconstructions(good, own, good)


def test_reconstructions_of_nothing_are_refused():
    empty = np.zeros((0, 4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="at least 1"):
        render_reconstructions(empty, empty, empty)
