"""Heatmaps and sheets of images."""

import numpy as np
import pytest
from PIL import Image

from stitching.report import main, render_reconstructions
from stitching.report.heatmaps import heatmap
from tests.report.made import make_cell, make_pictures

BEST = (253, 231, 37)  # the bright end of viridis
BLANK = (236, 236, 236)


def pixels(source):
    with Image.open(source) as image:
        return np.asarray(image.convert("RGB"))


def places(image, colour):
    """Return rows and columns of the pixels of one colour."""
    return np.nonzero((image == np.array(colour, np.uint8)).all(axis=2))


def draw(values, **options):
    texts = [["x" for _ in row] for row in values]
    names = [f"e{i}" for i in range(len(values))], [f"d{j}" for j in range(len(values[0]))]
    options = {"title": "t", "subtitle": "s", "lower_is_better": True} | options
    return heatmap(values, texts, *names, **options)


@pytest.mark.parametrize(("lower_is_better", "column"), [(True, 0), (False, 1)])
def test_the_better_end_is_bright(tmp_path, lower_is_better, column):
    (tmp_path / "h.png").write_bytes(draw([[1.0, 2.0]], lower_is_better=lower_is_better))
    image = pixels(tmp_path / "h.png")
    _, x = places(image, BEST)
    left, right = (x < 0.45 * image.shape[1]).sum(), (x > 0.5 * image.shape[1]).sum()
    assert (left > right) == (column == 0)


def test_a_measure_with_its_own_unit_per_column_is_coloured_by_column(tmp_path):
    values = [[1.0, 100.0], [2.0, 200.0]]
    counts = []
    for by_column in (False, True):
        (tmp_path / "h.png").write_bytes(draw(values, by_column=by_column))
        counts.append(len(places(pixels(tmp_path / "h.png"), BEST)[0]))
    assert counts[1] > 1.7 * counts[0]


@pytest.mark.parametrize("word", ["missing", "failed", "invalid"])
def test_a_cell_without_a_number_is_hatched(tmp_path, word):
    (tmp_path / "h.png").write_bytes(draw([[0.5, word], [0.1, 0.2]]))
    (tmp_path / "full.png").write_bytes(draw([[0.5, 0.4], [0.1, 0.2]]))
    blank = len(places(pixels(tmp_path / "h.png"), BLANK)[0])
    assert blank > 1000 + len(places(pixels(tmp_path / "full.png"), BLANK)[0])


@pytest.mark.parametrize(
    "values",
    [[[1.0]], [[1.0, 1.0]], [["missing", 2.0], ["missing", 3.0]], [[-50.0, 0.9]]],
    ids=["one cell", "no spread", "empty column", "below the floor"],
)
def test_a_heatmap_of_few_values_is_drawn(values):
    assert draw(values, floor=0.0, by_column=len(values) > 1).startswith(b"\x89PNG")


def test_a_heatmap_is_the_same_every_time_whatever_the_users_settings():
    import matplotlib

    first = draw([[0.1, 0.2]])
    with matplotlib.rc_context({"font.size": 30, "figure.facecolor": "red"}):
        second = draw([[0.1, 0.2]])
    assert first == second


def test_pictures_have_decoders_as_rows_and_encoders_as_columns(tmp_path):
    colours = {}
    for i, encoder in enumerate(("a", "b", "c")):
        for j, decoder in enumerate(("d", "e")):
            folder = make_cell(tmp_path, encoder, decoder, 2 * i + j)
            colours[i, j] = (50 + 60 * i, 200 - 60 * j, 77)
            make_pictures(folder, colours[i, j], original=(255, 0, 255))
    main([str(tmp_path)])
    image = pixels(tmp_path / "pictures.png")
    centre = {key: [v.mean() for v in places(image, colour)] for key, colour in colours.items()}
    assert centre[0, 0][0] == centre[1, 0][0] == centre[2, 0][0] < centre[0, 1][0]
    assert centre[0, 0][1] == centre[0, 1][1] < centre[1, 0][1] < centre[2, 0][1]
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
        main([str(tmp_path)])


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
