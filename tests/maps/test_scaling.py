"""Sources with one direction far wider than the others: no direction is lost, and no target."""

import warnings

import pytest
import torch
from sklearn.linear_model import RidgeCV

from stitching.maps import OLS, Ridge, factorise
from stitching.maps.ridge import GRID
from stitching.maps.scaling import LostDirectionsWarning

pytestmark = [
    pytest.mark.filterwarnings("ignore::stitching.maps.PenaltyEdgeWarning"),
    pytest.mark.filterwarnings("ignore::stitching.maps.InterpolationWarning"),
]


def problem(wide=1.0, n=400, d=32, noise=0.12, dtype=torch.float32, rotate=False, item=1.0):
    """Fit and test latents whose targets are linear in all dimensions alike, and noise."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, w = draw(2 * n, d), draw(d, 16) / d**0.5
    y = x @ w + noise * draw(2 * n, 16)
    x[:, 3] *= wide
    x[5] *= item
    if rotate:
        x = x @ torch.linalg.qr(draw(d, d)).Q
    return [part.to(dtype) for part in (x[:n], y[:n], x[n:], y[n:])]


def r2(true, predicted):
    error = (true - predicted).double().square().sum()
    return 1 - float(error / (true - true.mean(0)).double().square().sum())


def score(latent_map, problem):
    x, y, x_test, y_test = problem
    return r2(y_test, latent_map.fit(x, y).predict(x_test))


MAPS = [
    Ridge(),
    Ridge(alpha_per_target=True),
    Ridge(selection="loo"),
    Ridge(selection="kfold"),
    Ridge(chunk=64),
    OLS(),
]
NAMES = ["gcv", "per_target", "loo", "kfold", "streamed", "ols"]


@pytest.mark.parametrize("latent_map", MAPS, ids=NAMES)
@pytest.mark.parametrize("wide", [1e4, 1e5, 1e6, 1e7, 1e10])
def test_a_wide_dimension_costs_the_others_nothing(latent_map, wide):
    assert score(latent_map, problem()) == pytest.approx(0.984, abs=1e-3)
    assert score(latent_map, problem(wide)) == pytest.approx(0.984, abs=1e-3)
    assert latent_map.summary()["rank"] == 32
    assert not latent_map.summary()["at_edge"]


@pytest.mark.parametrize("wide", [1e5, 1e7])
def test_a_wide_source_is_mapped_as_by_scikit_learn(wide):
    x, y, x_test, _ = problem(wide, dtype=torch.float64)
    ours = Ridge().fit(x, y)
    oracle = RidgeCV(alphas=ours.alphas_.numpy(), gcv_mode="svd").fit(x.numpy(), y.numpy())
    theirs = torch.from_numpy(oracle.predict(x_test.numpy()))
    torch.testing.assert_close(ours.predict(x_test), theirs, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("wide", [1e5, 1e7, 1e10])
def test_a_wide_dimension_of_more_than_there_are_items_costs_nothing_either(wide):
    expected = score(Ridge(), problem(1e3, n=100, d=300))
    assert score(Ridge(), problem(wide, n=100, d=300)) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_wide_direction_need_not_be_a_dimension(dtype):
    found = score(Ridge(), problem(1e7, dtype=dtype, rotate=True))
    assert found == pytest.approx(0.984, abs=3e-3)


@pytest.mark.parametrize("item", [1e7, 1e9])
def test_one_item_far_off_does_not_hide_the_others(item):
    assert score(Ridge(), problem(item=item)) > 0.95


def test_a_source_is_not_modified():
    x, *_ = problem(1e7, dtype=torch.float64)
    before = x.clone()
    factorise(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("n", [400, 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dimensions_that_depend_on_others_or_are_constant_are_still_absent(dtype, n):
    x, *_ = problem(n=n, dtype=dtype)
    x[:, 5], x[:, 6] = 7.3, x[:, 1] - 3 * x[:, 2]
    assert factorise(x).rank == min(30, n - 1)
    assert factorise(x.repeat(2, 1)).rank == min(30, n - 1)


def test_directions_beyond_float64_are_warned_of():
    x, *_ = problem(1e16)
    with pytest.warns(LostDirectionsWarning, match="more directions than the 1 "):
        factorise(x)


def test_the_usual_grid_is_that_of_the_largest_eigenvalue_alone():
    x, *_ = problem(1e2)
    basis = factorise(x)
    top = torch.log10(basis.eigenvalues[-1])
    low, high = (float(top) + torch.log10(torch.tensor(end)).item() for end in GRID)
    assert Ridge().grid(basis).shape == (100,)
    torch.testing.assert_close(
        Ridge().grid(basis), torch.logspace(low, high, 100, dtype=torch.float64)
    )


@pytest.mark.parametrize("n_alphas", [10, 100])
def test_the_grid_goes_on_to_the_smallest_eigenvalue_in_the_same_steps(n_alphas):
    x, *_ = problem(1e7)
    basis = factorise(x)
    grid = Ridge(n_alphas=n_alphas).grid(basis)
    steps = grid.log10().diff()
    torch.testing.assert_close(steps, steps[-1:].expand_as(steps))
    low = 1e-4 * float(basis.eigenvalues[0])
    assert float(grid[0]) <= low * (1 + 1e-6) < float(grid[1])
    ends = [float(basis.eigenvalues[-1]) * end for end in GRID]
    assert grid[-n_alphas].item() == pytest.approx(ends[0])
    assert grid[-1].item() == pytest.approx(ends[1])


@pytest.mark.parametrize("per_target", [False, True])
@pytest.mark.parametrize(("alphas", "end"), [([10.0, 20.0, 40.0], -1), ([1e-9, 2e-9, 4e-9], 1)])
def test_an_edge_is_flagged_wherever_the_grid_ends(per_target, alphas, end):
    x, y, *_ = problem(n=60, noise=0.5 if end < 0 else 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = Ridge(alphas=alphas, alpha_per_target=per_target).fit(x, y)
    assert found.summary()["at_edge"] == 1
    assert int(found.edges_.unique()) == end
