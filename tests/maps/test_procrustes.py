"""Orthogonal maps, against scipy, against the definition and between spaces of any two widths."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes, svd

from stitching.maps.procrustes import Procrustes
from tests.maps.helpers import paired, relative

#: Source and target widths around N = 30, the smaller one below N.
PAIRS = [(5, 5), (5, 9), (9, 5), (5, 80), (80, 5), (29, 80), (80, 29)]


def rotation(width, seed=1):
    """A random orthogonal matrix, float64."""
    rng = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(width, width, generator=rng, dtype=torch.float64))[0]


def centred(x):
    return x - x.mean(0)


def isometry(fitted):
    """W without its scale."""
    return fitted.weight / fitted.summary()["scale"]


# --- What it finds


@pytest.mark.parametrize("width", [1, 6, 20])
def test_a_known_rotation_scale_and_shift_are_recovered(width):
    source, _ = paired(30, width)
    turn, shift = rotation(width), torch.arange(1.0, width + 1).double()
    fitted = Procrustes().fit(source, 2.5 * source @ turn.T + shift)
    assert relative(fitted.weight, 2.5 * turn) < 1e-12
    assert fitted.summary()["scale"] == pytest.approx(2.5)
    assert relative(fitted.bias, shift) < 1e-11
    unseen, _ = paired(7, width, seed=3)
    assert relative(fitted.predict(unseen), 2.5 * unseen @ turn.T + shift) < 1e-12


def test_a_reflection_is_recovered():
    source, _ = paired(30, 4)
    mirrored = source * torch.tensor([1.0, -1, 1, 1])
    assert relative(Procrustes().fit(source, mirrored).predict(source), mirrored) < 1e-12


@pytest.mark.parametrize("width", [2, 9, 29])
def test_rotation_and_scale_equal_those_of_scipy(width):
    source, target = paired(30, width, width)
    fitted = Procrustes().fit(source, target)
    turn, total = orthogonal_procrustes(centred(source), centred(target))
    scale = total / float(centred(source).square().sum())
    assert relative(fitted.weight, scale * turn.T) < 1e-10
    assert fitted.summary()["scale"] == pytest.approx(scale)


@pytest.mark.parametrize(("d_source", "d_target"), PAIRS)
def test_unequal_widths_are_those_of_scipy_with_zero_columns(d_source, d_target):
    source, target = paired(30, d_source, d_target)
    width = max(d_source, d_target)
    padded = [np.zeros((30, width)) for _ in range(2)]
    padded[0][:, :d_source], padded[1][:, :d_target] = centred(source), centred(target)
    turn, _ = orthogonal_procrustes(*padded)
    fitted = Procrustes(scale=False).fit(source, target)
    assert relative(fitted.weight, turn[:d_source, :d_target].T.copy()) < 1e-9


@pytest.mark.parametrize(("d_source", "d_target"), PAIRS)
def test_the_map_is_orthogonal(d_source, d_target):
    fitted = Procrustes().fit(*paired(30, d_source, d_target))
    found = isometry(fitted)
    rows = found @ found.T if d_target <= d_source else found.T @ found
    assert float((rows - torch.eye(len(rows))).abs().max()) < 1e-10
    assert fitted.summary()["rank"] == min(d_source, d_target)


@pytest.mark.parametrize(("d_source", "d_target"), [(300, 200), (40, 300), (200, 40), (40, 40)])
def test_spaces_wider_than_the_items_equal_the_direct_computation(d_source, d_target):
    source, target = paired(30, d_source, d_target)
    left, values, right = svd((centred(source).T @ centred(target)).numpy(), full_matrices=False)
    turn = torch.from_numpy(left[:, :29] @ right[:29])
    scale = values[:29].sum() / float((centred(source) @ turn).square().sum())
    fitted = Procrustes().fit(source, target)
    assert relative(fitted.weight, scale * turn.T) < 1e-9
    assert fitted.summary()["rank"] == 29


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(3, 12),
    d_source=st.integers(1, 14),
    d_target=st.integers(1, 14),
    seed=st.integers(0, 10_000),
)
def test_no_other_rotation_and_no_other_scale_fit_better(n, d_source, d_target, seed):
    source, target = paired(n, d_source, d_target, seed=seed)
    fitted = Procrustes().fit(source, target)
    x, y = centred(source), centred(target)
    moved = x @ isometry(fitted).T
    found = float((moved * y).sum())
    # Another isometry of the same directions, and the whole of the best one's neighbours.
    for step in (1e-3, 1.0):
        other = rotation(d_target, seed) - rotation(d_target, seed).T
        turned = moved @ torch.linalg.matrix_exp(step * other)
        assert float((turned * y).sum()) <= found + 1e-9 * abs(found)
    # The derivative by the scale vanishes.
    rest = fitted.predict(source) - target
    assert abs(float((rest * moved).sum())) < 1e-9 * float(y.square().sum())


@pytest.mark.parametrize(("d_source", "d_target"), PAIRS)
def test_without_a_scale_the_map_changes_no_distances(d_source, d_target):
    source, target = paired(30, d_source, d_target)
    fitted = Procrustes(scale=False).fit(source, 7 * target)
    assert fitted.summary()["scale"] == 1
    if d_source <= d_target:
        found, expected = (torch.pdist(x) for x in (fitted.predict(source), source))
        assert relative(found, expected) < 1e-12


# --- Invariances


@pytest.mark.parametrize(("d_source", "d_target"), [*PAIRS, (80, 90)])
def test_row_order_does_not_matter(d_source, d_target):
    source, target = paired(30, d_source, d_target)
    expected = Procrustes().fit(source, target).predict(source)
    turned = Procrustes().fit(source.flip(0), target.flip(0)).predict(source)
    assert relative(turned, expected) < 1e-9


@pytest.mark.parametrize(("d_source", "d_target"), [*PAIRS, (80, 90)])
def test_a_rotated_scaled_and_shifted_source_gives_the_same_predictions(d_source, d_target):
    source, target = paired(30, d_source, d_target)
    other = 3 * source @ rotation(d_source) - 11
    expected = Procrustes().fit(source, target).predict(source)
    assert relative(Procrustes().fit(other, target).predict(other), expected) < 1e-9


@pytest.mark.parametrize(("d_source", "d_target"), [*PAIRS, (80, 90)])
def test_the_way_back_is_the_transposed_map_up_to_scale(d_source, d_target):
    source, target = paired(30, d_source, d_target)
    forth, back = Procrustes().fit(source, target), Procrustes().fit(target, source)
    assert relative(isometry(back), isometry(forth).T) < 1e-9


# --- Few items, degenerate latents


def test_directions_that_training_does_not_show_map_to_nothing():
    source, target = paired(10, 40, 50)
    fitted = Procrustes().fit(source, target)
    assert fitted.summary()["rank"] == 9
    values = torch.linalg.svdvals(isometry(fitted))
    assert float((values[:9] - 1).abs().max()) < 1e-10
    assert float(values[9:].max()) < 1e-10
    spanned = torch.linalg.qr(centred(source).T, mode="complete")[0]
    unseen = source.mean(0) + spanned[:, 10]
    assert relative(fitted.predict(unseen[None])[0], target.mean(0)) < 1e-10


@pytest.mark.parametrize("width", [4, 50])
def test_a_column_that_does_not_vary_maps_to_nothing(width):
    source, target = paired(30, width, width)
    source[:, 2] = 0.1
    fitted = Procrustes().fit(source, target)
    assert fitted.summary()["rank"] == min(width - 1, 29)
    assert float(fitted.weight[:, 2].abs().max()) < 1e-12


@pytest.mark.parametrize(("scale", "factor"), [(True, 0), (False, 1)])
def test_a_source_that_does_not_vary_maps_to_the_mean(scale, factor):
    source, target = paired(30, 4)
    fitted = Procrustes(scale).fit(torch.full_like(source, 0.1), target)
    expected = target.mean(0).expand(30, -1)
    assert relative(fitted.predict(source), expected) < 1e-12
    assert (fitted.summary()["rank"], fitted.summary()["scale"]) == (0, factor)


def test_a_target_that_does_not_vary_is_predicted_exactly():
    source, target = paired(30, 4)
    fitted = Procrustes().fit(source, torch.full_like(target, 0.1))
    assert bool((fitted.predict(source) == 0.1).all())
    assert fitted.summary()["train_r2"] is None


def test_two_items_are_passed_through_and_the_summary_says_so():
    source, target = paired(2, 6, 8)
    fitted = Procrustes().fit(source, target)
    assert relative(fitted.predict(source), target) < 1e-10
    assert fitted.summary()["interpolates"] == 1
    assert Procrustes(scale=False).fit(source, target).summary()["interpolates"] == 0


# --- Numerics


@pytest.mark.parametrize("width", [6, 50])
def test_float32_latents_are_solved_in_float64(width):
    source, target = (x.float() for x in paired(30, width, width))
    fitted = Procrustes().fit(source, target)
    exact = Procrustes().fit(source.double(), target.double())
    assert fitted.predict(source).dtype == torch.float32
    assert torch.equal(fitted.predict(source), exact.predict(source.double()).float())


def test_directions_that_are_weak_on_both_sides_are_kept():
    source, target = paired(30, 5, 5)
    weak = torch.logspace(0, -5.5, 5).double()  # 1e-11 of the strongest in the cross-covariance
    fitted = Procrustes().fit(centred(source) * weak, centred(target) * weak)
    assert fitted.summary()["rank"] == 5
    found = isometry(fitted)
    assert float((found @ found.T - torch.eye(5)).abs().max()) < 1e-10


def test_a_weak_direction_of_a_wide_space_is_kept_orthonormal():
    source, target = paired(30, 60, 60)
    # The weakest of 29 directions has 1e-6 of the strongest one's spread, 1e-12 of its variance.
    left, _, right = torch.linalg.svd(centred(source), full_matrices=False)
    weak = left[:, :29] * torch.logspace(0, -6, 29).double() @ right[:29]
    found = isometry(Procrustes().fit(weak, target))
    values = torch.linalg.svdvals(found)
    assert float((values[:29] - 1).abs().max()) < 1e-10


def test_nothing_wider_than_the_items_is_decomposed_or_kept(monkeypatch):
    n, width = 20, 700
    source, target = paired(n, width, width)
    shapes, whole = [], torch.linalg.svd

    def watched(x, **options):
        shapes.append(x.shape)
        return whole(x, **options)

    monkeypatch.setattr(torch.linalg, "svd", watched)
    fitted = Procrustes().fit(source, target)
    assert shapes == [(n, n)]
    assert max(x.numel() for x in fitted._tensors.values()) <= n * width
