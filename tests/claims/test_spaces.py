"""C8: whether expressive models are more alike."""

import itertools
import json

import numpy as np
import pytest
from scipy.stats import spearmanr

from stitching.claims import read_evidence
from stitching.claims.spaces import C8, _chance, _spearman
from tests.claims.grids import answer, values
from tests.report.made import drawn, make_cell, scores

FIVE = ("a", "b", "c", "d", "e")
QUALITY = dict(zip(FIVE, (1.0, 3.0, 5.0, 7.0, 9.0), strict=True))  # of samples, ever worse


def make_spaces(root, likeness, models=FIVE, noise=0.001, both=True, samples=QUALITY, **options):
    """Models with samples, and CKA of each pair as a function of the worse one's distance."""
    for number, (encoder, decoder) in enumerate(itertools.product(models, models)):
        worse = max(QUALITY.get(encoder, 9.0), QUALITY.get(decoder, 9.0))
        # A flow: perfect reconstructions, whatever its samples are.
        draws = {"image/lpips": drawn(scores(0.0))} if encoder == decoder else {}
        draws["geometry/cka"] = drawn(scores(likeness(worse), own=noise, seed=number + 1))
        if encoder > decoder and not both:
            continue
        weights = {"weights__encoder": f"hash {encoder}", "weights__decoder": f"hash {decoder}"}
        make_cell(root, encoder, decoder, number, draws=draws, **weights, **options)
    found = [{"name": x, "weights": f"hash {x}", "value": y} for x, y in samples.items()]
    if samples:
        text = json.dumps({"measure": "kd_effnet", "n": 512, "models": found})
        (root / "samples.json").write_text(text)
    return root


@pytest.mark.parametrize(
    ("likeness", "noise", "verdict"),
    [
        (lambda worse: 0.9 - 0.03 * worse, 0.001, "supported"),
        (lambda worse: 0.3 + 0.03 * worse, 0.001, "not supported"),
        (lambda worse: 0.5, 0.2, "cannot tell"),
    ],
)
def test_c8(tmp_path, likeness, noise, verdict):
    found = answer(C8(), make_spaces(tmp_path, likeness, noise=noise))
    assert found.verdict == verdict
    assert values(found.facts)["samples, kd_effnet, c"] == 5.0
    assert any("not tested: whether similar architectures" in note for note in found.notes)


def test_c8_counts_each_pair_once(tmp_path):
    both = make_spaces(tmp_path / "a", lambda worse: 0.9 - worse / 100)
    one = make_spaces(tmp_path / "b", lambda worse: 0.9 - worse / 100, both=False)
    for root in (both, one):
        assert "rank correlation of 10 pairs" in values(answer(C8(), root).decisive)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"models": FIVE[:4]}, 4),
        ({"samples": {x: QUALITY[x] for x in FIVE[:3]}}, 3),  # others draw none
        ({"models": (*FIVE[:4], "a-2"), "samples": {**QUALITY, "a-2": 1.5}}, 4),  # trained twice
    ],
)
def test_c8_needs_five_models_that_draw_samples(tmp_path, options, count):
    found = answer(C8(), make_spaces(tmp_path, lambda worse: 0.9 - 0.03 * worse, **options))
    assert found.verdict == "cannot tell"
    assert f"here are {count} with a number" in found.reason


def test_c8_needs_samples(tmp_path):
    found = answer(C8(), make_spaces(tmp_path, lambda worse: 0.9, samples={}))
    assert found.verdict == "not run"
    assert "needs the quality of samples" in found.reason
    assert "python tests/benchmarks/samples.py DIR" in found.run


@pytest.mark.parametrize("text", ["{", '{"models": []}', '{"measure": "x", "models": [{}]}'])
def test_a_damaged_file_of_samples_is_an_error(tmp_path, text):
    root = make_spaces(tmp_path, lambda worse: 0.9)
    (root / "samples.json").write_text(text)
    with pytest.raises(ValueError, match=r"samples.json .* or remove it"):
        answer(C8(), root)


def test_c8_does_not_apply_where_spaces_were_not_compared(tmp_path):
    make_cell(tmp_path, "a", "b")
    (evidence,) = read_evidence([tmp_path])
    assert not C8().applies(evidence)


def test_ranks_correlate_as_scipy_says():
    generator = np.random.default_rng(0)
    a, b = generator.integers(0, 4, size=(2, 10, 5)).astype(float)  # with ties
    expected = [spearmanr(x, y).statistic for x, y in zip(a.T, b.T, strict=True)]
    assert _spearman(a, b) == pytest.approx(expected)


def test_a_constant_side_has_no_rank_correlation():
    assert np.isnan(_spearman(np.ones((4, 1)), np.arange(4.0)[:, None])).all()


def test_all_orders_of_five_models_are_tried():
    places = np.array(list(itertools.combinations(range(5), 2)))
    own = [0.1, 0.2, 0.3, 0.4, 0.5]
    likeness = [-max(own[i], own[j]) for i, j in places]
    # The two best may be exchanged without a change: 2 of 5! orders.
    assert _chance([*own, *likeness], places, 5) == pytest.approx((2 / 120, 1))


def test_random_orders_of_many_models_are_the_same_every_time():
    places = np.array(list(itertools.combinations(range(9), 2)))
    parts = np.random.default_rng(0).normal(size=9 + len(places)).tolist()
    first, second = (_chance(parts, places, 9)[0] for _ in range(2))
    assert first == second
    assert 0.1 < first < 1  # nothing but noise
