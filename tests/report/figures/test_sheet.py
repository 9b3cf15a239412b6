"""Pages, and numbers on them."""

import pytest

from stitching.report.drawing.matrix import ColumnLabels, Entry, Scale, draw_matrix
from stitching.report.drawing.sheet import ON_DARK, ON_LIGHT, Sheet, page_style, width_of, wrap
from tests.report.figures.grids import words


@pytest.fixture
def style():
    with page_style():
        yield


def test_the_width_of_a_text_is_what_it_takes(style):
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    text = "0123456789.0123456789"
    path = TextPath((0, 0), text, size=7, prop=FontProperties(family="DejaVu Sans"))
    assert width_of(text, 7) == pytest.approx(path.get_extents().width / 72, rel=0.02)


def test_lines_are_broken_at_spaces_to_fit(style):
    lines = wrap("some words of a longer note", 7, 1.0)
    assert " ".join(lines) == "some words of a longer note"
    assert all(width_of(line, 7) <= 1.0 for line in lines)


def test_a_word_wider_than_the_page_has_a_line_of_its_own(style):
    assert wrap("a verylongwordindeed b", 7, 0.3) == ["a", "verylongwordindeed", "b"]


def test_a_page_is_as_high_as_what_is_on_it(style):
    from xml.etree import ElementTree

    sheet = Sheet(7.0)
    sheet.y += 1.9
    root = ElementTree.fromstring(sheet.save("t", "d")["svg"])
    assert float(root.get("height").removesuffix("pt")) == pytest.approx(144, abs=0.5)


@pytest.mark.parametrize(("value", "place"), [(2.0, 0.0), (4.0, 1.0), (9.0, 1.0), (-9.0, 0.0)])
def test_a_colour_is_the_place_of_a_number_on_its_scale(value, place):
    from matplotlib import colormaps

    assert Scale("viridis", 2.0, 4.0).colour(value) == colormaps["viridis"](place)[:3]


def test_without_spread_a_number_has_the_colour_of_the_middle():
    from matplotlib import colormaps

    assert Scale.over([3.0, 3.0], "viridis").colour(3.0) == colormaps["viridis"](0.5)[:3]


def entry(*texts, **how):
    return Entry(0.5, texts, **how)


@pytest.mark.parametrize(("width", "shown"), [(0.5, "98.44"), (0.2, "98"), (0.05, None)])
def test_numbers_are_shortened_to_fit_and_left_out_at_last(written, width, shown):
    scale = Scale("viridis", 0, 1)
    draw_matrix(
        Sheet(7.0), 0, 0, [[entry("98.44", "98", small="[9, 99]")]], [scale], width=width,
        height=0.2,
    )  # fmt: skip
    assert words(written)[:1] == ([shown] if shown else [])


def test_an_interval_that_does_not_fit_is_left_out(written):
    cell = entry("98", small="[90.0, 99.9]")
    draw_matrix(Sheet(7.0), 0, 0, [[cell]], [Scale("viridis", 0, 1)], width=0.3, height=0.3)
    assert words(written) == ["98"]


def test_letters_can_be_read_on_their_colour(written):
    rows = [[Entry(0.0, ("low",)), Entry(1.0, ("high",))]]
    draw_matrix(Sheet(7.0), 0, 0, rows, [Scale("viridis", 0, 1)] * 2, width=1, height=0.3)
    inks = {text: how["colour"] for text, how in written}
    assert inks["low"] == ON_DARK  # on dark blue
    assert inks["high"] == ON_LIGHT  # on yellow


def test_a_word_that_does_not_fit_becomes_a_dash(written):
    cell = Entry(None, ("unfinished",), kind="absent")
    draw_matrix(Sheet(7.0), 0, 0, [[cell]], [Scale("viridis", 0, 1)], width=0.2, height=0.2)
    assert words(written) == ["-"]


@pytest.mark.parametrize(("width", "texts"), [(0.9, ["Heavy Makeup"]), (0.5, ["Makeup", "Heavy"]),
                                              (0.1, ["Heavy Makeup"])])  # fmt: skip
def test_names_of_columns_stand_in_lines_or_are_turned(written, width, texts):
    ColumnLabels(["Heavy Makeup"], width).draw(Sheet(7.0), 0, 0)
    assert words(written) == texts
    assert [how.get("turned", False) for _, how in written] == [width == 0.1] * len(texts)
