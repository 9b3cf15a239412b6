"""C1, C2, C3, C7: what maps keep of an image."""

import numpy as np
import pytest

from stitching.claims import read_evidence
from stitching.claims.maps import C1, C2, C3, C7
from tests.claims.grids import FLOOR, MODELS, OWN, answer, make_grid, values
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
    ("share", "noise", "verdict"),
    [
        (0.8, 0.002, "supported"),
        (0.3, 0.002, "not supported"),
        (0.5, 0.002, "not resolved"),
        (0.51, 0.02, "not resolved"),
    ],
)
def test_c1(tmp_path, share, noise, verdict):
    found = answer(C1(), make_grid(tmp_path, share=share, noise=noise))
    assert found.verdict == verdict
    assert "10 of 12 pairs differ in the width of their latents" in found.notes


def test_c1_is_decided_by_pairs_of_different_width_too(tmp_path):
    # Most pairs are of one width and do well; the median of all pairs hides the others.
    models = ("vae", "gan", "pixels-no", "nf")  # 512, 512, a baseline, 12288

    def share(encoder, decoder):
        return 0.2 if "nf" in (encoder, decoder) else 0.9

    same = ("vae", "gan", "one", "two", "nf")
    found = answer(C1(), make_grid(tmp_path / "a", models=same, share=share))
    assert values(found.decisive)["median of 20 pairs, LPIPS"] == pytest.approx(0.9)
    assert values(found.decisive)["median of 8 pairs of different width, LPIPS"] == (
        pytest.approx(0.2)
    )
    assert found.verdict == "not supported"
    assert "pixels-no" not in evidence_of(make_grid(tmp_path / "b", models=models)).trained


def test_c1_names_the_worst_pair(tmp_path):
    found = answer(
        C1(), make_grid(tmp_path, share=lambda e, d: 0.6 if (e, d) == ("dm", "vae") else 0.9)
    )
    assert values(found.facts)["lowest, dm-to-vae, LPIPS"] == pytest.approx(0.6)


def test_c1_leaves_out_pairs_that_are_not_there_and_says_so(tmp_path):
    found = answer(C1(), make_grid(tmp_path, share=lambda e, d: None if d == "nf" else 0.9))
    assert found.verdict == "supported"
    assert "left out, not measured: vae-to-nf, vqvae-to-nf, dm-to-nf" in found.notes


@pytest.mark.parametrize("gone", ["random", "diagonal"])
def test_c1_needs_floor_and_diagonal(tmp_path, gone):
    def share(encoder, decoder):
        return 0.9

    root = make_grid(tmp_path, share=share, floor=gone != "random")
    if gone == "diagonal":
        for name in MODELS:
            (cell,) = root.glob(f"{name}-to-{name}_*")
            for file in cell.iterdir():
                file.unlink()
            cell.rmdir()
    found = answer(C1(), root)
    assert found.verdict == "not run"
    assert "`random` and the decoder itself as encoders" in found.reason
    assert found.run == ["python launch.py experiment=grid data=faces"]


def test_c1_without_draws_is_not_resolved(tmp_path):
    for number, (encoder, level) in enumerate((("random", 0.3), ("vae", 0.1), ("nf", 0.0))):
        make_cell(tmp_path, encoder, "nf", number, image__rmse=level, image__lpips=level)
    make_cell(tmp_path, "vae", "vae", 9, image__lpips=0.1)
    found = answer(C1(), tmp_path)
    assert found.verdict == "not resolved"
    assert "without interval" in found.reason
    assert values(found.decisive)["median of 1 pairs, squared error"] == pytest.approx(8 / 9)


# ---- C2


def stitched(scores_of):
    return lambda encoder, decoder: scores_of[encoder]


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        ({"nf": 0.9, "vqvae": 0.9, "vae": 0.7, "dm": 0.7}, "supported"),
        ({"nf": 0.9, "vqvae": 0.9, "vae": 0.95, "dm": 0.7}, "not supported"),
        ({"nf": 0.9, "vqvae": 0.9, "vae": 0.9, "dm": 0.7}, "not resolved"),
    ],
)
def test_c2(tmp_path, shares, verdict):
    found = answer(C2(), make_grid(tmp_path, share=stitched(shares)))
    assert found.verdict == verdict
    assert len(found.decisive) == 8


def test_c2_compares_on_the_columns_where_both_are_foreign(tmp_path):
    def share(encoder, decoder):
        # `nf` would win by the column of `vae`, in which `vae` itself has no map.
        return 0.99 if decoder == "vae" else {"nf": 0.6, "vae": 0.8}.get(encoder, 0.7)

    found = answer(C2(), make_grid(tmp_path, share=share))
    assert values(found.decisive)["nf - vae on vqvae, dm, LPIPS"] == pytest.approx(-0.2)
    assert found.verdict == "not supported"


def test_c2_needs_all_four_kinds(tmp_path):
    found = answer(C2(), make_grid(tmp_path, models=("vae", "nf", "dm")))
    assert found.verdict == "not run"
    assert found.reason == "needs one model of the kind `vqvae`, found no model"


