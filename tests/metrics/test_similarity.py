import itertools
import math

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from stitching.metrics import similarity
from stitching.metrics.gram import gram_matrix
from stitching.metrics.resampling import Resamples, t_factor
from stitching.metrics.similarity import (
    CKA,
    CanonicalCorrelation,
    NeighbourOverlap,
    Procrustes,
    Space,
)

VALUE_ONLY = 0, 0


def normal(n, d, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g, dtype=torch.float64)


def rotation(d, seed):
    return torch.linalg.qr(normal(d, d, seed))[0]


def related(n, seed=0, noise=1.0):
    """Two noisy views of one signal, of widths 20 and 50."""
    signal = normal(n, 10, seed)
    views = (signal @ normal(10, d, 1000 + d) / 3 for d in (20, 50))
    return tuple(v + noise * normal(n, v.shape[1], seed + v.shape[1]) for v in views)


def build(kind, a, b, k=5):
    spaces = Space.of(a), Space.of(b)
    return kind(*spaces, k) if kind in (NeighbourOverlap, CanonicalCorrelation) else kind(*spaces)


def value(kind, a, b, **options):
    return build(kind, a, b, **options).estimate(Resamples(len(a), *VALUE_ONLY)).value


KINDS = [CKA, NeighbourOverlap, CanonicalCorrelation, Procrustes]


# --- Spaces


def test_gram_matrix_is_that_of_centred_latents_over_all_blocks():
    z = normal(300, 2500, 0) + 5
    centred = z - z.mean(dim=0)
    assert torch.allclose(gram_matrix(z), centred @ centred.T, rtol=1e-12, atol=1e-9)


def test_gram_matrix_of_equal_items_is_exactly_zero():
    assert gram_matrix(torch.full((7, 3), 0.1)).abs().max() == 0


def test_a_common_offset_leaves_the_gram_matrix_unchanged():
    z = normal(20, 6, 0)
    assert torch.allclose(gram_matrix(z + 1e6), gram_matrix(z), atol=1e-7)


@pytest.mark.parametrize(("shape", "rank"), [((30, 4), 4), ((30, 90), 29)])
def test_a_space_spans_its_dimensions_or_one_less_than_its_items(shape, rank):
    space = Space.of(normal(*shape, 0))
    assert space.rank == rank
    assert torch.allclose(space.scores @ space.scores.T, space.gram, atol=1e-12)
    assert float(space.lengths.square().sum()) == pytest.approx(1)


# --- All four


