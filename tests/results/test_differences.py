"""Quantities with draws: what is computed from them, and when they go together."""

import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stitching.metrics.resampling import Estimate, Resamples, flatten
from stitching.report import difference, read_grid
from stitching.results.differences import Quantity, combine, mean, mean_difference
from tests.report.made import N, drawn, make_cell, scores

ITEMS = ("ids", N, None, 200)


def quantity(items, where=ITEMS):
    return Quantity(*drawn(items), where)


def two_cells(root, first, second, key="image/lpips", **facts):
    """Two cells of one column, with scores per item for one measure."""
    make_cell(root, "a", "d", 0, draws={key: drawn(first)})
    make_cell(root, "b", "d", 1, draws={key: drawn(second)}, **facts)
    cells = read_grid(root).cells
    return cells["a", "d"], cells["b", "d"]


def test_a_paired_difference_leaves_out_what_the_items_share(tmp_path):
    first, second = two_cells(tmp_path, scores(0.31, shared=0.2), scores(0.30, shared=0.2))
    found = difference(first, second, "image/lpips")
    assert found.value == pytest.approx(0.01)
    assert found.low == pytest.approx(0.01, abs=1e-6)  # draws are kept in float32
    assert found.high == pytest.approx(0.01, abs=1e-6)
    assert found.paired
    assert found.resolved


@pytest.mark.parametrize("facts", [{"data__test_ids": "others"}, {"n_test": 61}])
def test_cells_with_other_test_items_are_independent(tmp_path, facts):
    first, second = two_cells(
        tmp_path, scores(0.31, shared=0.2), scores(0.30, shared=0.2), **facts
    )
    found = difference(first, second, "image/lpips")
    assert not found.paired
    assert not found.resolved
    # The variance of a difference of independent means is the sum of theirs.
    wide = 2 * 1.96 * np.sqrt(2) * 0.2 / np.sqrt(N)
    assert found.high - found.low == pytest.approx(wide, rel=0.2)


def test_another_number_of_draws_is_independent(tmp_path):
    first, second = two_cells(tmp_path, scores(0.3, own=0.1), scores(0.2, own=0.1, seed=2))
    short = Quantity(second.number("image/lpips"), second.quantity("image/lpips").draws[:100])
    found = mean_difference([first.quantity("image/lpips")], [short])
    assert not found.paired
    assert found.low < found.value < found.high


def test_probes_that_were_asked_about_other_items_are_independent(tmp_path):
    key = "probe/kappa"
    first, second = two_cells(
        tmp_path, scores(0.8), scores(0.7), key=key, protocol__probe_ids="overlapping"
    )
    assert not difference(first, second, key).paired


def test_images_do_not_care_what_probes_were_asked_about(tmp_path):
    cells = two_cells(tmp_path, scores(0.8), scores(0.7), protocol__probe_ids="overlapping")
    assert difference(*cells, "image/lpips").paired


def test_cells_without_draws_have_a_difference_without_interval(tmp_path):
    make_cell(tmp_path, "a", "d", 0, image__lpips=0.3)
    make_cell(tmp_path, "b", "d", 1, image__lpips=0.1)
    cells = read_grid(tmp_path).cells
    found = difference(cells["a", "d"], cells["b", "d"], "image/lpips")
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high, found.paired, found.resolved) == (None, None, False, False)


@pytest.mark.parametrize("value", [None, "invalid", float("nan")])
def test_a_measure_that_one_cell_lacks_has_no_difference(tmp_path, value):
    make_cell(tmp_path, "a", "d", 0, image__lpips=0.3)
    make_cell(tmp_path, "b", "d", 1, image__lpips=value)
    cells = read_grid(tmp_path).cells
    assert difference(cells["a", "d"], cells["b", "d"], "image/lpips").value is None


def test_the_mean_over_cells_is_paired_cell_by_cell():
    first = [quantity(scores(0.4, shared=0.3)), quantity(scores(0.2, own=0.1), None)]
    second = [quantity(scores(0.3, shared=0.3)), quantity(scores(0.1, own=0.1, seed=2), None)]
    assert mean_difference(first[:1], second[:1]).paired
    assert not mean_difference(first, second).paired
    assert mean_difference(first, second).value == pytest.approx(0.1)


def test_cells_on_different_items_stay_paired_within_their_own():
    parts = [("ids", N, None, 200), ("others", N, None, 200)]
    first = [quantity(scores(0.4, shared=0.3), where) for where in parts]
    second = [quantity(scores(0.3, shared=0.3), where) for where in parts]
    found = mean_difference(first, second)
    assert found.paired
    assert found.high - found.low < 1e-12


