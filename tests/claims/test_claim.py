"""What holds for every claim: how much there must be, failed cells, two penalties, trainings."""

import json

import numpy as np
import pytest

from stitching.claims import read_evidence
from stitching.claims.encoders import C3
from stitching.claims.maps import C1
from stitching.claims.models import Model, changes
from tests.claims.grids import answer, make_grid, values
from tests.report.made import drawn, make_cell, scores


def rewrite(cell, **facts):
    path = cell / "metrics.json"
    found = json.loads(path.read_text()) | {k.replace("__", "/"): v for k, v in facts.items()}
    path.write_text(json.dumps(found))


# ---- how much there must be


@pytest.mark.parametrize("gain", [0.1, -0.3])
def test_two_models_give_no_verdict(tmp_path, gain):
    found = answer(C1(), make_grid(tmp_path, models=("vae", "nf"), gain=gain))
    assert found.verdict == "cannot tell"
    assert found.reason.startswith(
        "a verdict needs 3 trained models and 6 ordered pairs of them, here are 2 and 2. What is "
        "there would be"
    )
    assert found.run


def test_two_trainings_of_a_model_are_one_model(tmp_path):
    found = answer(C1(), make_grid(tmp_path, models=("vae", "vae-2", "nf", "nf-2")))
    assert found.verdict == "cannot tell"
    assert "here are 2 and 8" in found.reason


def test_two_trainings_of_a_model_are_the_ceiling_and_no_pair(tmp_path):
    def gain(encoder, decoder):
        return -0.5 if {encoder, decoder} == {"vae", "vae-2"} else 0.1

    found = answer(C1(), make_grid(tmp_path, models=("vae", "vae-2", "nf", "vqvae"), gain=gain))
    assert found.verdict == "supported"
    ceiling = "ceiling, two trainings: vae-to-vae-2, latent/r2_beyond_pixels"
    assert values(found.facts)[ceiling] == pytest.approx(0.2)
    assert not any(note.startswith("no model is here in two trainings") for note in found.notes)


def test_a_second_training_has_a_file_of_its_own(tmp_path):
    root = make_grid(tmp_path, models=("vae", "vae-2", "vae-celeba64"))
    for cell in root.glob("*-to-*"):
        encoder, _, decoder = cell.name.partition("_")[0].partition("-to-")
        rewrite(cell, encoder__model=encoder, decoder__model=decoder)
    (evidence,) = read_evidence([root])
    assert {x.pair for x in evidence.retrained} == {("vae", "vae-2"), ("vae-2", "vae")}
    assert len(evidence.cells) == 4  # with published weights of another network


def test_without_a_second_training_the_ceiling_is_not_known(tmp_path):
    found = answer(C1(), make_grid(tmp_path))
    assert any(note.startswith("no model is here in two trainings") for note in found.notes)


@pytest.mark.parametrize("gain", [0.1, -0.3])
def test_a_failed_cell_keeps_the_verdict_open(tmp_path, gain):
    root = make_grid(
        tmp_path, gain=gain, share=lambda e, d: None if (e, d) == ("dm", "nf") else 0.8
    )
    make_cell(root, "dm", "nf", 99, state="failed")
    found = answer(C1(), root)
    assert found.verdict == "cannot tell"
    assert found.reason.startswith("not measured: dm-to-nf (failed). What is there would be")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, "other test images, not other trainings"),
        (
            {"map__refits": 10, "protocol__refits": "latents"},
            "other test images and, for measures of latents, other fit images, not",
        ),
        ({"map__refits": 10, "protocol__refits": "images"}, "for measures of latents and images,"),
    ],
)
def test_an_answer_says_what_its_intervals_cover(tmp_path, facts, words):
    found = answer(C1(), make_grid(tmp_path, **facts))
    assert any(words in note for note in found.notes)


# ---- two penalties


def with_other_penalty(root, pair, gain=None, beyond=None, alphas=(10.0, 1000.0)):
    """Give a cell a flat penalty, at which its RMSE or what is beyond pixels is another."""
    (cell,) = root.glob(f"{pair}_*")
    stored = dict(np.load(cell / "resamples.npz"))
    draws = {}
    if gain is not None:  # the control stays as it is: RMSE = control (1 - gain)
        rmse, old = stored["image/rmse"], stored["image/rmse_gain"]
        draws["flat/image/rmse"] = (rmse + old) * (1 - gain)
    if beyond is not None:
        draws["flat/latent/r2_beyond_pixels"] = drawn(scores(beyond, own=0.02))[1]
    np.savez(cell / "resamples.npz", **stored, **{k: x.astype("f4") for k, x in draws.items()})
    facts = {key: float(x.mean()) for key, x in draws.items()}
    rewrite(cell, map__flat=True, alpha=alphas[0], map__flat_alpha=alphas[1], **facts)
    return root


