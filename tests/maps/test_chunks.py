"""Latents that are streamed by rows give the same maps as latents in memory."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stitching.maps import (
    OLS,
    Factorisation,
    Identity,
    Map,
    ReducedRank,
    Ridge,
    factorise,
    leave_one_out,
    load_map,
)
from tests.maps.helpers import Streamed, fit_quietly, paired, relative

N = 40
#: Primal and square; and D > N, where latents in memory would be solved in the dual form.
WIDTHS = pytest.mark.parametrize("width", [7, N, 70])
CHUNKS = pytest.mark.parametrize("chunk", [1, 7, N, N + 3])
ALPHAS = [0.01, 0.1, 1.0, 10.0, 100.0]
KINDS = {
    "ridge": lambda chunk: Ridge(alpha=0.5, chunk=chunk),
    "gcv": lambda chunk: Ridge(alphas=ALPHAS, chunk=chunk),
    "gcv per target": lambda chunk: Ridge(alphas=ALPHAS, alpha_per_target=True, chunk=chunk),
    "ols": lambda chunk: OLS(chunk=chunk),
    "reduced_rank": lambda chunk: ReducedRank(2, alpha=0.5, chunk=chunk),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def new_items(width):
    return paired(12, width, seed=1)[0]


def tolerance(dtype):
    # Rounding of float64 sums, amplified by a condition of 1e4; and of float32 products.
    return 1e-10 if dtype == torch.float64 else 2e-6


# --- Equal to latents in memory


@every_kind
@WIDTHS
@CHUNKS
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_streamed_fit_predicts_like_one_in_memory(kind, width, chunk, dtype):
    source, target = (x.to(dtype) for x in paired(N, width))
    whole = fit_quietly(KINDS[kind](None), source, target)
    parts = fit_quietly(KINDS[kind](chunk), Streamed(source), Streamed(target))
    latents = new_items(width).to(dtype)
    found = parts.predict(latents)
    assert found.dtype == dtype
    assert relative(found, whole.predict(latents)) < tolerance(dtype)


@every_kind
@WIDTHS
def test_a_streamed_fit_has_the_weight_and_bias_of_one_in_memory(kind, width):
    source, target = paired(N, width)
    whole = fit_quietly(KINDS[kind](None), source, target)
    parts = fit_quietly(KINDS[kind](7), Streamed(source), Streamed(target))
    assert relative(parts.weight, whole.weight) < 1e-10
    assert relative(parts.bias, whole.bias) < 1e-10


@every_kind
@WIDTHS
def test_a_streamed_fit_has_the_facts_of_one_in_memory(kind, width):
    source, target = paired(N, width)
    whole = fit_quietly(KINDS[kind](None), source, target).summary()
    parts = fit_quietly(KINDS[kind](7), Streamed(source), Streamed(target)).summary()
    numbers = {key: value for key, value in whole.items() if isinstance(value, float)}
    assert {key: parts[key] for key in numbers} == pytest.approx(numbers, rel=1e-8, abs=1e-12)
    assert {k: v for k, v in parts.items() if k not in numbers} == {
        k: v for k, v in whole.items() if k not in numbers
    }


@pytest.mark.parametrize("per_target", [False, True])
@WIDTHS
def test_a_streamed_fit_has_the_scores_of_one_in_memory(width, per_target):
    source, target = paired(N, width)
    options = {"n_alphas": 9, "alpha_per_target": per_target}
    whole = fit_quietly(Ridge(**options), source, target)
    parts = fit_quietly(Ridge(chunk=7, **options), Streamed(source), Streamed(target))
    assert relative(parts.scores_, whole.scores_) < 1e-9
    assert relative(parts.alphas_, whole.alphas_) < 1e-9


@WIDTHS
def test_every_chunk_gives_the_same_map_to_rounding(width):
    source, target = paired(N, width)
    predicted = [
        Ridge(alpha=0.5, chunk=chunk).fit(Streamed(source), Streamed(target)).predict(source)
        for chunk in (1, 7, N)
    ]
    assert relative(predicted[0], predicted[2]) < 1e-12
    assert relative(predicted[1], predicted[2]) < 1e-12


@every_kind
@WIDTHS
def test_tensors_may_be_streamed_too(kind, width):
    source, target = paired(N, width)
    parts = fit_quietly(KINDS[kind](7), Streamed(source), Streamed(target))
    whole = fit_quietly(KINDS[kind](7), source, target)
    assert torch.equal(whole.predict(source), parts.predict(source))


@WIDTHS
def test_errors_of_a_streamed_map_by_rank_are_those_of_one_in_memory(width):
    source, target = paired(N, width, 6)
    whole = ReducedRank(None, alpha=0.5).fit(source, target)
    parts = ReducedRank(None, alpha=0.5, chunk=7).fit(Streamed(source), Streamed(target))
    expected = whole.errors_by_rank(source, target)
    assert relative(parts.errors_by_rank(source, target), expected) < 1e-10


@WIDTHS
def test_the_weakest_penalty_of_the_default_grid_keeps_five_digits_of_a_streamed_fit(width):
    source, target = paired(N, width)
    # Rounding (2e-16) over the penalty, both as a part of the largest eigenvalue.
    alpha = 1e-10 * float(factorise(source).eigenvalues[-1])
    whole = fit_quietly(Ridge(alpha=alpha), source, target)
    parts = fit_quietly(Ridge(alpha=alpha, chunk=7), Streamed(source), Streamed(target))
    latents = new_items(width)
    assert relative(parts.predict(latents), whole.predict(latents)) < 2e-6


def test_a_streamed_source_with_a_large_mean_keeps_six_digits():
    source, target = (x.float() for x in paired(N, 5))
    source += 1e4
    whole = Ridge(alpha=0.1).fit(source.double(), target.double())
    parts = Ridge(alpha=0.1, chunk=7).fit(Streamed(source), Streamed(target))
    assert relative(parts.weight.double(), whole.weight) < 1e-6


# --- How much is read


@every_kind
@WIDTHS
@CHUNKS
def test_no_more_rows_are_read_at_a_time_than_the_chunk(kind, width, chunk):
    source, target = (Streamed(x) for x in paired(N, width))
    fit_quietly(KINDS[kind](chunk), source, target)
    assert max(source.read_sizes) == max(target.read_sizes) == min(chunk, N)


@WIDTHS
def test_a_given_factorisation_is_checked_by_chunks_as_well(width):
    source, target = (Streamed(x) for x in paired(N, width))
    basis = factorise(source, chunk=7)
    Ridge(alpha=0.5, chunk=7).fit(source, target, basis)
    assert max(source.read_sizes) == max(target.read_sizes) == 7


@WIDTHS
def test_a_streamed_map_keeps_no_training_item(width, tmp_path):
    source, target = (Streamed(x) for x in paired(N, width))
    fitted = Ridge(alpha=0.5, chunk=7).fit(source, target)
    latents = new_items(width)
    expected = fitted.predict(latents)
    del source, target
    fitted.save(tmp_path / "map")
    loaded = load_map(tmp_path / "map")
    assert loaded.chunk == 7
    assert relative(loaded.predict(latents), expected) < 1e-12


def test_the_identity_looks_at_streamed_latents_once():
    source, _ = paired(N, 5)
    fitted = Identity().fit(Streamed(source), Streamed(source + 2))
    assert fitted.summary()["train_mse"] == pytest.approx(4)


# --- Streamed factorisations


@WIDTHS
def test_a_streamed_factorisation_is_primal_whatever_the_width(width):
    source, _ = paired(N, width)
    basis = factorise(Streamed(source), chunk=7)
    assert not basis.dual
    assert basis.eigenvectors.shape == (width, width)
    assert basis.rank == factorise(source).rank


@WIDTHS
def test_a_streamed_factorisation_survives_being_stored(width):
    source, target = paired(N, width)
    basis = factorise(Streamed(source), chunk=7)
    restored = Factorisation.from_tensors(basis.to_tensors(), chunk=9)
    assert restored.chunk == 9
    fitted = Ridge(alpha=0.5, chunk=9).fit(Streamed(source), Streamed(target), restored)
    expected = Ridge(alpha=0.5).fit(source, target)
    assert relative(fitted.predict(source), expected.predict(source)) < 1e-10


def test_a_stored_dual_factorisation_is_no_streamed_one():
    stored = factorise(paired(N, 70)[0]).to_tensors()
    with pytest.raises(ValueError, match="needs 70 eigenvalues and 70 x 70 eigenvectors"):
        Factorisation.from_tensors(stored, chunk=7)


@WIDTHS
def test_leaving_one_out_works_by_chunks(width):
    source, target = paired(N, width)
    alpha = torch.tensor([0.01, 0.5, 10.0, 300.0], dtype=torch.float64)
    expected = leave_one_out(factorise(source), source, target, alpha)
    rows = Streamed(source)
    found = leave_one_out(factorise(rows, chunk=7), rows, target, alpha)
    assert relative(found, expected) < 1e-9
    assert max(rows.read_sizes) == 7


@WIDTHS
def test_one_streamed_factorisation_serves_every_target(width):
    source, target = paired(N, width)
    basis = factorise(Streamed(source), chunk=7)
    for columns in (target, target[:, :2].flip(0)):
        fitted = Ridge(alpha=0.5, chunk=7).fit(Streamed(source), Streamed(columns), basis)
        expected = Ridge(alpha=0.5).fit(source, columns).predict(source)
        assert relative(fitted.predict(source), expected) < 1e-10


@WIDTHS
def test_a_factorisation_in_memory_is_refused_for_streamed_latents(width):
    source, target = paired(N, width)
    with pytest.raises(ValueError, match="chunk"):
        Ridge(alpha=0.5, chunk=7).fit(Streamed(source), Streamed(target), factorise(source))


@pytest.mark.parametrize("selection", ["gcv", "loo", "kfold"])
@WIDTHS
def test_a_streamed_factorisation_serves_a_fit_in_memory(width, selection):
    source, target = paired(N, width)
    ours = Ridge(n_alphas=9, selection=selection)
    found = fit_quietly(ours, source, target, factorise(source, chunk=7))
    expected = fit_quietly(Ridge(n_alphas=9, selection=selection), source, target)
    assert relative(found.scores_, expected.scores_) < 1e-9
    assert relative(found.predict(source), expected.predict(source)) < 1e-9


@WIDTHS
def test_a_streamed_factorisation_of_other_latents_is_refused(width):
    source, target = paired(N, width)
    basis = factorise(Streamed(source), chunk=7)
    source[3, 2] += 1e-3
    with pytest.raises(ValueError, match="made from other latents"):
        Ridge(alpha=0.5, chunk=7).fit(Streamed(source), Streamed(target), basis)


# --- What cannot be streamed


@pytest.mark.parametrize("latent_map", [Ridge(), OLS(), ReducedRank(2)])
def test_what_is_no_tensor_needs_a_chunk(latent_map: Map):
    source, target = paired(N, 7)
    with pytest.raises(TypeError, match=r"source is no tensor but Streamed: set map\.chunk"):
        latent_map.fit(Streamed(source), target)
    with pytest.raises(TypeError, match=r"target is no tensor but Streamed: set map\.chunk"):
        latent_map.fit(source, Streamed(target))


@pytest.mark.parametrize("kind", [Ridge, ReducedRank])
@pytest.mark.parametrize("selection", ["loo", "kfold"])
def test_scores_that_go_over_all_latents_cannot_be_streamed(kind, selection):
    with pytest.raises(ValueError, match=f"map.selection={selection} goes over all latents"):
        kind(selection=selection, chunk=7)


def test_streamed_values_that_are_not_finite_are_an_error_naming_the_rows():
    source, target = paired(N, 7)
    source[[3, 17, 38], 1] = torch.nan
    with pytest.raises(ValueError, match=r"source has values .* 3 of 40 rows \(rows 3, 17, 38\)"):
        Ridge(alpha=0.5, chunk=7).fit(Streamed(source), Streamed(target))


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(2, 12),
    width=st.integers(1, 14),
    d_target=st.integers(1, 4),
    chunk=st.integers(1, 14),
    offset=st.sampled_from([0.0, 100.0]),
    constant=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_any_shape_and_chunk_is_solved_alike(n, width, d_target, chunk, offset, constant, seed):
    source, target = paired(n, width, d_target, seed=seed)
    source = source + offset
    if constant:
        source[:, 0] = 0.1
    whole = fit_quietly(Ridge(alpha=0.5), source, target)
    parts = fit_quietly(Ridge(alpha=0.5, chunk=chunk), Streamed(source), Streamed(target))
    assert relative(parts.predict(source), whole.predict(source)) < 1e-9
    assert parts.summary()["rank"] == whole.summary()["rank"]
