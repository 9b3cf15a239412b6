"""C2, C3: which encoders stitch well."""

import json

import numpy as np
import pytest

from stitching.claims import read_evidence
from stitching.claims.encoders import C2, C3
from tests.claims.grids import FLOOR, OWN, WIDTHS, answer, make_grid, values
from tests.report.made import drawn, make_cell, scores

GOOD = {"nf": 0.9, "vqvae": 0.9, "vae": 0.7, "dm": 0.7}

SIZES = (100, 200, 400, 1600)


def make_curves(root, shares, sizes=SIZES, width=512, slow=(), loss=0.0):
    """A sweep over fit images, whose limits are shares, at full width and at `width`.

    Args:
        root: Folder.
        shares: Recovered share of each encoder in the limit.
        sizes: Numbers of fit images.
        width: Of the narrow rows; None: there are none.
        slow: Encoders that are far from their limit.
        loss: What an encoder with few components loses.
    """
    number = 0
    for n in sizes:
        rows = [("random", "random", None)] if n == sizes[-1] else []
        if width is None or n == sizes[-1]:
            rows += [(x, x, None) for x in shares]
        else:
            rows += [("vae", "vae", None)]
        rows += [(f"{x}[width={width}]", x, width) for x in shares if width and x != "vae"]
        for label, encoder, cut in rows:
            for decoder in shares:
                if cut and encoder == decoder:
                    continue
                kept = {"random": 0.0, decoder: 1.0}.get(encoder)
                if kept is None:
                    kept = shares[encoder] - (loss if cut and encoder == "nf" else 0.0)
                    kept -= (40.0 if encoder in slow else 4.0) / n
                items = scores(FLOOR - kept * (FLOOR - OWN), shared=0.005)
                draws = {"image/rmse": drawn(items, np.sqrt), "image/lpips": drawn(items)}
                cell = make_cell(
                    root, label, decoder, number, draws=draws,
                    config={"data": {"name": "faces", "n_train": n}}, n_train=n,
                    encoder__model=encoder, decoder__model=decoder, weights__encoder=encoder,
                    weights__decoder=decoder, d_target=WIDTHS[decoder],
                    d_source=cut or WIDTHS[encoder],
                )  # fmt: skip
                if cut:
                    facts = json.loads((cell / "metrics.json").read_text())
                    (cell / "metrics.json").write_text(json.dumps(facts | {"encoder/width": cut}))
                number += 1
    return root


# ---- C2


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [({}, "supported"), ({"vae": 0.95}, "not supported"), ({"vae": 0.9}, "cannot tell")],
)
def test_c2_at_one_width_and_in_the_limit(tmp_path, changed, verdict):
    found = answer(C2(), make_curves(tmp_path, GOOD | changed))
    assert found.verdict == verdict
    assert len(found.decisive) == 16
    limit = values(found.decisive)[
        "extrapolated, nf[width=512] - dm[width=512] on vqvae, vae, LPIPS"
    ]
    assert limit == pytest.approx(0.2, abs=0.01)


def test_c2_goes_by_the_limit_where_an_encoder_needs_many_images(tmp_path):
    # `vae` learns slowly: with the images that there are `nf` leads, with more it does not.
    root = make_curves(tmp_path, GOOD | {"vae": 0.92}, slow=["vae"])
    found = answer(C2(), root)
    numbers = values(found.decisive)
    assert numbers["512 latents, nf[width=512] - vae on vqvae, dm, LPIPS"] > 0
    assert numbers["extrapolated, nf[width=512] - vae on vqvae, dm, LPIPS"] < 0
    assert found.verdict == "not supported"


def test_c2_goes_by_equal_width_where_the_wide_encoder_leads_by_its_width(tmp_path):
    found = answer(C2(), make_curves(tmp_path, GOOD, loss=0.4))
    assert values(found.facts)["nf - vae on vqvae, dm, LPIPS"] > 0
    assert found.verdict == "not supported"


@pytest.mark.parametrize(
    ("options", "lacks"),
    [
        ({"width": None}, "the four encoders at one width"),
        ({"sizes": (400, 800, 1600)}, "learning curves"),
    ],
)
def test_c2_is_open_without_equal_width_or_the_limit(tmp_path, options, lacks):
    found = answer(C2(), make_curves(tmp_path, GOOD, **options))
    assert found.verdict == "cannot tell"
    assert found.reason.startswith(f"not measured: {lacks}")
    assert "would be supported" in found.reason
    assert found.run


def test_c2_of_a_plain_grid_is_open_and_gives_the_plain_contrasts(tmp_path):
    found = answer(C2(), make_grid(tmp_path, share=lambda encoder, decoder: GOOD[encoder]))
    assert found.verdict == "cannot tell"
    assert values(found.decisive)["nf - vae on vqvae, dm, LPIPS"] == pytest.approx(0.2)