def test_a_verdict_that_the_other_penalty_changes_is_fragile(tmp_path):
    root = with_other_penalty(make_grid(tmp_path), "vae-to-nf", gain=-0.3)
    found = answer(C1(), root)
    assert found.verdict == "fragile"
    assert found.reason == (
        "supported with the penalties that were chosen, not supported with vae-to-nf at a penalty "
        "of 1000 in place of 10.0"
    )
    assert [x.verdict for x in found.others] == ["supported", "not supported"]
    assert found.others[0].reason.startswith("no worse than the maps from pixels")


def test_a_verdict_that_both_penalties_give_is_none_the_less(tmp_path):
    root = with_other_penalty(make_grid(tmp_path), "vae-to-nf", gain=0.05)
    found = answer(C1(), root)
    assert found.verdict == "supported"
    assert "the same verdict with vae-to-nf at a penalty of 1000 in place of 10.0" in found.notes


def test_each_map_is_tried_alone_too(tmp_path):
    root = make_grid(tmp_path)
    for pair, beyond in (("vae-to-nf", 0.3), ("nf-to-vae", 0.0)):
        with_other_penalty(root, pair, beyond=beyond)
    found = answer(C1(), root)
    assert found.verdict == "fragile"
    assert [(x.verdict, x.cells.partition(" at ")[0]) for x in found.others] == [
        ("supported", "the penalties that were chosen"),
        ("explained by pixels", "the other penalty of 2 maps"),
        ("supported", "vae-to-nf"),
        ("explained by pixels", "nf-to-vae"),
    ]


def test_what_is_open_for_want_of_cells_is_not_closed_by_another_penalty(tmp_path):
    # Components of pixels refute C3 at the other penalty; at the chosen one a control is missing.
    root = with_other_penalty(make_grid(tmp_path), "vae-to-nf", gain=-0.3)
    found = answer(C3(), root)
    assert found.verdict == "cannot tell"
    assert [x.verdict for x in found.others] == ["not supported"]


def test_the_other_penalty_moves_the_gain_by_as_much_as_the_measure(tmp_path):
    from stitching.claims.penalties import at_other_penalties

    root = with_other_penalty(make_grid(tmp_path), "vae-to-nf", gain=-0.3)
    (evidence,) = read_evidence([root])
    ((_, other),) = at_other_penalties(evidence)
    chosen, changed = evidence.cell("vae", "nf"), other.cell("vae", "nf")
    for end in ("", "_pca"):
        before, after = (x.quantity(f"image/rmse_gain{end}") for x in (chosen, changed))
        moved = chosen.quantity("image/rmse").draws - changed.quantity("image/rmse").draws
        assert after.draws - before.draws == pytest.approx(moved, abs=1e-6)
        assert after.value == pytest.approx(after.draws.mean(), abs=0.01)
        assert after.items == before.items  # still paired with other cells


# ---- models

LINEAR = "linear_channels, a linear path from pixels to latents and back"


def model(name="nf", recipe=("nf", 12288.0), **facts):
    return Model(name, "nf", recipe, **facts)


def test_checkpoints_are_told_from_second_trainings():
    early, late = model("nf-50", seen=50, checkpoint=True), model("nf-1000", seen=1000)
    second = model("nf-2", seen=500)
    assert early.before(late)
    assert not second.before(late)
    assert second.retrained(late)


def test_names_of_checkpoints_end_in_the_images_seen(tmp_path):
    for number, (name, seen) in enumerate((("nf-5000", 5024), ("nf-2", 9000), ("nf", 10000))):
        make_cell(tmp_path, "random", name, number, weights__decoder_images_seen=seen, d_target=9)
    (evidence,) = read_evidence([tmp_path])
    assert evidence.earlier == ["nf-5000"]
    assert evidence.trained == ["nf-2", "nf"]


def test_leading_components_of_a_model_are_no_model_of_their_own(tmp_path):
    root = make_grid(tmp_path, rows=("random", "nf[width=512]"))
    for cell in root.glob("nf[[]width=512[]]-to-*"):
        rewrite(cell, encoder__model="nf", encoder__width=512)
    (evidence,) = read_evidence([root])
    assert evidence.trained == ["vae", "vqvae", "nf", "dm"]
    assert len(evidence.cells) == 12


@pytest.mark.parametrize(
    ("facts", "options", "text"),
    [
        ({"weights__encoder_objective": "own"}, {"training": {"inverse": 50}}, None),
        ({"weights__encoder_objective": "own + 1 LPIPS"}, {}, "objective: own + 1 LPIPS"),
        ({}, {"training": {"inverse": 50}}, "training.inverse, a penalty on a steep inverse"),
        ({}, {"training": {"inverse": 0}}, None),
        ({}, {"linear_channels": 24}, LINEAR),
    ],
)  # fmt: skip
def test_what_was_changed_is_by_the_weights_or_else_by_the_options(tmp_path, facts, options, text):
    make_cell(tmp_path, "nf", "vae", 0, config={"encoder": options}, **facts)
    (evidence,) = read_evidence([tmp_path])
    assert changes(evidence.models.values()) == ([f"nf: {text}"] if text else [])
