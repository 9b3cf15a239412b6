"""Ridge regression of a given penalty: closed forms, invariances, precision, settings."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stitching.maps import InterpolationWarning, Ridge, factorise
from tests.maps.helpers import WIDTHS, fit_quietly, hat_matrix, paired, relative, solve


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("alpha", [1e-3, 1.0, 50.0])
def test_predictions_equal_those_of_an_explicit_solution(width, alpha):
    source, target = paired(40, width)
    fitted = Ridge(alpha=alpha).fit(source[:30], target[:30])
    weight, bias = solve(source[:30], target[:30], alpha)
    assert relative(fitted.predict(source[30:]), source[30:] @ weight.T + bias) < 1e-8


def test_wide_to_wide_equals_the_dual_formula():  # case C24
    source, target = paired(40, 300, 300)
    fitted = Ridge(alpha=0.7).fit(source, target)
    x, y = source - source.mean(0), target - target.mean(0)
    weight = x.T @ torch.linalg.solve(x @ x.T + 0.7 * torch.eye(40).double(), y)
    assert relative(fitted.weight, weight.T) < 1e-10
    assert relative(fitted.bias, target.mean(0) - source.mean(0) @ weight) < 1e-10


@pytest.mark.parametrize("width", [7, 50])
def test_the_gradient_of_the_objective_vanishes_at_the_solution(width):
    source, target = paired(40, width)
    fitted = Ridge(alpha=2.0).fit(source, target)
    weight, bias = fitted.weight.requires_grad_(), fitted.bias.requires_grad_()
    error = (source @ weight.T + bias - target).square().sum()
    (error + 2.0 * weight.square().sum()).backward()
    scale = float((source.T @ target).abs().max())
    assert float(weight.grad.abs().max()) < 1e-10 * scale
    assert float(bias.grad.abs().max()) < 1e-10 * scale


@pytest.mark.parametrize("width", [7, 50])
def test_the_intercept_is_not_penalised(width):
    source, target = paired(30, width)
    fitted = Ridge(alpha=1e12).fit(source, target + 1000)
    assert relative(fitted.predict(source), (target + 1000).mean(0).expand(30, -1)) < 1e-9


@pytest.mark.parametrize("width", [6, 50])
def test_moving_the_source_moves_the_bias_alone(width):
    source, target = paired(30, width)
    here = Ridge(alpha=1.0).fit(source, target)
    there = Ridge(alpha=1.0).fit(source + 100, target)
    assert relative(there.weight, here.weight) < 1e-9
    assert relative(there.bias, here.bias - 100 * here.weight.sum(1)) < 1e-9


@pytest.mark.parametrize("width", [6, 50])
def test_moving_the_target_moves_the_bias_alone(width):
    source, target = paired(30, width)
    here = Ridge(alpha=1.0).fit(source, target)
    there = Ridge(alpha=1.0).fit(source, target + 100)
    assert relative(there.weight, here.weight) < 1e-9
    assert relative(there.bias, here.bias + 100) < 1e-9


@pytest.mark.parametrize("width", [7, 50])
def test_row_order_leaves_predictions_unchanged(width):
    source, target = paired(40, width)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    straight = Ridge().fit(source, target).predict(source)
    assert relative(Ridge().fit(source[order], target[order]).predict(source), straight) < 1e-9


@pytest.mark.parametrize("width", [7, 50])
def test_rotating_the_source_leaves_predictions_unchanged(width):
    source, target = paired(40, width)
    rng = torch.Generator().manual_seed(3)
    rotation = torch.linalg.qr(torch.randn(width, width, generator=rng).double())[0]
    straight = Ridge().fit(source, target).predict(source)
    turned = Ridge().fit(source @ rotation, target).predict(source @ rotation)
    assert relative(turned, straight) < 1e-9


@pytest.mark.parametrize("width", [7, 50])
def test_rotating_the_target_rotates_predictions(width):
    source, target = paired(40, width)
    rng = torch.Generator().manual_seed(3)
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=rng).double())[0]
    straight = Ridge().fit(source, target).predict(source)
    turned = Ridge().fit(source, target @ rotation).predict(source)
    assert relative(turned, straight @ rotation) < 1e-9


@pytest.mark.parametrize("width", [7, 50])
def test_a_zero_column_more_changes_no_prediction(width):
    source, target = paired(40, width)
    wider = torch.cat([source, torch.zeros(40, 2).double()], 1)
    straight = Ridge(alpha=1.0).fit(source, target).predict(source)
    assert relative(Ridge(alpha=1.0).fit(wider, target).predict(wider), straight) < 1e-10


@pytest.mark.parametrize("width", [7, 50])
def test_training_errors_grow_with_the_penalty(width):
    source, target = paired(40, width)
    fits = [Ridge(alpha=alpha).fit(source, target) for alpha in (0.01, 1.0, 100.0)]
    errors = [fitted.summary()["train_mse"] for fitted in fits]
    assert errors == sorted(errors)


@pytest.mark.parametrize("width", [7, 30, 50])
def test_degrees_of_freedom_equal_the_trace_of_the_hat_matrix(width):
    source, target = paired(30, width)
    dof = Ridge(alpha=0.5).fit(source, target).summary()["dof"]
    assert dof == pytest.approx(float(hat_matrix(source, 0.5).trace()) - 1, abs=1e-8)


def test_a_vanishing_fixed_penalty_is_flagged_as_interpolation():
    source, target = paired(40, 100)
    with pytest.warns(InterpolationWarning, match="all 40 training items"):
        fitted = Ridge(alpha=1e-9).fit(source, target)
    assert fitted.summary()["interpolates"] == 1


def test_a_chosen_penalty_on_noisy_targets_does_not_interpolate():  # case C25
    source, target = paired(40, 100, noise=3.0)
    assert Ridge().fit(source, target).summary()["interpolates"] == 0


def test_no_tensor_of_a_fit_from_wide_to_wide_is_as_large_as_the_weight():  # case C24
    n, width = 40, 3000
    rng = torch.Generator().manual_seed(0)
    source, target = (torch.randn(n, width, generator=rng) for _ in range(2))
    largest = 0

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.numel())
            return out

    with Watch():
        Ridge(alpha=1.0).fit(source, target).predict(source)
    assert largest <= n * width


# --- Precision


def ill_conditioned(n, width):
    """Float32 sources with eigenvalues over 8 decades, and targets that need all of them.

    The first n rows are for training.
    """
    rng = torch.Generator().manual_seed(0)
    size = min(n, width)
    scales = torch.logspace(0, -4, size, dtype=torch.float64)
    loadings = torch.randn(2 * n, size, generator=rng, dtype=torch.float64)
    axes = torch.linalg.qr(torch.randn(width, size, generator=rng).double())[0]
    noise = torch.randn(2 * n, 5, generator=rng, dtype=torch.float64)
    mix = torch.randn(size, 5, generator=rng, dtype=torch.float64)
    source = (loadings * scales) @ axes.T + 0.3
    return source.float(), (loadings @ mix / math.sqrt(size) + 0.3 * noise - 0.5).float()


@pytest.mark.parametrize("alpha", [0.0, 1e-7, 1e-4, 1.0])
@pytest.mark.parametrize("width", [40, 300], ids=["primal", "dual"])
def test_float32_keeps_five_digits_where_the_spectrum_spans_eight_decades(width, alpha):
    source, target = ill_conditioned(120, width)
    train, test = source[:120], source[120:]
    spectrum = factorise(train).eigenvalues
    assert 1e7 < float(spectrum[-1] / spectrum[spectrum > 0][0])
    fitted = fit_quietly(Ridge(alpha=alpha), train, target[:120])
    weight, bias = solve(train, target[:120], alpha)
    exact = test.double() @ weight.T + bias
    error = fitted.predict(test).double() - exact
    assert float(error.abs().max()) < 1e-5 * float(exact.std())


@pytest.mark.parametrize("width", [7, 50])
def test_float32_targets_differ_from_the_same_values_in_float64_by_rounding(width):
    source, target = (x.float() for x in paired(30, width))
    single = Ridge(alpha=0.1).fit(source, target).predict(source)
    double = Ridge(alpha=0.1).fit(source.double(), target.double()).predict(source)
    assert single.dtype == torch.float32
    assert double.dtype == torch.float64
    # Products of 30 to 50 float32 values, rounded to eps = 1.2e-7 of the largest.
    assert float((single - double).abs().max()) < 2e-6 * float(target.abs().max())


@pytest.mark.parametrize("width", [7, 50])
def test_only_the_dtype_of_the_target_sets_that_of_products(width):
    source, target = paired(30, width)
    single, double = source.float(), source.float().double()
    from_single = Ridge(alpha=0.1).fit(single, target).predict(single)
    from_double = Ridge(alpha=0.1).fit(double, target).predict(double)
    assert torch.equal(from_single, from_double)


# --- Sources and targets that do not vary


@pytest.mark.parametrize("width", [4, 60])
@pytest.mark.parametrize("selection", ["gcv", "loo", "kfold"])
def test_a_constant_target_is_predicted_exactly_and_has_no_r2(width, selection):
    source, _ = paired(30, width)
    target = torch.full((30, 2), 0.1)
    fitted = Ridge(selection=selection).fit(source, target)
    assert torch.equal(fitted.predict(source), target)
    assert fitted.summary()["train_r2"] is None
    assert fitted.summary()["alpha"] == fitted.alphas_[-1]
    assert fitted.summary()["at_edge"] == 0


@pytest.mark.parametrize("width", [4, 60])
def test_a_source_that_never_varies_gives_the_mean_of_the_target(width):
    _, target = paired(30, 5)
    fitted = Ridge().fit(torch.full((30, width), 0.1), target)
    other = torch.linspace(-1, 1, 3 * width).reshape(3, width)
    assert relative(fitted.predict(other), target.mean(0).expand(3, -1)) < 1e-12
    assert fitted.summary()["rank"] == 0
    assert fitted.summary()["condition"] is None


@pytest.mark.parametrize("width", [1, 60])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"alphas": [1, 2, 3]},
        {"alpha_per_target": True},
        {"selection": "loo"},
        {"selection": "kfold"},
    ],
)
def test_a_source_that_never_varies_leaves_no_penalty_to_choose(width, options):
    _, target = paired(30, 5)
    fitted = Ridge(**options).fit(torch.zeros(30, width), target.float())
    facts = fitted.summary()
    assert (facts["alpha"], facts["at_edge"], facts["interpolates"]) == (0, 0, 0)
    assert facts["train_r2"] == pytest.approx(0, abs=1e-12)
    expected = target.float().double().mean(0).float()
    assert relative(fitted.predict(torch.zeros(1, width))[0], expected) < 1e-6
    numbers = [value for value in facts.values() if isinstance(value, (int, float))]
    assert all(math.isfinite(value) for value in numbers)


# --- Settings


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": -1.0}, r"map.alpha must be >= 0 and finite, got -1.0"),
        ({"alpha": math.nan}, r"map.alpha must be >= 0 and finite, got nan"),
        ({"alpha": math.inf}, r"map.alpha must be >= 0 and finite, got inf"),
        ({"alphas": [1.0, 1.0, 2.0]}, r"map.alphas must be at least 3 different"),
        ({"alphas": [0.0, 1.0, 2.0]}, r"map.alphas must be .* > 0"),
        ({"alphas": [1.0, 2.0, math.inf]}, r"map.alphas must be .* finite"),
        ({"alpha": 1.0, "alphas": [1.0, 2.0, 3.0]}, r"set one of them to null"),
        ({"n_alphas": 2}, r"map.n_alphas must be >= 3, got 2"),
        ({"selection": "aic"}, r"map.selection='aic': use one of gcv, loo, kfold"),
        ({"n_folds": 1}, r"map.n_folds must be >= 2, got 1"),
        ({"chunk": 0}, r"map.chunk must be >= 1 rows, or null for all at once, got 0"),
        ({"chunk": 5, "selection": "loo"}, r"map.selection=loo goes over all .* map.chunk=null"),
        ({"chunk": 5, "selection": "kfold"}, r"map.selection=kfold goes over .* instead of 5"),
    ],
)
def test_settings_out_of_range_are_an_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        Ridge(**arguments)


def test_a_fixed_penalty_needs_no_selection_and_so_allows_a_chunk():
    assert Ridge(alpha=1.0, selection="kfold", chunk=5).chunk == 5


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(2, 12),
    d_source=st.integers(1, 14),
    d_target=st.integers(1, 4),
    log_alpha=st.floats(-3, 3),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    seed=st.integers(0, 10_000),
)
def test_any_shape_and_dtype_is_solved_like_an_explicit_solution(
    n, d_source, d_target, log_alpha, dtype, seed
):
    source, target = (x.to(dtype) for x in paired(n, d_source, d_target, seed=seed))
    fitted = fit_quietly(Ridge(alpha=10**log_alpha), source, target)
    weight, bias = solve(source, target, 10**log_alpha)
    expected = source.double() @ weight.T + bias
    tolerance = 1e-9 if dtype == torch.float64 else 1e-6
    error = (fitted.predict(source) - expected).abs().max() / target.double().abs().max()
    assert float(error) < tolerance


@pytest.mark.parametrize("width", [5, 60])  # primal and dual
@pytest.mark.parametrize("scale", [2.0**-70, 2.0**50])
def test_the_unit_of_the_source_does_not_matter_where_its_squares_leave_float32(width, scale):
    source, target = (x.float() for x in paired(40, width, 3))
    fitted, scaled = (Ridge().fit(source * factor, target) for factor in (1.0, scale))
    assert float(scaled.alpha_) == pytest.approx(scale**2 * float(fitted.alpha_), rel=1e-5)
    assert relative(scaled.predict(source * scale), fitted.predict(source)) < 1e-5
