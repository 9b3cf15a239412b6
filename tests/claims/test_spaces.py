"""C8: whether expressive models are more alike."""

import itertools

import numpy as np
import pytest
from scipy.stats import spearmanr

from stitching.claims import read_evidence
from stitching.claims.spaces import C8, _chance, _spearman
from tests.claims.grids import answer, values
from tests.report.made import drawn, make_cell, scores

FIVE = ("a", "b", "c", "d", "e")
OWN = dict(zip(FIVE, (0.01, 0.03, 0.05, 0.07, 0.09), strict=True))  # ever less expressive


def make_spaces(root, likeness, models=FIVE, noise=0.001, both=True):
    """Models with own LPIPS, and CKA of each pair as a function of the worse one's LPIPS."""
    for number, (encoder, decoder) in enumerate(itertools.product(models, models)):
        worse = max(OWN[encoder], OWN[decoder])
        draws = {
            "image/lpips": drawn(scores(OWN[decoder], own=noise, seed=ord(decoder))),
            "geometry/cka": drawn(scores(likeness(worse), own=noise, seed=number + 1)),
        }
        if encoder > decoder and not both:
            continue
        make_cell(root, encoder, decoder, number, draws=draws)
    return root


@pytest.mark.parametrize(
    ("likeness", "noise", "verdict"),
    [
        (lambda worse: 0.9 - 3 * worse, 0.001, "supported"),
        (lambda worse: 0.3 + 3 * worse, 0.001, "not supported"),
        (lambda worse: 0.5, 0.2, "not resolved"),
    ],
)
def test_c8(tmp_path, likeness, noise, verdict):
    found = answer(C8(), make_spaces(tmp_path, likeness, noise=noise))
    assert found.verdict == verdict
    assert any("not tested: whether similar architectures" in note for note in found.notes)


def test_c8_counts_each_pair_once(tmp_path):
    both = make_spaces(tmp_path / "a", lambda worse: 0.9 - worse)
    one = make_spaces(tmp_path / "b", lambda worse: 0.9 - worse, both=False)
    for root in (both, one):
        assert "rank correlation of 10 pairs" in values(answer(C8(), root).decisive)


def test_four_models_are_too_few_to_tell_from_chance(tmp_path):
    found = answer(C8(), make_spaces(tmp_path, lambda worse: 0.9 - 3 * worse, models=FIVE[:4]))
    assert values(found.decisive)["rank correlation of 6 pairs"] == pytest.approx(1.0, abs=0.2)
    assert found.verdict == "not resolved"
    assert "of 4 models at least 8% always do: add models" in found.reason


def test_c8_needs_six_pairs(tmp_path):
    found = answer(C8(), make_spaces(tmp_path, lambda worse: 0.9, models=FIVE[:3]))
    assert found.verdict == "not run"
    assert "needs at least 6 pairs" in found.reason


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
    assert _chance([*own, *likeness], places, 5) == pytest.approx((2 / 120, 1, 2 / 120))


def test_random_orders_of_many_models_are_the_same_every_time():
    places = np.array(list(itertools.combinations(range(9), 2)))
    parts = np.random.default_rng(0).normal(size=9 + len(places)).tolist()
    first, second = (_chance(parts, places, 9)[0] for _ in range(2))
    assert first == second
    assert 0.1 < first < 1  # nothing but noise
