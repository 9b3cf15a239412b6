"""The eigendecomposition of a source, and what maps share of it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stitching.maps import OLS, Factorisation, Ridge, factorise
from tests.maps.helpers import WIDTHS, fit_quietly, paired, relative


def centred_svd(source):
    """U, s and V' of the centred source, s ascending as in a factorisation."""
    left, values, right = np.linalg.svd((source - source.mean(0)).numpy(), full_matrices=False)
    return tuple(torch.from_numpy(x.copy()) for x in (left[:, ::-1], values[::-1], right[::-1]))


# --- What is decomposed


@pytest.mark.parametrize("width", WIDTHS)
def test_eigenvalues_are_squared_singular_values_of_the_centred_source(width):
    source = paired(30, width)[0]
    expected = centred_svd(source)[1].square()
    assert relative(factorise(source).eigenvalues, expected) < 1e-12


def test_a_factorisation_keeps_the_smaller_gram_matrix_only():
    sizes = [factorise(paired(30, width)[0]).eigenvectors.shape for width in (7, 30, 50)]
    assert sizes == [(7, 7), (30, 30), (30, 30)]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_rank_counts_directions_in_which_the_centred_source_varies(width):
    source = paired(30, width)[0]
    basis = factorise(source)
    assert basis.rank == np.linalg.matrix_rank((source - source.mean(0)).numpy())
    assert basis.residual_rank == 29 - basis.rank


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("width", [7, 50])
def test_any_dtype_is_decomposed_in_float64(width, dtype):
    source = paired(30, width)[0].to(dtype)
    basis, exact = factorise(source), factorise(source.double())
    assert torch.equal(basis.eigenvalues, exact.eigenvalues)
    assert torch.equal(basis.eigenvectors, exact.eigenvectors)


@pytest.mark.parametrize("value", [0.1, 1e6 + 1 / 3, -7.7e-5])
@pytest.mark.parametrize("width", [4, 60])
def test_constant_columns_centre_to_exactly_nothing(width, value):
    basis = factorise(torch.full((37, width), value, dtype=torch.float64))
    assert basis.rank == 0
    assert bool((basis.eigenvalues == 0).all())


def test_a_mean_far_beyond_the_spread_does_not_add_a_direction():
    rng = torch.Generator().manual_seed(0)
    source = 1e9 + 1e-3 * torch.randn(5, 20, generator=rng, dtype=torch.float64)
    assert factorise(source).rank == 4


def test_images_and_integers_are_no_latents():
    with pytest.raises(ValueError, match=r"\(2, 3, 8, 8\): flatten"):
        factorise(torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match="with at least one column"):
        factorise(torch.zeros(2, 0))
    with pytest.raises(TypeError, match=r"floating point, got torch.int64"):
        factorise(torch.zeros(2, 3, dtype=torch.int64))


def test_one_item_is_too_few():
    with pytest.raises(ValueError, match="at least 2 training items, source has 1"):
        factorise(torch.zeros(1, 3))


# --- Rotations


@pytest.mark.parametrize("width", WIDTHS)
def test_a_rotated_target_is_its_product_with_the_components_of_the_source(width):
    source, target = paired(30, width)
    basis, mean = factorise(source), target.mean(0)
    _, values, axes = centred_svd(source)
    rotated = axes @ (source - source.mean(0)).T @ (target - mean)
    # Signs of components are free, and so is a component in which nothing varies.
    actual, varies = basis.rotate(source, target, mean), values > 1e-9
    assert relative(actual[varies].abs(), rotated[varies].abs()) < 1e-10
    assert float(actual[~varies].abs().sum()) < 1e-10


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("width", [7, 50])
def test_a_rotated_target_has_the_dtype_of_the_target_and_float32_at_least(width, dtype):
    source, target = paired(30, width)
    rotated = factorise(source).rotate(source, target.to(dtype), target.mean(0))
    assert rotated.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


@pytest.mark.parametrize("width", WIDTHS)
def test_coordinates_of_the_source_have_the_squared_norms_of_the_spectrum(width):
    source = paired(30, width)[0]
    basis = factorise(source)
    found = basis.coordinates(source, source)
    assert relative(found.T @ found, torch.diag(basis.eigenvalues)) < 1e-10


@pytest.mark.parametrize("width", WIDTHS)
def test_left_singular_vectors_times_s_are_the_coordinates(width):
    source = paired(30, width)[0]
    basis = factorise(source)
    left = torch.cat([rows for _, rows in basis.left_rows(source)])
    coordinates = basis.coordinates(source, source)
    assert relative(left * basis.eigenvalues.sqrt(), coordinates) < 1e-9


