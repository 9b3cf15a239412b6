import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stitching.compute.rows import Rows
from stitching.probes import Coordinates
from tests.probes.clouds import standardised

WIDTHS = [5, 60]  # fewer and more dimensions than items


def latents_of(n=30, width=5, seed=0, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    spread = np.geomspace(0.1, 10, width)
    return torch.from_numpy(rng.standard_normal((n, width)) * spread + 3).to(dtype)


@pytest.mark.parametrize("width", WIDTHS)
def test_latents_are_standardised_by_the_fit_items(width):
    latents = latents_of(width=width)
    np.testing.assert_allclose(
        Coordinates(latents).standardised, standardised(latents), atol=1e-12
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_points_have_the_distances_of_the_standardised_latents(width):
    latents = latents_of(width=width)
    points = Coordinates(latents).points
    expected = torch.cdist(*[torch.from_numpy(standardised(latents))] * 2)
    torch.testing.assert_close(torch.cdist(points, points), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("width", WIDTHS)
def test_columns_of_points_are_orthogonal_and_sum_to_zero(width):
    coordinates = Coordinates(latents_of(width=width))
    assert coordinates.points.sum(0).abs().max() < 1e-10
    torch.testing.assert_close(
        coordinates.points.T @ coordinates.points,
        torch.diag(coordinates.squares),
        rtol=0,
        atol=1e-10,
    )


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("standardise", [True, False])
def test_weights_on_points_and_on_raw_latents_give_the_same_scores(width, standardise):
    latents = latents_of(width=width)
    coordinates = Coordinates(latents, standardise)
    weight = torch.randn(2, coordinates.points.shape[1], dtype=torch.float64, generator=seeded())
    spread = coordinates.unrotated(weight)
    raw, bias = coordinates.unscaled(spread, torch.ones(2) - spread @ coordinates.basis.mean)
    torch.testing.assert_close(latents @ raw.T + bias, coordinates.points @ weight.T + 1)


def seeded():
    return torch.Generator().manual_seed(0)


def test_constant_dimensions_are_left_out():
    latents = latents_of()
    latents[:, 2] = 0.1
    coordinates = Coordinates(latents)
    assert coordinates.n_constant == 1
    assert coordinates.scale[2] == 0
    assert (coordinates.standardised[:, 2] == 0).all()


def test_what_varies_by_rounding_alone_is_constant():
    latents = latents_of(dtype=torch.float32)
    latents[:, 2] = 0.1
    latents[::2, 2] = torch.nextafter(latents[0, 2], torch.tensor(1.0))
    assert Coordinates(latents).n_constant == 1


def test_a_large_mean_costs_no_digits():
    latents = latents_of()
    shifted = Coordinates(latents + 2.0**20).standardised
    torch.testing.assert_close(shifted, Coordinates(latents).standardised, rtol=0, atol=1e-8)


def test_raw_latents_stay_as_they_are():
    latents = latents_of(dtype=torch.float32)
    assert torch.equal(Coordinates(latents, standardise=False).standardised, latents)


def test_latents_are_not_modified():
    latents = latents_of()
    before = latents.clone()
    _ = Coordinates(latents).points
    assert torch.equal(latents, before)


def test_the_first_items_are_taken_of_too_many():
    latents = latents_of(30)
    coordinates = Coordinates(latents, max_items=10)
    assert (coordinates.n_given, coordinates.n_items) == (30, 10)
    assert torch.equal(coordinates.standardised, Coordinates(latents[:10]).standardised)


@pytest.mark.parametrize("max_items", [100, 12])
def test_streamed_latents_are_those_in_memory(tmp_path, max_items):
    latents = latents_of(30, 60, dtype=torch.float32)
    files = []
    for i, part in enumerate(latents.split(8)):
        files.append(tmp_path / f"{i}.safetensors")
        save_file({"latents": part.contiguous()}, files[-1])
    streamed = Coordinates(Rows(files), max_items=max_items)
    memory = Coordinates(latents, max_items=max_items)
    assert torch.equal(streamed.points, memory.points)


@pytest.mark.parametrize(
    ("latents", "error", "message"),
    [
        (torch.zeros(4, 2, dtype=torch.int64), TypeError, "latents must be floating point"),
        (torch.zeros(1, 2), ValueError, "at least 2 items to fit on, got 1"),
        (torch.tensor([[0.0], [torch.nan]]), ValueError, r"latents has values .*rows 1"),
    ],
)
def test_latents_that_cannot_be_fitted_on_are_an_error(latents, error, message):
    with pytest.raises(error, match=message):
        Coordinates(latents)
