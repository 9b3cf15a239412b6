"""C4, C9: probes of mapped latents."""

import numpy as np
import pytest

from stitching.claims import read_evidence
from stitching.claims.probes import C4, C9
from tests.claims.grids import answer, make_grid, values
from tests.report.made import drawn, make_cell, scores

KAPPA = {"protocol__measures": "image/lpips,probe/kappa"}
ATTRIBUTES = {"Male": 0.9, "Heavy_Makeup": 0.85, "Bald": 0.6, "Smiling": 0.5}


def agreement(attributes, key="probe/kappa_relative", own=0.02, without=()):
    """Draws of the agreement on each attribute, equal in all pairs but for noise."""

    def extra(encoder, decoder):
        seed = 1000 * sum(map(ord, encoder)) + sum(map(ord, decoder))
        return {
            f"{key}/{name}": drawn(scores(level, own=own, seed=seed + len(name)))
            for name, level in attributes.items()
            if (encoder, decoder, name) not in without
        }

    return extra


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "supported"),
        ({"Heavy_Makeup": 0.95}, "supported"),
        ({"Bald": 0.95}, "not supported"),
        ({"Bald": 0.87}, "not supported"),  # one of the two is enough
        ({"Bald": 0.8495}, "cannot tell"),
    ],
)
def test_c4(tmp_path, changed, verdict):
    extra = agreement(ATTRIBUTES | changed)
    assert answer(C4(), make_grid(tmp_path, extra=extra, **KAPPA)).verdict == verdict


def test_c4_gives_the_ranking(tmp_path):
    found = answer(C4(), make_grid(tmp_path, extra=agreement(ATTRIBUTES), **KAPPA))
    assert list(values(found.facts)) == ["1. Male", "2. Heavy_Makeup", "3. Bald", "4. Smiling"]
    assert "probe/kappa_relative, mean over 12 pairs of models" in found.notes


def test_c4_gives_what_the_labels_alone_reach(tmp_path):
    def extra(encoder, decoder):
        levels = ATTRIBUTES if encoder != "labels" else dict.fromkeys(ATTRIBUTES, 0.99)
        return agreement(levels)(encoder, decoder)

    root = make_grid(tmp_path, extra=extra, rows=("random", "labels"), **KAPPA)
    found = answer(C4(), root)
    assert found.verdict == "supported"
    assert values(found.facts)["labels: Smiling"] == pytest.approx(0.99)
    other = answer(C4(), make_grid(tmp_path / "none", extra=agreement(ATTRIBUTES), **KAPPA))
    assert any("is not known without encoder=labels" in note for note in other.notes)


def test_c4_needs_agreement_relative_to_that_of_two_probes(tmp_path):
    extra = agreement(ATTRIBUTES, "probe/kappa")
    found = answer(C4(), make_grid(tmp_path, extra=extra, **KAPPA))
    assert found.verdict == "not run"
    assert found.reason.startswith("needs probe/kappa_relative of Male and Heavy_Makeup")


def test_c4_asks_only_about_pairs_of_trained_models(tmp_path):
    def extra(encoder, decoder):
        high = {"Male": 0.9, "Heavy_Makeup": 0.9, "Bald": 0.5}
        low = {"Male": 0.0, "Heavy_Makeup": 0.0, "Bald": 1.0}  # of no consequence
        return agreement(low if encoder in ("random", decoder) else high)(encoder, decoder)

    assert answer(C4(), make_grid(tmp_path, extra=extra, **KAPPA)).verdict == "supported"


def test_c4_leaves_out_what_is_undefined_in_some_pair(tmp_path):
    extra = agreement(ATTRIBUTES, without=[("vae", "nf", "Bald")])
    found = answer(C4(), make_grid(tmp_path, extra=extra, **KAPPA))
    assert "left out, undefined in some pair: Bald" in found.notes
    assert "Male - Bald" not in values(found.decisive)


def test_c4_leaves_out_what_hardly_a_test_image_has(tmp_path):
    def extra(encoder, decoder):
        found = agreement(ATTRIBUTES)(encoder, decoder)
        value, draws = found["probe/kappa_relative/Bald"]
        return found | {"probe/kappa_relative/Bald": (value, np.full_like(draws, np.nan))}

    found = answer(C4(), make_grid(tmp_path, extra=extra, **KAPPA))
    assert found.verdict == "supported"
    assert "left out, without an interval in some pair: Bald" in found.notes
    assert "3. Bald" not in values(found.facts)


@pytest.mark.parametrize("name", ["Male", "Heavy_Makeup"])
def test_c4_needs_both_attributes_in_every_pair(tmp_path, name):
    extra = agreement(ATTRIBUTES, without=[("vae", "nf", name)])
    found = answer(C4(), make_grid(tmp_path, extra=extra, **KAPPA))
    assert found.verdict == "not run"
    assert found.reason == f"needs probe/kappa_relative of {name} in every pair of models"