@pytest.mark.parametrize("kind", KINDS)
def test_rotation_scale_and_shift_leave_a_measure_unchanged(kind):
    a, b = related(40)
    turned = 3 * b @ rotation(50, 1) + 7
    assert value(kind, a, turned) == pytest.approx(value(kind, a, b), abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(CKA, 1), (NeighbourOverlap, 1), (CanonicalCorrelation, 1), (Procrustes, 0)],
)
def test_spaces_equal_up_to_rotation_and_scale_are_as_close_as_can_be(kind, expected):
    a = normal(40, 12, 0)
    assert value(kind, a, 0.1 * a @ rotation(12, 1)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_measure_is_symmetric(kind):
    a, b = related(40)
    assert value(kind, a, b) == pytest.approx(value(kind, b, a), abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_items_leaves_a_measure_unchanged(kind):
    a, b = related(40)
    order = torch.from_numpy(np.random.default_rng(0).permutation(40))
    assert value(kind, a[order], b[order]) == pytest.approx(value(kind, a, b), abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_shuffled_measure_is_that_of_shuffled_items(kind):
    a, b = related(40)
    order = np.random.default_rng(0).permutation(40)
    shuffled = build(kind, a, b).permuted(order)
    assert shuffled == pytest.approx(value(kind, a, b[torch.from_numpy(order)]), abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_less_noise_the_closer(kind):
    values = [value(kind, *related(60, noise=noise)) for noise in (0.1, 1, 5)]
    assert values == sorted(values, reverse=kind is not Procrustes)


@pytest.mark.parametrize("kind", [CKA, NeighbourOverlap, CanonicalCorrelation])
def test_draws_are_the_measure_on_half_of_the_items_around_the_value(kind):
    a, b = related(40)
    resamples = Resamples(40, 0, 6)
    # All of the components are kept: 4 k is beyond the rank.
    estimate = build(kind, a, b, k=5).estimate(resamples)
    halves = [value(kind, a[half], b[half], k=5) for half in resamples.halves]
    shift = estimate.draws - t_factor(40) * np.array(halves)
    assert estimate.draws.mean() == pytest.approx(estimate.value)
    tolerance = 0.02 if kind is CanonicalCorrelation else 1e-9
    assert shift == pytest.approx(shift[0], abs=tolerance)


@pytest.mark.parametrize("kind", [CKA, NeighbourOverlap, CanonicalCorrelation])
def test_half_samples_of_too_few_items_are_undefined(kind):
    a, b = related(6)
    estimate = build(kind, a, b, k=1).estimate(Resamples(6, 0, 10))
    assert estimate.value is not None
    assert np.isnan(estimate.draws).all()


@pytest.mark.parametrize("kind", KINDS)
def test_draws_spread_as_the_measure_does_from_test_set_to_test_set(kind):
    values, spreads = [], []
    for seed in range(120):
        a, b = related(100, seed=10_000 * seed)
        few = Resamples(100, 200, 40) if seed < 20 else Resamples(100, *VALUE_ONLY)
        estimate = build(kind, a, b).estimate(few)
        values.append(estimate.value)
        if estimate.draws is not None:
            spreads.append(estimate.draws.std())
    assert 0.85 <= np.mean(spreads) / np.std(values) <= 1.6


# --- CKA


def unbiased_hsic(k, m):
    """By its definition: mean over all different items, one sum for each number of indices."""
    n = len(k)
    pairs = [k[i, j] * m[i, j] for i, j in itertools.permutations(range(n), 2)]
    triples = [k[i, j] * m[i, q] for i, j, q in itertools.permutations(range(n), 3)]
    fours = [k[i, j] * m[q, r] for i, j, q, r in itertools.permutations(range(n), 4)]
    return float(np.mean(pairs) + np.mean(fours) - 2 * np.mean(triples))


def test_cka_is_the_ratio_of_unbiased_hsic():
    a, b = normal(6, 3, 0), normal(6, 4, 1)
    b[:, :3] += a
    k, m = ((z @ z.T).numpy() for z in (a, b))
    expected = unbiased_hsic(k, m) / math.sqrt(unbiased_hsic(k, k) * unbiased_hsic(m, m))
    assert value(CKA, a, b) == pytest.approx(expected, abs=1e-10)


def biased_cka(a, b):
    k, m = gram_matrix(a), gram_matrix(b)
    return float((k * m).sum() / (k.norm() * m.norm()))


def test_cka_of_unrelated_wide_spaces_is_near_zero_where_the_biased_one_is_near_one():
    pairs = [(normal(30, 400, seed), normal(30, 400, 100 + seed)) for seed in range(20)]
    debiased = np.array([value(CKA, a, b) for a, b in pairs])
    assert abs(debiased.mean()) < 3 * debiased.std() / math.sqrt(20)
    assert abs(debiased.mean()) < 0.02
    assert debiased.min() < 0
    assert min(biased_cka(a, b) for a, b in pairs) > 0.85


@given(st.integers(0, 200), st.integers(4, 12), st.integers(1, 30))
def test_cka_lies_between_minus_one_and_one(seed, n, d):
    a, b = normal(n, d, seed), normal(n, d, seed + 1)
    assert -1 - 1e-9 <= value(CKA, a, b) <= 1 + 1e-9


def test_cka_of_items_equally_far_from_each_other_is_undefined():
    measure = build(CKA, torch.eye(8), normal(8, 3, 0))
    assert "equally far" in measure.undefined
    assert measure.estimate(Resamples(8)).value is None


# --- Neighbours


def test_overlap_equals_that_of_scikit_learns_neighbours():
    a, b = related(60)
    near = [
        NearestNeighbors(n_neighbors=4).fit(z).kneighbors(return_distance=False)
        for z in (a.numpy(), b.numpy())
    ]
    shared = [len({*first} & {*second}) / 4 for first, second in zip(*near, strict=True)]
    assert value(NeighbourOverlap, a, b, k=4) == pytest.approx(np.mean(shared))


def test_unrelated_spaces_share_neighbours_by_chance():
    shared = [
        value(NeighbourOverlap, normal(51, 8, seed), normal(51, 8, 99 + seed))
        for seed in range(30)
    ]
    assert np.mean(shared) == pytest.approx(5 / 50, abs=0.01)


def test_overlap_by_hand():
    a = torch.tensor([[0.0], [1.0], [3.0], [7.0]])  # nearest: 1, 0, 1, 2
    b = torch.tensor([[0.0], [1.0], [9.0], [7.0]])  # nearest: 1, 0, 3, 2
    assert value(NeighbourOverlap, a, b, k=1) == 0.75


def test_equally_far_neighbours_divide_the_places_left():
    a = torch.tensor([[0.0], [1.0], [-1.0], [10.0], [14.0]])  # the first has two at distance 1
    b = torch.tensor([[0.0], [1.0], [-3.0], [10.0], [14.0]])
    # Of the first item half of a place is shared, of the others all of one.
    assert value(NeighbourOverlap, a, b, k=1) == pytest.approx(4.5 / 5)


def test_spaces_of_equal_items_but_one_share_neighbours_by_chance():
    a, b = torch.zeros(21, 2), torch.zeros(21, 2)
    a[0], b[1] = 1, 1
    assert value(NeighbourOverlap, a, b, k=5) == pytest.approx(5 / 20, abs=0.03)


# --- Canonical correlations


def test_invertible_linear_images_have_canonical_correlations_of_one():
    a = normal(50, 6, 0)
    image = a @ normal(6, 6, 1) + 3
    assert value(CanonicalCorrelation, a, image, k=6) == pytest.approx(1, abs=1e-9)


def test_canonical_correlation_equals_that_of_scikit_learns_components():
    a, b = related(80)
    x, y = (PCA(4, svd_solver="full").fit_transform(z.numpy()) for z in (a, b))
    product = np.linalg.solve(x.T @ x, x.T @ y) @ np.linalg.solve(y.T @ y, y.T @ x)
    expected = np.sqrt(np.linalg.eigvals(product).real).mean()
    assert value(CanonicalCorrelation, a, b, k=4) == pytest.approx(expected, abs=1e-9)


def test_half_samples_with_too_few_different_items_are_undefined():
    a = normal(40, 6, 0)
    a[3:] = a[3]  # most half-samples hold fewer than five different items
    estimate = build(CanonicalCorrelation, a, a, k=3).estimate(Resamples(40, 0, 30))
    assert estimate.value == pytest.approx(1)
    assert np.isnan(estimate.draws).any()


# --- Procrustes


def test_procrustes_distance_agrees_with_scipys_disparity():
    a, b = related(40)
    padded = torch.nn.functional.pad(a, (0, 30))
    disparity = scipy.spatial.procrustes(padded.numpy(), b.numpy())[2]
    expected = math.sqrt(2 - 2 * math.sqrt(1 - disparity))
    assert value(Procrustes, a, b) == pytest.approx(expected, abs=1e-9)


def test_procrustes_distance_of_uncorrelated_spaces_is_the_root_of_two():
    directions = torch.from_numpy(scipy.linalg.hadamard(8)).double()
    a, b = directions[:, 1:4], directions[:, 4:8]
    assert value(Procrustes, a, b) == pytest.approx(math.sqrt(2))


def test_procrustes_draws_keep_the_rotation_of_all_items():
    a, b = normal(40, 12, 0), normal(40, 12, 1)
    resamples = Resamples(40, 30, 0)
    unit = [(z - z.mean(dim=0)) / (z - z.mean(dim=0)).norm() for z in (a, b)]
    turned = unit[1] @ torch.from_numpy(
        scipy.linalg.orthogonal_procrustes(unit[1].numpy(), unit[0].numpy())[0]
    )
    draws = build(Procrustes, a, b).estimate(resamples).draws
    for counts, draw in zip(resamples.counts, draws, strict=True):
        x, y = (counts.sqrt()[:, None] * z for z in (unit[0], turned))
        assert draw == pytest.approx(float((x / x.norm() - y / y.norm()).norm()), abs=1e-9)


def test_procrustes_of_many_columns_is_that_of_few(monkeypatch):
    measure = build(Procrustes, *related(40))
    order = np.random.default_rng(0).permutation(40)
    few = measure.permuted(order)
    monkeypatch.setattr(similarity, "_FEW_COLUMNS", 0)
    assert measure.permuted(order) == pytest.approx(few, abs=1e-6)
