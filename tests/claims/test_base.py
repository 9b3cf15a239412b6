"""How intervals decide."""

import numpy as np
import pytest

from stitching.claims.base import Number, Region, judge
from stitching.results.differences import Quantity

ABOVE = Region(low=0.5)


def number(value, spread=0.02, name="x", n=1000):
    """A number whose 95 % interval is about value plus and minus two times the spread."""
    draws = value + spread * np.random.default_rng(0).normal(size=n)
    return Number(name, Quantity(value, draws))


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([0.6], "supported"),
        ([0.4], "not supported"),
        ([0.51], "cannot tell"),
        ([0.6, 0.7, 0.8], "supported"),
        ([0.6, 0.51], "cannot tell"),
        ([0.6, 0.4], "not supported"),
        ([0.51, 0.4], "not supported"),
    ],
)
def test_all_must_lie_inside_and_one_outside_refutes(values, verdict):
    assert judge([number(x) for x in values], ABOVE).verdict == verdict


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(0.0, "supported"), (0.2, "not supported"), (-0.2, "not supported"), (0.1, "cannot tell")],
)
def test_a_region_may_have_two_ends(value, verdict):
    assert judge([number(value)], Region(-0.1, 0.1)).verdict == verdict


def test_one_of_many_must_lie_farther_outside_than_one_alone():
    slightly = number(0.455)  # two standard deviations and a bit below
    assert judge([slightly], ABOVE).verdict == "not supported"
    assert judge([slightly, *[number(0.9)] * 20], ABOVE).verdict == "cannot tell"


def test_chance_refutes_a_true_claim_in_few_cases():
    generator, refuted = np.random.default_rng(1), 0
    for _ in range(100):
        # Twenty numbers at the end of the region: the hardest case that is still true.
        parts = [
            Number("x", Quantity(v, v + 0.02 * generator.normal(size=400)))
            for v in 0.5 + 0.02 * generator.normal(size=20)
        ]
        refuted += judge(parts, ABOVE).verdict == "not supported"
    assert refuted <= 5


def test_a_number_without_interval_resolves_nothing():
    verdict, reason = judge([number(0.9), Number("y", Quantity(0.1))], ABOVE)
    assert (verdict, reason) == ("cannot tell", "1 of 2 without interval, as y: 0.100")


def test_an_undefined_number_resolves_nothing():
    verdict, reason = judge([Number("y", Quantity(None))], ABOVE)
    assert (verdict, reason) == ("cannot tell", "1 of 1 without interval, as y: undefined")


def test_the_reason_names_the_least_clear_number():
    parts = [number(0.9, name="far"), number(0.6, name="near"), number(0.62, 0.1, name="wide")]
    assert "the least clear is near: 0.600 [" in judge(parts[:2], ABOVE).reason
    assert "must be above 0.5, 1 of 3 may be elsewhere: wide" in judge(parts, ABOVE).reason
    assert judge([number(0.1, name="low"), *parts], ABOVE).reason.startswith(
        "not above 0.5: low: 0.100 ["
    )


@pytest.mark.parametrize(
    ("region", "text"),
    [(ABOVE, "above 0.5"), (Region(high=0.5), "below 0.5"), (Region(-1, 1), "between -1 and 1")],
)
def test_a_region_is_told_in_words(region, text):
    assert str(region) == text