@pytest.mark.parametrize("width", [7, 50])
def test_folds_are_factorised_without_every_kth_row_and_once(width):
    source = paired(31, width)[0]
    basis = factorise(source)
    folds = basis.folds(source, 4)
    for i, fold in enumerate(folds):
        keep = torch.arange(31) % 4 != i
        assert torch.equal(fold.eigenvalues, factorise(source[keep]).eigenvalues)
    assert all(a is b for a, b in zip(folds, basis.folds(source, 4), strict=True))


# --- Condition


@pytest.mark.parametrize("alpha", [0.0, 0.3, 100.0])
@pytest.mark.parametrize("width", [1, 7, 29])
def test_the_condition_number_is_that_of_the_regularised_gram_matrix(width, alpha):
    source, _ = paired(40, width)
    x = (source - source.mean(0)).numpy()
    expected = np.linalg.cond(x.T @ x + alpha * np.eye(width))
    assert factorise(source).condition(alpha) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 100.0])
def test_the_condition_number_of_the_dual_form_leaves_the_mean_out(alpha):
    source, _ = paired(40, 90)
    x = (source - source.mean(0)).numpy()
    # Differences of items: an orthonormal basis of what is left without the mean.
    apart = np.linalg.qr(np.eye(40)[:, :-1] - 1 / 40)[0]
    expected = np.linalg.cond(apart.T @ (x @ x.T) @ apart + alpha * np.eye(39))
    assert factorise(source).condition(alpha) == pytest.approx(expected, rel=1e-9)


def test_nothing_that_varies_has_no_condition_number():
    assert factorise(torch.full((5, 3), 0.1)).condition(1.0) is None


# --- Shared by several maps


@pytest.mark.parametrize("width", [7, 30, 50])
def test_a_shared_factorisation_gives_the_same_map(width):
    source, target = paired(30, width)
    shared = factorise(source)
    apart = Ridge().fit(source, target).predict(source)
    assert torch.equal(Ridge().fit(source, target, shared).predict(source), apart)
    assert torch.equal(Ridge().fit(source, target, shared).predict(source), apart)


@pytest.mark.parametrize("width", [7, 50])
def test_one_map_leaves_no_trace_in_another_of_the_same_factorisation(width):
    source, target = paired(30, width)
    other = target.flip(0)[:, :2].float()
    shared = factorise(source)
    fit_quietly(OLS(), source, other, shared).predict(source[:5])
    Ridge(selection="kfold").fit(source, other, shared).predict(source[:7])
    found = Ridge(selection="loo").fit(source, target, shared).predict(source)
    assert torch.equal(found, Ridge(selection="loo").fit(source, target).predict(source))


@pytest.mark.parametrize("width", [7, 50])
def test_a_factorisation_of_other_latents_is_refused(width):
    source, target = paired(30, width)
    other = source.clone()
    other[3, 2] += 1e-3
    with pytest.raises(ValueError, match="made from other latents or another row order"):
        Ridge().fit(source, target, factorise(other))


@pytest.mark.parametrize("width", [7, 50])
def test_latents_that_change_after_they_were_accepted_are_refused(width):
    source, target = paired(30, width)
    shared = factorise(source)
    Ridge(alpha=1.0).fit(source, target, shared)
    source.numpy()[3, 2] += 1e-3  # unseen by torch's count of writes
    with pytest.raises(ValueError, match="made from other latents"):
        Ridge(alpha=1.0).fit(source, target, shared)


@pytest.mark.parametrize("width", [7, 50])
def test_a_restored_factorisation_refuses_latents_that_change_as_well(width):
    source, target = paired(30, width)
    shared = Factorisation.from_tensors(factorise(source).to_tensors())
    Ridge(alpha=1.0).fit(source, target, shared)
    source.numpy()[3, 2] += 1e-3
    with pytest.raises(ValueError, match="made from other latents"):
        Ridge(alpha=1.0).fit(source, target, shared)


def test_a_dual_factorisation_in_another_row_order_is_refused():
    source, target = paired(30, 50)
    with pytest.raises(ValueError, match="another row order"):
        Ridge().fit(source.flip(0), target.flip(0), factorise(source))


def test_a_primal_factorisation_does_not_depend_on_row_order():
    source, target = paired(30, 7)
    flipped = Ridge().fit(source.flip(0), target.flip(0), factorise(source)).predict(source)
    assert relative(flipped, Ridge().fit(source, target).predict(source)) < 1e-10


@pytest.mark.parametrize("selection", ["gcv", "loo"])
def test_a_primal_factorisation_does_not_depend_on_row_order_after_a_fit(selection):
    source, target = paired(30, 7)
    shared = factorise(source)
    first = Ridge(selection=selection).fit(source, target, shared).predict(source)
    second = Ridge(selection=selection).fit(source.flip(0), target.flip(0), shared)
    assert relative(second.predict(source), first) < 1e-10


