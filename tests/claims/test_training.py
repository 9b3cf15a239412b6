"""C5, C6: probes of the checkpoints of one training."""

import pytest

from stitching.claims import read_evidence
from stitching.claims.training import C5, C6
from tests.claims.grids import answer, values
from tests.report.made import N, drawn, make_cell, scores

KEY = "probe/balanced_accuracy_own"
ATTRIBUTES = ("Male", "Heavy_Makeup", "No_Beard", "Smiling", "Bald")


def make_course(
    root, course, noise=0.02, attributes=ATTRIBUTES, model="nf", images=1000, **levels
):
    """A sweep over checkpoints: images seen to mean accuracy; `levels` for attributes."""
    for number, (seen, level) in enumerate(course.items()):
        draws = {KEY: drawn(scores(level, shared=0.3, own=noise, seed=number + 1))}
        for place, name in enumerate(attributes):
            own = levels.get(name, {}).get(seen, level)
            items = scores(own, shared=0.3, own=noise, seed=100 * place + number + 1)
            draws[f"{KEY}/{name}"] = drawn(items)
        facts = {"weights__decoder_images_seen": seen, "weights__decoder": f"hash {seen}"}
        facts["probe__n_test"] = images
        make_cell(root, "random", f"{model}-{seen}", number, draws=draws, **facts)
    return root


COURSE = {0: 0.6, 50: 0.8, 200: 0.9, 500: 0.9, 1000: 0.9}


@pytest.mark.parametrize(
    ("changed", "noise", "verdict"),
    [
        ({}, 0.02, "supported"),
        ({1000: 0.95}, 0.02, "not supported"),
        ({500: 0.95}, 0.02, "not supported"),  # a hump is no plateau
        ({200: 0.85}, 0.02, "not supported"),
        ({1000: 0.92}, 0.02, "cannot tell"),
        ({}, 0.2, "cannot tell"),
    ],
)
def test_c5(tmp_path, changed, noise, verdict):
    assert answer(C5(), make_course(tmp_path, COURSE | changed, noise)).verdict == verdict


def test_c5_prints_the_smallest_change_that_it_resolves(tmp_path):
    found = answer(C5(), make_course(tmp_path, COURSE))
    widths = [(ends[1] - ends[0]) / 2 for x in found.decisive if (ends := x.quantity.interval())]
    assert values(found.facts)["smallest change that is resolved, of the least clear"] == (
        pytest.approx(max(widths))
    )
    # Of a mean of N items that differ by s in two states: 1.96 s sqrt(2 / N).
    assert max(widths) == pytest.approx(1.96 * 0.02 * (2 / N) ** 0.5, rel=0.35)


@pytest.mark.parametrize("claim", [C5, C6])
def test_a_hundred_test_images_are_too_few(tmp_path, claim):
    found = answer(claim(), make_course(tmp_path, {**COURSE, 50: 0.9}, images=128))
    assert found.verdict == "cannot tell"
    assert found.reason.startswith("128 test images, changes below")
    assert "needs 1,000. With these it would be supported" in found.reason


def test_c5_looks_from_a_fifth_of_the_training_on(tmp_path):
    found = answer(C5(), make_course(tmp_path, COURSE))
    assert list(values(found.decisive)) == ["1000 - 200 images", "1000 - 500 images"]
    assert values(found.facts)["after 0 images"] == pytest.approx(0.6)


def test_c5_needs_four_checkpoints(tmp_path):
    found = answer(C5(), make_course(tmp_path, {0: 0.5, 200: 0.9, 1000: 0.9}))
    assert found.verdict == "not run"
    assert found.reason == (
        "needs at least 4 checkpoints of `nf`, found 3 (images seen: 0, 200, 1000)"
    )
    assert found.run[0].startswith("python -m stitching.train model=nf data=faces out=mine")
    assert "'decoder.name=nf-${.checkpoint}'" in found.run[1]


def test_c5_needs_a_checkpoint_where_the_plateau_begins(tmp_path):
    found = answer(C5(), make_course(tmp_path, {0: 0.5, 50: 0.6, 900: 0.9, 1000: 0.9}))
    assert found.verdict == "not run"
    assert "between 20% and 40% of 1000 images, found 0, 50, 900, 1000" in found.reason


def test_c5_takes_one_cell_per_checkpoint(tmp_path):
    make_course(tmp_path, COURSE)
    draws = {KEY: drawn(scores(0.9, shared=0.3, own=0.02, seed=5))}
    facts = {"weights__decoder_images_seen": 1000, "weights__decoder": "hash 1000"}
    facts["probe__n_test"] = 1000
    make_cell(tmp_path, "vae", "nf-1000", 9, draws=draws, **facts)
    assert len(answer(C5(), tmp_path).decisive) == 2


def test_two_trainings_in_one_folder_are_not_mixed(tmp_path):
    make_course(tmp_path, COURSE)
    facts = {"weights__decoder_images_seen": 500, "weights__decoder": "another"}
    make_cell(tmp_path, "random", "nf-mine", 9, **facts)
    found = answer(C5(), tmp_path)
    assert found.verdict == "not run"
    assert "different weights of `nf` after 500 images" in found.reason


def test_checkpoints_of_other_models_are_no_concern_of_c5(tmp_path):
    (evidence,) = read_evidence([make_course(tmp_path, COURSE, model="vae")])
    assert not C5().applies(evidence)


def test_earlier_checkpoints_are_no_models_of_their_own(tmp_path):
    (evidence,) = read_evidence([make_course(tmp_path, COURSE)])
    assert evidence.trained == ["nf-1000"]
    assert evidence.earlier == ["nf-0", "nf-50", "nf-200", "nf-500"]


# ---- C6

FLAT = {0: 0.5, 50: 0.9, 200: 0.9, 500: 0.9, 1000: 0.9}


@pytest.mark.parametrize(
    ("name", "level", "verdict"),
    [
        ("Male", 0.9, "supported"),
        ("Male", 1.0, "not supported"),
        ("Smiling", 0.8, "not supported"),
        ("No_Beard", 0.95, "cannot tell"),
        ("Bald", 0.6, "supported"),  # not one of those that the claim is about
    ],
)
def test_c6(tmp_path, name, level, verdict):
    root = make_course(tmp_path, FLAT, **{name: {1000: level}})
    assert answer(C6(), root).verdict == verdict


def test_c6_starts_at_the_first_checkpoint_that_saw_images(tmp_path):
    found = answer(C6(), make_course(tmp_path, FLAT))
    assert len(found.decisive) == 4 * 3
    assert "Male, 200 - 50 images" in values(found.decisive)
    assert list(values(found.facts))[2:] == ["Bald, 1000 - 50 images"]


def test_c6_needs_an_early_first_checkpoint(tmp_path):
    found = answer(C6(), make_course(tmp_path, {0: 0.5, 200: 0.9, 500: 0.9, 1000: 0.9}))
    assert found.verdict == "not run"
    assert "needs a first checkpoint in the first 10% of the training" in found.reason


def test_c6_needs_its_attributes(tmp_path):
    found = answer(C6(), make_course(tmp_path, FLAT, attributes=("Male", "Smiling", "Bald")))
    assert found.verdict == "not run"
    assert found.reason == "needs probes of Heavy_Makeup, No_Beard at every checkpoint"
