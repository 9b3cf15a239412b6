"""The penalty chosen by what mapped latents decode to, against loops by hand."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as SklearnRidge

from stitching.maps import Ridge, load_map
from stitching.maps.judging import Judge, candidates, held_out
from tests.maps.helpers import fit_quietly, paired


def bent(latents):
    """Stand-in for a decoder: it saturates, and shows some directions far more than others."""
    gain = torch.tensor([5.0, 0.1, 0.1, 0.1], dtype=latents.dtype)
    return torch.tanh(gain * latents)


def judge_of(target):
    truth = bent(target[held_out(len(target))])
    return Judge(lambda mapped: (bent(mapped) - truth).square().mean(1))


@pytest.mark.parametrize("width", [8, 90], ids=["primal", "dual"])
def test_the_choice_is_that_of_a_loop_over_refitted_and_decoded_maps(width):
    source, target = paired(60, width)
    fitted = Ridge(selection="images").judged_by(judge_of(target))
    fit_quietly(fitted, source, target)
    out = np.arange(60) % 5 == 0
    errors = []
    for alpha in fitted.alphas_.tolist():
        model = SklearnRidge(alpha=alpha, solver="svd").fit(source[~out], target[~out])
        decoded = bent(torch.as_tensor(model.predict(source[out])))
        errors.append(float((decoded - bent(target[out])).square().mean()))
    np.testing.assert_allclose(fitted.scores_, errors, rtol=1e-7)
    assert float(fitted.alpha_) == fitted.alphas_[int(np.argmin(errors))]


def test_images_choose_another_penalty_than_latents_where_they_see_other_directions():
    source, target = paired(60, 20)
    by_latents = fit_quietly(Ridge(), source, target)
    by_images = fit_quietly(Ridge(selection="images").judged_by(judge_of(target)), source, target)
    assert by_images.alpha_ != by_latents.alpha_
    facts = by_images.summary()
    assert (facts["selection"], facts["flat"]) == ("images", None)
    # Its estimate of the error of latents is the same quantity as ever.
    assert facts["cv_mse"] == pytest.approx(
        fit_quietly(Ridge(alpha=facts["alpha"]), source, target).summary()["cv_mse"]
    )


def test_the_map_is_that_of_all_items_at_the_chosen_penalty(tmp_path):
    source, target = paired(60, 20)
    fitted = fit_quietly(Ridge(selection="images").judged_by(judge_of(target)), source, target)
    fixed = fit_quietly(Ridge(alpha=float(fitted.alpha_)), source, target)
    assert torch.equal(fitted.predict(source), fixed.predict(source))
    fitted.save(tmp_path / "map.safetensors")
    assert torch.equal(
        load_map(tmp_path / "map.safetensors").predict(source), fixed.predict(source)
    )


def test_the_curve_has_both_scores():
    source, target = paired(60, 8)
    fitted = fit_quietly(Ridge(selection="images").judged_by(judge_of(target)), source, target)
    curve = fitted.penalty_curve()
    np.testing.assert_allclose(np.square(curve["image_rmse"]), fitted.scores_, rtol=1e-12)
    every = fit_quietly(Ridge(alphas=curve["alpha"]), source, target)
    np.testing.assert_allclose(curve["cv_mse"], every.scores_, rtol=1e-12)


def test_penalties_of_ones_own_are_all_tried():
    source, target = paired(60, 8)
    alphas = [1e-6, 1.0, 1e9]
    fitted = Ridge(alphas=alphas, selection="images").judged_by(judge_of(target))
    assert fit_quietly(fitted, source, target).alphas_.tolist() == alphas


@pytest.mark.parametrize(("n", "count"), [(2, 1), (10, 2), (60, 12), (640, 128), (1600, 124)])
def test_a_fifth_is_held_out_up_to_128(n, count):
    assert int(held_out(n).sum()) == count


@pytest.mark.parametrize("width", [1, 3, 30, 100])
def test_candidates_span_the_plausible_range_and_hold_the_best(width):
    scores = torch.full((120,), 9.0)
    scores[10 : 10 + width] = 1.5
    scores[10 + width // 3] = 1.0
    found = candidates(scores).tolist()
    assert (found[0], found[-1]) == (10, 9 + width)
    assert 10 + width // 3 in found
    assert found == sorted(set(found))
    assert len(found) in (min(width, 12), 13)


def test_a_penalty_whose_images_are_not_finite_is_not_chosen():
    source, target = paired(60, 8)
    alphas = [1e-3, 1.0, 1e3]
    seen = []

    def errors(mapped):
        seen.append(len(mapped))
        return torch.full((12,), torch.nan if len(seen) < 3 else 1.0)

    fitted = Ridge(alphas=alphas, selection="images").judged_by(Judge(errors))
    assert float(fit_quietly(fitted, source, target).alpha_) == 1e3
    assert seen == [12, 12, 12]
    blind = Judge(lambda mapped: mapped[:, 0] * torch.nan)
    with pytest.raises(ValueError, match="at every penalty some held-out images are not finite"):
        Ridge(selection="images").judged_by(blind).fit(source, target)


@pytest.mark.parametrize("options", [{"alpha": 1.0}, {"alpha_per_target": True}])
def test_options_that_leave_nothing_to_choose_by_images_are_refused(options):
    with pytest.raises(ValueError, match=r"map\.selection=images chooses one penalty"):
        Ridge(selection="images", **options)


def test_a_map_without_a_judge_or_with_streamed_latents_is_refused():
    source, target = paired(60, 8)
    with pytest.raises(ValueError, match="decodes held-out latents: call judged_by first"):
        Ridge(selection="images").fit(source, target)
    with pytest.raises(ValueError, match=r"must be in memory: use map\.selection=gcv"):
        Ridge(selection="images", chunk=10)


def test_too_few_items_are_refused():
    source, target = paired(2, 8)
    with pytest.raises(ValueError, match="leaves fewer than 2 of 2 items"):
        Ridge(selection="images").judged_by(judge_of(target)).fit(source, target)
