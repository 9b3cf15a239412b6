"""Limits of learning curves: known power laws, simulated noise, ridge regression."""

import numpy as np
import pytest

from stitching.results.differences import Quantity, mean_gap
from stitching.results.extrapolation import EXPONENTS, extrapolate
from tests.results.ridge_curves import CASES, SIZES, ridge_curve

ITEMS = ("test ids", 200)


def law(p, limit=0.9, c=-0.3, sizes=SIZES):
    return [limit + c * (n / 100) ** -p for n in sizes]


def quantities(values, spread=0.0, r=400, items=ITEMS):
    """Values of which draw b moves all sizes together, as a resample of test images does."""
    common = spread * np.random.default_rng(1).normal(size=r)
    return [Quantity(float(x), x + common, items) for x in values]


@pytest.mark.parametrize("p", [0.3, 0.5, 1.0, 1.7])
def test_the_limit_of_an_exact_power_law_is_found(p):
    found = extrapolate(SIZES, quantities(law(p)))
    assert found.limit.value == pytest.approx(0.9, abs=3e-3)
    assert found.exponent == pytest.approx(p, rel=0.02)
    assert "open" not in found.flags


def test_the_order_of_sizes_does_not_matter():
    values = quantities(law(0.5), 0.01)
    forward = extrapolate(SIZES, values, "a")
    back = extrapolate(SIZES[::-1], values[::-1], "a")
    np.testing.assert_array_equal(forward.limit.draws, back.limit.draws)


@pytest.mark.parametrize("p", [0.5, 1.0])
@pytest.mark.parametrize("sizes", [SIZES, SIZES[:4]], ids=len)
def test_the_interval_covers_the_limit_of_noisy_curves(p, sizes):
    rng, n = np.random.default_rng(0), 200
    hits = 0
    for number in range(n):
        noisy = np.add(law(p, sizes=sizes), rng.normal(0, 0.004, len(sizes)))
        low, high = extrapolate(sizes, quantities(noisy), str(number)).limit.interval()
        hits += low <= 0.9 <= high
    # Three standard errors of a share of .95 of 200 are .045.
    assert hits / n == pytest.approx(0.95, abs=0.045)


def test_the_interval_covers_the_population_value_of_ridge_regression():
    rng, hits = np.random.default_rng(0), []
    for case in CASES * 4:
        values, true = ridge_curve(rng, *case)
        low, high = extrapolate(SIZES, values, str(len(hits)), high=1.0).limit.interval()
        hits.append(low <= true <= high)
    assert sum(hits) >= 10  # of 12: fewer have a chance of 2 % where each covers 95 %


def test_curves_of_one_test_set_have_paired_limits():
    # The test images move both curves alike, so the difference is far narrower than the limits.
    first = extrapolate(SIZES, quantities(law(0.5), 0.05), "a").limit
    second = extrapolate(SIZES, quantities(law(0.5, 0.8), 0.05), "b").limit
    gap = mean_gap([first], [second])
    assert gap.value == pytest.approx(0.1, abs=5e-3)
    low, high = gap.interval()
    assert high - low < 0.1 * np.subtract(*first.interval()[::-1])


def test_a_constant_curve_has_its_value_as_limit():
    found = extrapolate(SIZES, quantities([0.0] * 5))
    assert found.limit.value == 0.0
    assert found.limit.interval() == (0.0, 0.0)


def test_few_sizes_have_no_limit():
    found = extrapolate(SIZES[:3], quantities(law(0.5, sizes=SIZES[:3])))
    assert found.limit.value is None
    assert found.reason == "3 sizes: an extrapolation needs at least 4"


def test_sizes_close_together_have_no_limit():
    sizes = [1000, 1100, 1200, 1500]
    found = extrapolate(sizes, quantities(law(0.5, sizes=sizes)))
    assert found.reason == "sizes span a factor of 1.5: an extrapolation needs 4"


def test_without_resamples_there_is_a_limit_and_no_interval():
    found = extrapolate(SIZES, [Quantity(x) for x in law(0.5)])
    assert found.limit.value == pytest.approx(0.9, abs=3e-3)
    assert found.limit.interval() is None
    assert found.reason == "a size has no resamples: no interval"


def test_an_undefined_size_is_left_out():
    values = quantities(law(0.5))
    values[1] = Quantity(None)
    assert extrapolate(SIZES, values).limit.value == pytest.approx(0.9, abs=3e-3)


def test_a_curve_slower_than_any_exponent_is_flagged_as_far_and_open():
    found = extrapolate(SIZES, quantities(-0.05 + 0.1 * np.log(SIZES)))
    assert {"far", "open"} <= {*found.flags}
    assert found.exponents[0] == EXPONENTS[0]


def test_a_limit_beyond_what_the_measure_can_be_is_moved_there():
    found = extrapolate(SIZES, quantities(law(0.3, 1.2, -0.9)), high=1.0)
    assert "bound" in found.flags
    assert found.limit.value == 1.0
    assert found.limit.draws.max() <= 1.0


@pytest.mark.parametrize(
    ("sizes", "message"),
    [([1, 2], "2 sizes but 5 values"), ([0, 1, 2, 3, 4], "positive"), ([1, 1, 2, 3, 4], "differ")],
)
def test_impossible_sizes_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        extrapolate(sizes, quantities(law(0.5)))
