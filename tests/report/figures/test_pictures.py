"""Figures 1 and 2."""

from stitching.report.figures.pictures import gans, picture_grid, picture_strip
from stitching.results.grid import read_grid
from tests.report.figures.grids import make_grid, words
from tests.report.made import make_cell


def test_encoders_are_rows_and_decoders_columns(tmp_path, written):
    picture_grid(make_grid(tmp_path, ("random", "vae"), ("vae", "nf")))
    texts = words(written)
    assert texts.index("nf") < texts.index("original") < texts.index("random")
    assert any(text.startswith("Framed: the decoder's own reconstruction") for text in texts)
    assert "controls, which are no trained models" in " ".join(texts)


def test_a_pair_without_a_picture_is_a_word(tmp_path, written):
    make_grid(tmp_path, ("vae",), ("vae", "nf"))
    make_cell(tmp_path, "nf", "vae", 7, state="failed")
    picture_grid(read_grid(tmp_path))
    assert {"failed", "missing"} <= set(words(written))


def test_the_strip_has_the_gan_alone_and_the_drawn_image(tmp_path, written):
    grid = make_grid(tmp_path, ("random", "gan-celeba64"), ("vae", "gan-celeba64"), data="drawn")
    assert gans(grid) == ["gan-celeba64"]
    picture_strip(grid)
    texts = words(written)
    assert "drawn" in texts
    assert "vae" not in texts
    assert "Framed: the GAN's own latent" in texts[-1]
