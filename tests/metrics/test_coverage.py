"""A light version of `tests/benchmarks/coverage.py`: intervals contain the truth about 95 %."""

import pytest

from tests.benchmarks.coverage import SIMULATIONS, covered

#: A measure's coverage in the full simulation; the bounds below are 4 standard errors wide.
NOMINAL = {
    "means": {"mean": 0.945, "root": 0.945},
    "latents-0.99": {"r2": 0.945, "nmse": 0.945},
    "factors": {"r2": 0.94},
}


@pytest.mark.filterwarnings("ignore::stitching.metrics.frechet.SmallSampleWarning")
@pytest.mark.parametrize(
    ("name", "sims"), [("means", 300), ("latents-0.99", 150), ("factors", 150)]
)
def test_intervals_of_30_items_contain_the_truth_about_19_times_in_20(name, sims):
    found = covered(SIMULATIONS[name][0], 30, sims)
    for key, nominal in NOMINAL[name].items():
        error = (nominal * (1 - nominal) / sims) ** 0.5
        assert abs(found[key]["coverage"] - nominal) < 4 * error, key


@pytest.mark.filterwarnings("ignore::stitching.metrics.frechet.SmallSampleWarning")
def test_intervals_of_distances_are_not_too_narrow():
    found = covered(SIMULATIONS["distances"][0], 30, 25)
    assert found["fd"]["coverage"] >= 0.88
    assert found["kd"]["coverage"] >= 0.88