def test_shuffling_is_the_same_every_time():
    first, second = quantity(scores(0.4, own=0.1)), quantity(scores(0.3, own=0.2, seed=2), None)
    assert mean_difference([first], [second]) == mean_difference([first], [second])


def test_an_exact_number_adds_no_uncertainty():
    found = combine(
        lambda x: x[0] - x[1], [quantity(scores(1.0, own=0.1)), Quantity(0.25, exact=True)]
    )
    alone = quantity(scores(0.75, own=0.1))
    assert found.interval() == pytest.approx(alone.interval())
    assert found.items == ITEMS


def test_exact_numbers_alone_stay_exact():
    found = mean([Quantity(1.0, exact=True), Quantity(2.0, exact=True)])
    assert (found.value, found.exact, found.interval()) == (1.5, True, None)


def test_what_is_undefined_in_one_part_is_undefined():
    assert mean([quantity(scores(1.0)), Quantity(None)]).value is None
    assert mean([]).value is None
    ratio = combine(lambda x: np.full_like(x[0], np.nan), [quantity(scores(1.0))])
    assert (ratio.value, ratio.draws) == (None, None)


@given(
    draws=st.lists(st.floats(-1e3, 1e3) | st.just(float("nan")), min_size=1, max_size=60),
    value=st.none() | st.just(1.0),
)
def test_intervals_are_those_that_cells_compute(draws, value):
    found = np.array(draws)
    expected = Estimate(value, found).interval
    assert (Quantity(value, found).interval() or (None, None)) == pytest.approx(expected)


def test_an_interval_that_asks_for_more_draws_than_there_are_is_a_normal_one():
    draws = np.random.default_rng(0).normal(3.0, 2.0, 100)
    low, high = Quantity(3.0, draws).interval(0.999)
    assert (low + high) / 2 == pytest.approx(draws.mean())
    assert (high - low) / 2 == pytest.approx(3.2905 * draws.std(), rel=1e-4)  # z of 0.9995
    inner = Quantity(3.0, draws).interval(0.98)
    assert inner == pytest.approx(np.percentile(draws, [1, 99], method="weibull"))


@given(
    levels=st.lists(st.floats(-1, 1), min_size=1, max_size=4),
    shifts=st.lists(st.floats(-1, 1), min_size=4, max_size=4),
)
def test_a_difference_changes_its_sign_with_its_order(levels, shifts):
    first = [quantity(scores(x, own=0.1, seed=i)) for i, x in enumerate(levels)]
    second = [quantity(scores(x, own=0.2, seed=9 + i)) for i, x in enumerate(shifts)]
    second = second[: len(first)]
    there, back = mean_difference(first, second), mean_difference(second, first)
    assert there.value == pytest.approx(-back.value, abs=1e-12)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-12)


def test_draws_of_a_file_that_was_replaced_are_read_again(tmp_path):
    first, _ = two_cells(tmp_path, scores(0.3), scores(0.2))
    assert first.quantity("image/lpips").interval()[0] == pytest.approx(0.3)
    np.savez(first.path / "other.npz", **{"image/lpips": np.full(200, 0.7, np.float32)})
    os.utime(first.path / "other.npz", ns=(2**60, 2**60))
    (first.path / "other.npz").replace(first.path / "resamples.npz")
    again = read_grid(tmp_path).cells["a", "d"]
    assert again.quantity("image/lpips").interval() == pytest.approx((0.3, 0.7))


def test_measures_of_cells_are_paired_as_they_were_resampled(tmp_path):
    generator = np.random.default_rng(0)
    hard = generator.normal(size=N)  # what all cells share
    resamples = Resamples(N, n_bootstrap=300, n_halves=100)
    rows = [torch.from_numpy(level + hard) for level in (0.5, 0.2)]
    for number, (encoder, row) in enumerate(zip("ab", rows, strict=True)):
        values, draws = flatten({"image/lpips": resamples.mean(row), "image/lpips_n": N})
        folder = make_cell(
            tmp_path, encoder, "d", number, data__test_ids="ids", n_test=N, **values
        )
        np.savez(folder / "resamples.npz", **draws)
    cells = read_grid(tmp_path).cells
    found = difference(cells["a", "d"], cells["b", "d"], "image/lpips")
    assert found == pytest.approx((0.3, 0.3, 0.3, True), abs=1e-6)
    assert cells["a", "d"].interval("image/lpips") == pytest.approx(
        cells["a", "d"].quantity("image/lpips").interval(), abs=1e-6
    )