def test_folds_follow_the_rows_of_the_source_at_hand():
    source, target = paired(30, 7)
    shared = factorise(source)
    Ridge(selection="kfold", n_folds=4).fit(source, target, shared)
    flipped = source.flip(0), target.flip(0)
    again = Ridge(selection="kfold", n_folds=4).fit(*flipped, shared)
    fresh = Ridge(selection="kfold", n_folds=4).fit(*flipped)
    assert relative(again.scores_, fresh.scores_) < 1e-9


def test_a_factorisation_of_another_shape_is_refused():
    source, target = paired(30, 7)
    with pytest.raises(ValueError, match=r"\(30, 7\) but the factorisation .*\(29, 7\)"):
        Ridge().fit(source, target, factorise(source[:29]))


@pytest.mark.parametrize("width", [7, 50])
def test_remembered_coordinates_are_those_of_the_values_not_of_the_tensor(width):
    source, target = paired(30, width)
    fitted, numbers = Ridge(alpha=1.0).fit(source, target), source[:5].numpy().copy()
    latents = torch.from_numpy(numbers)
    before = fitted.predict(latents)
    numbers += 1  # unseen by torch's count of writes
    after = fitted.predict(latents)
    assert torch.equal(after, Ridge(alpha=1.0).fit(source, target).predict(latents))
    assert not torch.equal(after, before)


@pytest.mark.parametrize("width", [7, 50])
def test_coordinates_are_remembered_for_the_next_map(width, monkeypatch):
    source, target = paired(30, width)
    shared, calls = factorise(source), []
    project = Factorisation._project
    monkeypatch.setattr(Factorisation, "_project", lambda *args: calls.append(1) or project(*args))
    for columns in (target, target[:, :2]):
        Ridge(alpha=1.0).fit(source, columns, shared).predict(source[:6])
    assert len(calls) == 1


# --- Stored


@pytest.mark.parametrize("width", [7, 50])
def test_a_factorisation_survives_being_stored(width):
    source, target = paired(30, width)
    stored = {key: value.clone() for key, value in factorise(source).to_tensors().items()}
    restored = Factorisation.from_tensors(stored)
    expected = Ridge().fit(source, target).predict(source)
    assert torch.equal(Ridge().fit(source, target, restored).predict(source), expected)


def test_a_damaged_stored_factorisation_is_refused():
    stored = factorise(paired(30, 7)[0]).to_tensors()
    with pytest.raises(ValueError, match="lacks"):
        Factorisation.from_tensors({"mean": stored["mean"]})
    stored["eigenvalues"] = stored["eigenvalues"][:3]
    with pytest.raises(ValueError, match="needs 7 eigenvalues"):
        Factorisation.from_tensors(stored)


def test_moving_to_the_same_device_is_free():
    basis = factorise(paired(30, 7)[0])
    assert basis.to(torch.device("cpu")) is basis


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 12),
    width=st.integers(1, 14),
    offset=st.sampled_from([0.0, 1e3]),
    alpha=st.sampled_from([1e-3, 1.0, 30.0]),
    seed=st.integers(0, 10_000),
)
def test_filters_of_any_shape_add_up_to_the_degrees_of_freedom(n, width, offset, alpha, seed):
    basis = factorise(paired(n, width, seed=seed)[0] + offset)
    penalty = torch.tensor([alpha], dtype=torch.float64)
    dof = float(basis.degrees_of_freedom(penalty))
    left = float(basis.residual_filter(penalty).sum())
    left *= alpha if basis.residual_rank == 0 else 1
    assert dof + left == pytest.approx(basis.rank, rel=1e-12)
    assert dof == pytest.approx(float(basis.eigenvalues @ basis.shrinkage(penalty)), rel=1e-12)


@pytest.mark.parametrize("width", [3, 9])
def test_values_whose_squares_overflow_are_refused(width):
    source = 1e200 * torch.randn(5, width, generator=torch.Generator().manual_seed(0)).double()
    with pytest.raises(ValueError, match="squares are not finite in float64: scale the latents"):
        factorise(source)


@pytest.mark.parametrize(("n", "d"), [(30, 50), (60, 20)])
@pytest.mark.parametrize("chunk", [None, 16])
def test_leading_components_are_the_last_coordinates(n, d, chunk):
    x, y = torch.randn(n, d), torch.randn(9, d)
    basis = factorise(x, chunk)
    kept = None if chunk else x
    torch.testing.assert_close(basis.leading(y, kept, 5), basis.coordinates(y, kept)[:, -5:])
    torch.testing.assert_close(basis.leading_left(x, 5), basis.coordinates(x, kept)[:, -5:])