def test_c2_compares_on_the_columns_where_both_are_foreign(tmp_path):
    def share(encoder, decoder):
        # `nf` would win by the column of `vae`, in which `vae` itself has no map.
        return 0.99 if decoder == "vae" else {"nf": 0.6, "vae": 0.8}.get(encoder, 0.7)

    found = answer(C2(), make_grid(tmp_path, share=share))
    assert values(found.decisive)["nf - vae on vqvae, dm, LPIPS"] == pytest.approx(-0.2)


def test_c2_needs_all_four_kinds(tmp_path):
    found = answer(C2(), make_grid(tmp_path, models=("vae", "nf", "dm")))
    assert found.verdict == "not run"
    assert found.reason == "needs one model of the kind `vqvae`, found no model"


def test_c2_needs_the_floor(tmp_path):
    found = answer(C2(), make_grid(tmp_path, rows=()))
    assert found.verdict == "not run"
    assert "needs `random`" in found.reason


def test_c2_does_not_choose_among_models_of_a_kind(tmp_path):
    found = answer(C2(), make_grid(tmp_path, models=("nf-a", "nf-b", "vqvae", "vae", "dm")))
    assert found.reason == "needs one model of the kind `nf`, found 2 models (nf-a, nf-b)"


# ---- C3

BOTH = ("pca", "untrained-vae")


def better_than(pca=0.5, untrained=0.5, models=0.8):
    levels = {"pca": pca, "untrained-vae": untrained}
    return lambda encoder, decoder: levels.get(encoder, models)


def asked(root, share, rows=BOTH, gain=0.1, **options):
    options = {"protocol__measures": "image/rmse,image/lpips,probe/kappa"} | options
    return answer(C3(), named(make_grid(root, share=share, gain=gain, rows=rows, **options)))


def named(root):
    """Give the row of untrained networks the kind that cells record."""
    for path in root.glob("untrained-vae-to-*/metrics.json"):
        facts = json.loads(path.read_text()) | {"encoder/model": "untrained"}
        path.write_text(json.dumps(facts))
    return root


@pytest.mark.parametrize(
    ("share", "gain", "noise", "verdict"),
    [
        (better_than(), 0.1, 0.002, "supported"),
        (better_than(untrained=0.9), 0.1, 0.002, "not supported"),
        (better_than(untrained=0.79), 0.1, 0.02, "cannot tell"),
        (better_than(), -0.1, 0.002, "not supported"),  # components of pixels do better
    ],
)
def test_c3(tmp_path, share, gain, noise, verdict):
    found = asked(tmp_path, share, gain=gain, noise=noise)
    assert found.verdict == verdict
    assert len(found.decisive) == 48


def test_c3_is_no_matter_of_random(tmp_path):
    # Every encoder is worse than the floor; nothing but the controls counts.
    share = better_than(-0.9, -0.9, -0.5)
    assert asked(tmp_path, share, rows=("random", *BOTH)).verdict == "supported"


def test_c3_takes_the_row_of_pca_for_measures_of_latents(tmp_path):
    def r2(encoder, decoder):
        return {"latent/r2": drawn(scores(0.2 if encoder in BOTH else 0.5, own=0.01))}

    found = asked(tmp_path, better_than(), extra=r2, protocol__measures="latent/r2")
    assert found.verdict == "supported"
    assert values(found.decisive)["vae-to-nf over pca, latent/r2"] == pytest.approx(0.3)


def test_c3_is_open_without_untrained_networks(tmp_path):
    found = asked(tmp_path, better_than(), rows=("pca",))
    assert found.verdict == "cannot tell"
    assert found.reason.startswith("not measured: `untrained` as encoder. What is there would")
    assert found.run[0].startswith("python launch.py experiment=controls")


def test_c3_that_components_of_pixels_refute_needs_no_other_control(tmp_path):
    found = asked(tmp_path, better_than(), rows=("pca",), gain=-0.1)
    assert found.verdict == "not supported"


def test_c3_says_which_measures_no_cell_has(tmp_path):
    found = asked(tmp_path, better_than(), protocol__measures="image/lpips,image/fid")
    assert found.verdict == "supported"
    assert "not measured: image/fid" in found.notes


def test_c3_does_not_guess_which_end_is_better(tmp_path):
    def mine(encoder, decoder):
        return {"image/mine": drawn(scores(0.5))}

    found = asked(tmp_path, better_than(), extra=mine, protocol__measures="image/lpips,image/mine")
    assert "left out, its better end is not known: image/mine" in found.notes
    assert len(found.decisive) == 24


def test_c3_is_open_in_a_grid_with_holes(tmp_path):
    def share(encoder, decoder):
        return None if (encoder, decoder) == ("dm", "nf") else better_than()(encoder, decoder)

    found = asked(tmp_path, share)
    assert found.verdict == "cannot tell"
    assert found.reason.startswith("not measured: dm-to-nf (missing). What is there would be")


def test_evidence_of_a_sweep_over_fit_images_is_that_with_the_most(tmp_path):
    (evidence,) = read_evidence([make_curves(tmp_path, GOOD, width=None)])
    assert evidence.first.number("n_train") == 1600
    assert list(evidence.smaller) == [100, 200, 400]