def test_c4_cannot_tell_where_two_probes_of_a_model_agree_by_chance(tmp_path):
    facts = {"probe__kappa_relative__Male": None, "probe__kappa_relative_missing__Male": "chance"}
    rest = {name: level for name, level in ATTRIBUTES.items() if name != "Male"}
    found = answer(C4(), make_grid(tmp_path, extra=agreement(rest), **KAPPA, **facts))
    assert found.verdict == "cannot tell"
    assert "probe/kappa_relative of Male is undefined in vae-to-vqvae (chance)" in found.reason


def test_c4_needs_something_to_compare_with(tmp_path):
    extra = agreement({"Male": 0.9, "Heavy_Makeup": 0.9})
    found = answer(C4(), make_grid(tmp_path, extra=extra, **KAPPA))
    assert (found.verdict, found.reason) == ("not run", "needs other attributes to compare with")


def test_c4_does_not_apply_without_probes(tmp_path):
    (evidence,) = read_evidence([make_grid(tmp_path)])
    assert not C4().applies(evidence)


# ---- C9


def classes(kept, own=0.9, majority=0.4, noise=0.05, with_draws=False):
    """Draws of class probes of which a share of the gain above the majority is kept."""

    def extra(encoder, decoder):
        mapped = majority + (1.0 if encoder == decoder else kept) * (own - majority)
        seed = 1000 * sum(map(ord, encoder)) + sum(map(ord, decoder))
        found = {
            "class/accuracy_own": drawn(scores(own, own=noise, seed=7)),
            "class/accuracy_mapped": drawn(scores(mapped, own=noise, seed=seed)),
            "class/accuracy_own/Hair": drawn(scores(own, own=noise, seed=7)),
            "class/accuracy_own/Hair/bald": drawn(scores(own, own=noise, seed=7)),
        }
        return found | ({"class/majority": drawn(scores(majority))} if with_draws else {})

    return extra


FOLDERS = {"data": {"name": "folder", "classes": "folders"}}


def asked(root, kept, share=0.9, config=FOLDERS, **options):
    facts = {} if options.get("with_draws") else {"class__majority": options.get("majority", 0.4)}
    return answer(
        C9(), make_grid(root, share=share, extra=classes(kept, **options), config=config, **facts)
    )


@pytest.mark.parametrize(
    ("kept", "verdict"), [(0.2, "supported"), (0.8, "not supported"), (0.5, "cannot tell")]
)
@pytest.mark.parametrize("with_draws", [False, True])
def test_c9(tmp_path, kept, verdict, with_draws):
    found = asked(tmp_path, kept, with_draws=with_draws)
    assert found.verdict == verdict
    assert values(found.decisive)["median kept share of 12 pairs"] == pytest.approx(kept)
    assert "classes: Hair" in found.notes


def test_c9_does_not_blame_classes_for_maps_that_lose_the_image(tmp_path):
    found = asked(tmp_path, 0.2, share=0.2)
    assert found.verdict == "cannot tell"
    assert found.reason.startswith("classes are lost, but so may be the images")


def test_c9_without_floor_cannot_tell_whether_the_image_is_kept(tmp_path):
    options = {"config": FOLDERS, "class__majority": 0.4}
    root = make_grid(tmp_path, extra=classes(0.2), rows=(), **options)
    found = answer(C9(), root)
    assert found.verdict == "cannot tell"
    assert "needs `random` and the decoders themselves as encoders" in found.reason


def test_c9_leaves_out_decoders_that_tell_no_classes(tmp_path):
    def extra(encoder, decoder):
        own = 0.4 if decoder == "nf" else 0.9
        return classes(0.2, own=own, noise=0.001)(encoder, decoder)

    options = {"config": FOLDERS, "class__majority": 0.4}
    found = answer(C9(), make_grid(tmp_path, extra=extra, share=0.9, **options))
    assert "median kept share of 9 pairs" in values(found.decisive)
    left = "left out, own latents do not predict the classes: vae-to-nf, vqvae-to-nf, dm-to-nf"
    assert left in found.notes


def test_c9_needs_a_decoder_that_tells_classes(tmp_path):
    found = asked(tmp_path, 0.2, own=0.4, noise=0.001)
    assert found.verdict == "not run"
    assert any("data.classes=folders" in command for command in found.run)


def test_c9_does_not_apply_without_classes(tmp_path):
    make_cell(tmp_path, "vae", "nf", 0)
    (evidence,) = read_evidence([tmp_path])
    assert not C9().applies(evidence)


@pytest.mark.parametrize(
    "data", [{"name": "faces"}, {"name": "folder", "classes": None, "attributes": "table.csv"}]
)
def test_c9_does_not_apply_where_classes_are_a_property_among_others(tmp_path, data):
    root = make_grid(tmp_path, extra=classes(0.2), config={"data": data}, class__majority=0.4)
    (evidence,) = read_evidence([root])
    assert not C9().applies(evidence)


def test_c9_gives_the_share_that_pixels_keep(tmp_path):
    root = make_grid(
        tmp_path, extra=classes(0.2), config=FOLDERS, class__majority=0.4,
        rows=("random", "pixels"),
    )  # fmt: skip
    found = answer(C9(), root)
    assert values(found.facts)["pixels-to-nf, kept share"] == pytest.approx(0.2)