def test_c2_takes_published_models_of_a_kind(tmp_path):
    names = {"nf-celeba64": 0.9, "vqvae-celeba64": 0.9, "vae-celeba64": 0.7, "dm-celeba64": 0.7}
    found = answer(C2(), make_grid(tmp_path, models=tuple(names), share=stitched(names)))
    assert found.verdict == "supported"


def test_c2_does_not_choose_among_models_of_a_kind(tmp_path):
    found = answer(C2(), make_grid(tmp_path, models=("nf-a", "nf-b", "vqvae", "vae", "dm")))
    assert found.reason == "needs one model of the kind `nf`, found 2 models (nf-a, nf-b)"


# ---- C3


@pytest.mark.parametrize(
    ("share", "noise", "verdict"),
    [(0.5, 0.002, "supported"), (0.01, 0.02, "not resolved"), (-0.5, 0.002, "not supported")],
)
def test_c3(tmp_path, share, noise, verdict):
    measures = {"protocol__measures": "image/rmse,image/lpips,probe/kappa"}
    found = answer(C3(), make_grid(tmp_path, share=share, noise=noise, **measures))
    assert found.verdict == verdict
    assert len(found.decisive) == 24


def test_c3_knows_that_higher_may_be_better(tmp_path):
    def r2(encoder, decoder):
        return {"latent/r2": drawn(scores(0.0 if encoder == "random" else 0.5, own=0.01))}

    found = answer(C3(), make_grid(tmp_path, extra=r2, protocol__measures="latent/r2"))
    assert found.verdict == "supported"
    assert values(found.decisive)["vae-to-nf, latent/r2"] == pytest.approx(0.5)


def test_c3_says_which_measures_no_cell_has(tmp_path):
    found = answer(C3(), make_grid(tmp_path, protocol__measures="image/lpips,image/fid"))
    assert found.verdict == "supported"
    assert "not measured: image/fid" in found.notes


def test_c3_does_not_guess_which_end_is_better(tmp_path):
    def mine(encoder, decoder):
        return {"image/mine": drawn(scores(0.5))}

    measures = {"protocol__measures": "image/lpips,image/mine"}
    found = answer(C3(), make_grid(tmp_path, extra=mine, **measures))
    assert "left out, its better end is not known: image/mine" in found.notes
    assert len(found.decisive) == 12


def test_c3_is_not_supported_by_a_grid_with_holes(tmp_path):
    root = make_grid(tmp_path, share=lambda e, d: None if (e, d) == ("dm", "nf") else 0.9)
    found = answer(C3(), root)
    assert found.verdict == "not resolved"
    assert found.reason == "not all pairs are measured: without dm-to-nf"


def test_c3_needs_the_floor(tmp_path):
    found = answer(C3(), make_grid(tmp_path, floor=False))
    assert (found.verdict, found.reason) == (
        "not run", "needs the encoder `random` in the columns of the decoders",
    )  # fmt: skip


# ---- C7


@pytest.mark.parametrize(
    ("to_gan", "verdict"),
    [(0.9, "supported"), (0.2, "not supported"), (0.5, "not resolved")],
)
def test_c7(tmp_path, to_gan, verdict):
    def share(encoder, decoder):
        return to_gan if decoder == "gan" and encoder == "dm" else 0.9

    root = make_grid(tmp_path, models=("vae", "dm", "gan"), share=share, data="drawn")
    assert answer(C7(), root).verdict == verdict


def test_c7_looks_at_the_column_of_the_gan_alone(tmp_path):
    def share(encoder, decoder):
        return 0.9 if decoder == "gan" else 0.1

    root = make_grid(tmp_path, models=("vae", "dm", "gan"), share=share)
    found = answer(C7(), root)
    assert found.verdict == "supported"
    assert set(values(found.decisive)) == {
        "vae, squared error", "vae, LPIPS", "dm, squared error", "dm, LPIPS",
    }  # fmt: skip


def test_c7_is_not_supported_without_every_encoder(tmp_path):
    def share(encoder, decoder):
        return None if (encoder, decoder) == ("dm", "gan") else 0.9

    found = answer(C7(), make_grid(tmp_path, models=("vae", "dm", "gan"), share=share))
    assert found.verdict == "not resolved"
    assert found.reason == "not all pairs are measured: without dm-to-gan"


def test_c7_does_not_apply_without_a_gan(tmp_path):
    assert not C7().applies(evidence_of(make_grid(tmp_path)))


def test_c7_needs_the_gans_own_reconstruction(tmp_path):
    for number, encoder in enumerate(("random", "vae")):
        draws = {"image/lpips": drawn(scores(0.1)), "image/rmse": drawn(scores(0.1), np.sqrt)}
        make_cell(tmp_path, encoder, "gan", number, draws=draws)
    found = answer(C7(), tmp_path)
    assert found.verdict == "not run"
    assert found.run == ["python launch.py experiment=grid-gan"]
