"""C1, C7: what maps keep of an image, beyond its pixels."""

import numpy as np
import pytest

from stitching.claims import read_evidence
from stitching.claims.maps import C1, C7
from tests.claims.grids import FLOOR, OWN, answer, make_grid, values
from tests.report.made import drawn, make_cell, scores


def evidence_of(root):
    (found,) = read_evidence([root])
    return found


# ---- the recovered share


def test_the_floor_recovers_nothing_and_the_decoder_everything(tmp_path):
    found = evidence_of(make_grid(tmp_path, share=0.8))
    for key in ("image/rmse", "image/lpips"):
        shares = [found.recovered(name, "nf", key).value for name in ("random", "vae", "nf")]
        assert shares == pytest.approx([0.0, 0.8, 1.0])


def test_the_recovered_share_is_computed_draw_by_draw(tmp_path):
    # Items differ by far more than pairs do, but all cells share their difficulty.
    found = evidence_of(make_grid(tmp_path, share=0.8, noise=0.0, shared=0.01))
    low, high = found.recovered("vae", "nf", "image/lpips").interval()
    assert high - low < 1e-4


def test_a_decoder_that_is_no_better_than_the_floor_recovers_an_undefined_share(tmp_path):
    for number, (encoder, level) in enumerate((("random", OWN), ("vae", 0.05), ("nf", FLOOR))):
        make_cell(tmp_path, encoder, "nf", number, draws={"image/lpips": drawn(scores(level))})
    share = evidence_of(tmp_path).recovered("vae", "nf", "image/lpips")
    assert (share.value, share.interval()) == (None, None)


# ---- C1


@pytest.mark.parametrize(
    ("gain", "beyond", "noise", "verdict"),
    [
        (0.1, 0.2, 0.002, "supported"),
        (-0.02, 0.2, 0.0002, "supported"),  # worse than pixels, by less than the margin
        (-0.3, 0.2, 0.002, "not supported"),
        (-0.05, 0.2, 0.002, "cannot tell"),
        (0.1, 0.0, 0.002, "explained by pixels"),
        (0.1, -0.1, 0.002, "explained by pixels"),
        (-0.3, -0.1, 0.002, "not supported"),
    ],
)
def test_c1(tmp_path, gain, beyond, noise, verdict):
    found = answer(C1(), make_grid(tmp_path, gain=gain, beyond=beyond, noise=noise))
    assert found.verdict == verdict
    assert "10 of 12 pairs differ in the width of their latents" in found.notes


def test_c1_divides_gains_by_the_error_of_the_control(tmp_path):
    found = values(answer(C1(), make_grid(tmp_path, gain=0.1)).decisive)
    names = (
        "vae-to-nf, RMSE against pixels",
        "dm-to-vae, LPIPS against as many components of pixels",
    )
    assert [found[name] for name in names] == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize("key", ["gain", "beyond"])
def test_c1_is_decided_by_the_worst_pair(tmp_path, key):
    def low(encoder, decoder):
        return -0.3 if (encoder, decoder) == ("vae", "dm") else 0.2

    found = answer(C1(), make_grid(tmp_path, **{key: low}))
    assert found.verdict == ("not supported" if key == "gain" else "explained by pixels")
    assert "vae-to-dm" in found.reason


def test_c1_names_the_pair_that_is_worst_against_pixels(tmp_path):
    def low(encoder, decoder):
        return -0.3 if decoder == "dm" else 0.2

    found = answer(C1(), make_grid(tmp_path, gain=low))
    start = "worse than the maps from pixels by more than 5% of their error: "
    assert found.reason.startswith(start)
    assert found.reason.endswith(", and 11 more of 48")


def test_c1_is_not_decided_by_the_recovered_share(tmp_path):
    # Almost nothing of the image comes through, and yet more than from its pixels.
    found = answer(C1(), make_grid(tmp_path, share=0.1))
    assert found.verdict == "supported"
    assert values(found.facts)["share recovered, median of 12 pairs, LPIPS"] == pytest.approx(0.1)


def test_c1_gives_the_share_that_a_thumbnail_recovers(tmp_path):
    root = make_grid(tmp_path, share=0.8, rows=("random", "thumbnail"))
    found = answer(C1(), root)
    assert values(found.facts)["share recovered, median of thumbnail, LPIPS"] == pytest.approx(0.8)


def test_c1_needs_no_floor(tmp_path):
    found = answer(C1(), make_grid(tmp_path, rows=()))
    assert found.verdict == "supported"
    assert "the share recovered is not known without the encoder `random`" in found.notes


def test_c1_needs_the_contrasts(tmp_path):
    for number, (encoder, decoder) in enumerate([("vae", "nf"), ("nf", "vae")]):
        make_cell(tmp_path, encoder, decoder, number, image__lpips=0.1)
    found = answer(C1(), tmp_path)
    assert found.verdict == "not run"
    assert found.reason.startswith("needs cells of trained models with latent/r2_beyond_pixels")
    assert found.run == ["python launch.py experiment=grid data=faces"]


# ---- C7


@pytest.mark.parametrize(
    ("to_gan", "verdict"),
    [(0.2, "supported"), (-0.3, "not supported"), (-0.05, "cannot tell")],
)
def test_c7(tmp_path, to_gan, verdict):
    def gain(encoder, decoder):
        return to_gan if (encoder, decoder) == ("dm", "gan") else 0.2

    root = make_grid(tmp_path, models=("vae", "dm", "gan"), gain=gain, data="drawn")
    assert answer(C7(), root).verdict == verdict


def test_c7_looks_at_the_column_of_the_gan_alone(tmp_path):
    def gain(encoder, decoder):
        return 0.2 if decoder == "gan" else -0.5

    found = answer(C7(), make_grid(tmp_path, models=("vae", "dm", "gan"), gain=gain))
    assert found.verdict == "supported"
    assert {name.partition(",")[0] for name in values(found.decisive)} == {
        "vae-to-gan",
        "dm-to-gan",
    }


def test_c7_is_explained_by_pixels_as_c1_is(tmp_path):
    found = answer(C7(), make_grid(tmp_path, models=("vae", "dm", "gan"), beyond=0.0))
    assert found.verdict == "explained by pixels"
    assert "2 of 2 pairs need not share anything beyond pixels" in found.reason


def test_c7_is_open_without_every_encoder(tmp_path):
    def share(encoder, decoder):
        return None if (encoder, decoder) == ("dm", "gan") else 0.9

    models = ("vae", "vqvae", "dm", "gan")
    found = answer(C7(), make_grid(tmp_path, models=models, share=share))
    assert found.verdict == "cannot tell"
    assert found.reason.startswith("not measured: dm-to-gan (missing). What is there would be")


def test_c7_does_not_apply_without_a_gan(tmp_path):
    assert not C7().applies(evidence_of(make_grid(tmp_path)))


def test_c7_says_which_grid_has_a_gan(tmp_path):
    draws = {"image/lpips": drawn(scores(0.1)), "image/rmse": drawn(scores(0.1), np.sqrt)}
    make_cell(tmp_path, "vae", "gan", 0, draws=draws)
    found = answer(C7(), tmp_path)
    assert found.verdict == "not run"
    assert found.run == ["python launch.py experiment=grid-gan"]
