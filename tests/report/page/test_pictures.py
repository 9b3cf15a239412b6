import base64
import io

from PIL import Image

from stitching.report.limits import Limits
from stitching.results.output import Output
from tests.report.made import make_cell, make_pictures
from tests.report.page.made import cell, read

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20">'
    '<rect width="9" height="9"/></svg>'
)


def draw(output, *names):
    output.write({f"figures/{name}": SVG.encode() for name in names})


def test_a_picture_is_made_smaller_by_a_whole_factor(tmp_path):
    cell(tmp_path, "vae", "vae", 0)
    picture = read(tmp_path, limits=Limits(picture_width=25)).chunks["picture-0-0"]
    data = base64.b64decode(picture["url"].partition(",")[2])
    assert Image.open(io.BytesIO(data)).size == (20, 10)
    assert (picture["width"], picture["height"]) == (60, 30)


def test_a_picture_that_cannot_be_read_is_noted(tmp_path):
    folder = cell(tmp_path, "vae", "vae", 0)
    (folder / "reconstructions.png").write_bytes(b"no picture")
    notes = read(tmp_path).index["notes"]
    assert any("vae-to-vae_0: reconstructions.png cannot be read" in note for note in notes)


def test_each_cell_has_a_tile_of_one_test_image_while_there_is_room(tmp_path):
    for number, decoder in enumerate(("vae", "nf", "dm")):
        folder = cell(tmp_path, "vae", decoder, number)
        if decoder != "dm":
            make_pictures(folder, (10 * number, 0, 0), size=64)
    tiles = read(tmp_path, limits=Limits(tile_width=32)).chunks["tiles-0"]
    sizes = [
        Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).size if url else None
        for url in [tiles["original"], *tiles["of"]]
    ]
    assert sizes == [(32, 32), (32, 32), (32, 32), None]
    page = read(tmp_path, limits=Limits(tiles_bytes=10))
    assert "tiles-0" not in page.chunks
    assert any("1 grids of pictures are not in this page" in x for x in page.index["notes"])


def test_figures_are_in_the_page_and_absent_ones_say_what_they_need(tmp_path):
    cell(tmp_path, "vae", "vae", 0)
    draw(Output(tmp_path), "figure3.svg", "figure3_fid.svg")
    page = read(tmp_path)
    there = [figure for figure in page.index["figures"] if "href" in figure]
    assert [(figure["number"], figure["part"]) for figure in there] == [(3, ""), (3, "fid")]
    assert page.chunks["figure-0"] == SVG
    absent = [figure["number"] for figure in page.index["figures"] if "needs" in figure]
    assert absent == [1, 2, 4, 5, 6]


def test_figures_of_each_protocol_are_found(tmp_path):
    cell(tmp_path, "vae", "vae", 0)
    make_cell(tmp_path, "vae", "vae", 1, protocol="paper")
    draw(Output(tmp_path).variant("strict"), "figure4.svg")
    figures = [f for f in read(tmp_path).index["figures"] if "href" in f]
    assert [(f["variant"], f["href"]) for f in figures] == [
        ("strict", "report/strict/figures/figure4.svg")
    ]


def test_a_figure_beyond_the_cap_is_linked(tmp_path):
    cell(tmp_path, "vae", "vae", 0)
    draw(Output(tmp_path), "figure1.svg")
    figure = read(tmp_path, limits=Limits(figures_bytes=0)).index["figures"][0]
    assert (figure["href"], figure["chunk"]) == ("figures/figure1.svg", "")
