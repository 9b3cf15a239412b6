"""Maps refitted without groups of training items, against refits."""

import pytest
import torch

from stitching.maps import (
    OLS,
    ReducedRank,
    Ridge,
    UndeterminedRefit,
    factorise,
    leave_groups_out,
)
from tests.maps.helpers import WIDTHS, fit_quietly, paired, relative, solve

N = 30
#: Of sizes 1 to 12, with a number that no item has.
GROUPS = torch.tensor([0] * 12 + [1] * 5 + [3] * 1 + [4] * 7 + [5] * 5)


def shuffled_groups():
    return GROUPS[torch.randperm(N, generator=torch.Generator().manual_seed(3))]


def refits(source, target, latents, alpha, groups):
    """Predictions of maps fitted again, by group."""
    found = {}
    for group in groups.unique().tolist():
        weight, bias = solve(source[groups != group], target[groups != group], alpha)
        found[group] = latents @ weight.T + bias
    return found


@pytest.mark.parametrize("alpha", [1e-6, 0.3, 50.0])
@pytest.mark.parametrize("width", WIDTHS)
def test_predictions_are_those_of_maps_fitted_again(width, alpha):
    source, target = paired(N, width)
    latents, groups = paired(9, width, seed=1)[0], shuffled_groups()
    fitted = fit_quietly(Ridge(alpha=alpha), source, target)
    expected = refits(source, target, latents, alpha, groups)
    predicted = fitted.predict(latents)
    found = {
        group: predicted + change
        for group, change in fitted.without_groups(source, target, latents, groups)
    }
    assert list(found) == [0, 1, 3, 4, 5]
    for group, rows in found.items():
        assert relative(rows, expected[group]) < 1e-6


def test_least_squares_is_refitted_in_both_forms():
    groups = shuffled_groups()
    for width in (4, 80):  # more items than dimensions, and an interpolating map
        source, target = paired(N, width)
        latents = paired(9, width, seed=1)[0]
        fitted = fit_quietly(OLS(), source, target)
        expected = refits(source, target, latents, 0.0, groups)
        for group, change in fitted.without_groups(source, target, latents, groups):
            assert relative(fitted.predict(latents) + change, expected[group]) < 1e-8


def test_each_target_keeps_its_own_penalty():
    source, target = paired(N, 40)
    target[:, 1] = torch.randn(N, generator=torch.Generator().manual_seed(9))
    latents, groups = paired(9, 40, seed=1)[0], shuffled_groups()
    fitted = fit_quietly(Ridge(alpha_per_target=True), source, target)
    assert len(fitted.alpha_.unique()) > 1
    changes = dict(fitted.without_groups(source, target, latents, groups))
    for column, alpha in enumerate(fitted.alpha_.tolist()):
        one = target[:, [column]]
        for group, rows in refits(source, one, latents, alpha, groups).items():
            predicted = fitted.predict(latents)[:, [column]] + changes[group][:, [column]]
            assert relative(predicted, rows) < 1e-5


def test_single_precision_keeps_four_digits_of_the_change():
    source, target = paired(200, 500, 30)
    latents, groups = paired(20, 500, 30, seed=1)[0], torch.arange(200) % 20
    exact = Ridge(alpha=1e-3).fit(source, target)
    single = Ridge(alpha=1e-3).fit(source.float(), target.float())
    pairs = zip(
        exact.without_groups(source, target, latents, groups),
        single.without_groups(source.float(), target.float(), latents.float(), groups),
        strict=True,
    )
    for (_, change), (_, rounded) in pairs:
        assert rounded.dtype == torch.float32
        assert relative(rounded.double(), change) < 1e-4


def test_coefficients_are_computed_where_they_are_not_given():
    source, target = paired(N, 40)
    latents, groups = paired(9, 40, seed=1)[0], shuffled_groups()
    fitted, basis = Ridge(alpha=0.2).fit(source, target), factorise(source)
    found = leave_groups_out(basis, fitted.alpha_, source, target, latents, groups)
    given = fitted.without_groups(source, target, latents, groups)
    for (_, one), (_, other) in zip(found, given, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


def test_a_source_that_does_not_vary_gives_the_mean_of_those_that_stay():
    target, groups = paired(N, 3)[1], shuffled_groups()
    fitted = fit_quietly(Ridge(), torch.ones(N, 3), target)
    for group, change in fitted.without_groups(torch.ones(N, 3), target, torch.ones(2, 3), groups):
        expected = target[groups != group].mean(0).expand(2, -1)
        assert torch.allclose(fitted.predict(torch.ones(2, 3)) + change, expected)


def test_a_refit_without_a_unique_solution_is_refused():
    source, target = paired(N, 25)  # 18 items stay without group 0
    fitted = OLS().fit(source, target)
    with pytest.raises(UndeterminedRefit, match="set a penalty above 0"):
        list(fitted.without_groups(source, target, source[:2], shuffled_groups()))


@pytest.mark.parametrize("groups", [torch.zeros(N), torch.zeros(N - 1).long()])
def test_one_group_or_too_few_are_refused(groups):
    source, target = paired(N, 5)
    with pytest.raises(ValueError, match="at least two groups"):
        list(Ridge(alpha=1.0).fit(source, target).without_groups(source, target, source, groups))


def test_maps_without_a_closed_form_and_streamed_ones_are_refused():
    source, target = paired(N, 5)
    groups = shuffled_groups()
    cut = ReducedRank(2, alpha=1.0).fit(source, target)
    with pytest.raises(ValueError, match="map=reduced_rank have no closed form"):
        list(cut.without_groups(source, target, source, groups))
    streamed = Ridge(alpha=1.0, chunk=7).fit(source, target)
    with pytest.raises(ValueError, match="need latents in memory"):
        list(streamed.without_groups(source, target, source, groups))
