"""What every map must do, and what it must refuse."""

import inspect
import json
import math
from pathlib import Path
from pkgutil import resolve_name

import pytest
import torch
import yaml
from sklearn.metrics import r2_score

from stitching.maps import Identity, Map
from tests.maps.helpers import (
    EVERY_MAP,
    SHAPES,
    fit_quietly,
    make,
    paired,
    relative,
)

FILES = sorted((Path(__file__).parents[2] / "conf" / "map").glob("*.yaml"))
FACTS = [
    "map", "alpha", "selection", "dof", "rank", "condition", "n_train", "d_source", "d_target",
    "train_r2", "train_mse", "cv_mse", "interpolates", "at_edge",
]  # fmt: skip

every_kind = pytest.mark.parametrize("kind", EVERY_MAP)
#: Those with a weight and a bias of whole latents.
AFFINE = [kind for kind, new in EVERY_MAP.items() if hasattr(type(new()), "weight")]
every_width = pytest.mark.parametrize("width", SHAPES)


def latents(width, n=30, dtype=torch.float64):
    """Source and target of one width."""
    source, target = paired(n, width, width)
    return source.to(dtype), target.to(dtype)


def fitted(kind, width, dtype=torch.float64):
    source, target = latents(width, dtype=dtype)
    return fit_quietly(make(kind, width), source, target), source, target


# --- Files of settings


def test_every_map_with_a_file_is_held_to_this_contract():
    names = {new().name for new in EVERY_MAP.values()}
    assert {path.stem for path in FILES} <= names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_yaml_mirrors_the_constructor(path):
    options = yaml.safe_load(path.read_text())
    kind = resolve_name(options.pop("_target_"))
    assert kind.name == path.stem
    parameters = inspect.signature(kind).parameters
    assert options == {key: parameter.default for key, parameter in parameters.items()}


# --- Fits and predictions


@every_kind
@every_width
def test_summaries_begin_with_the_same_facts_and_are_valid_json(kind, width):
    latent_map, source, target = fitted(kind, width)
    found = latent_map.summary()
    assert list(found)[: len(FACTS)] == FACTS
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    sizes = (len(source), source.shape[1], target.shape[1])
    assert (found["n_train"], found["d_source"], found["d_target"]) == sizes
    assert found["map"] == latent_map.name


@every_kind
@every_width
def test_training_errors_equal_those_of_the_predictions(kind, width):
    latent_map, source, target = fitted(kind, width)
    predicted, found = latent_map.predict(source), latent_map.summary()
    pooled = r2_score(target, predicted, multioutput="variance_weighted")
    assert found["train_r2"] == pytest.approx(pooled, abs=1e-9)
    expected = float((predicted - target).square().mean())
    assert found["train_mse"] == pytest.approx(expected, rel=1e-8, abs=1e-15)


@every_kind
@every_width
def test_a_summary_is_a_copy(kind, width):
    latent_map, _, _ = fitted(kind, width)
    latent_map.summary()["n_train"] = -1
    assert latent_map.summary()["n_train"] == 30


@every_kind
@every_width
def test_refits_are_equal_to_the_bit(kind, width):
    first, source, _ = fitted(kind, width, torch.float32)
    second, _, _ = fitted(kind, width, torch.float32)
    assert torch.equal(first.predict(source), second.predict(source))
    assert first.summary() == second.summary()


@every_kind
@every_width
def test_a_second_fit_of_a_map_forgets_the_first(kind, width):
    latent_map, source, target = fitted(kind, width)
    other = source.flip(1) * 2, target.flip(1) - 1
    fit_quietly(latent_map, *other)
    fresh = fit_quietly(make(kind, width), *other)
    assert torch.equal(latent_map.predict(source), fresh.predict(source))
    assert latent_map.summary() == fresh.summary()


@every_kind
def test_the_global_random_state_is_left_alone(kind):
    before = torch.get_rng_state()
    latent_map, source, _ = fitted(kind, 8)
    latent_map.predict(source)
    assert torch.equal(torch.get_rng_state(), before)


@every_kind
@every_width
def test_calling_a_map_is_predicting(kind, width):
    latent_map, source, _ = fitted(kind, width)
    assert torch.equal(latent_map(source), latent_map.predict(source))


@pytest.mark.parametrize("kind", AFFINE)
@every_width
def test_weight_and_bias_reproduce_predictions(kind, width):
    latent_map, source, _ = fitted(kind, width)
    expected = source @ latent_map.weight.T + latent_map.bias
    assert relative(latent_map.predict(source), expected) < 1e-9


@every_kind
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_predictions_have_the_dtype_of_the_target_and_float32_at_least(kind, dtype):
    source, target = latents(8)
    latent_map = fit_quietly(make(kind, 8), source, target.to(dtype))
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert latent_map.predict(source).dtype == expected
    assert latent_map.predict(source.half()).dtype == expected


@every_kind
@every_width
def test_a_test_item_changes_no_other_prediction(kind, width):  # case C23
    latent_map, source, _ = fitted(kind, width)
    test = source.flip(1)
    before = latent_map.predict(test)
    test[0] *= 1e6
    assert relative(latent_map.predict(test)[1:], before[1:]) < 1e-12


@every_kind
@every_width
def test_predictions_do_not_depend_on_the_batch(kind, width):
    latent_map, source, _ = fitted(kind, width, torch.float32)
    together = latent_map.predict(source)
    apart = torch.cat([latent_map.predict(row[None]) for row in source])
    # Products sum in another order: some eps = 1.2e-7.
    assert relative(apart, together) < 1e-6


@every_kind
@every_width
def test_more_items_than_a_block_are_predicted_alike(kind, width):
    latent_map, source, _ = fitted(kind, width)
    many = source.repeat(75, 1)  # 2,250 rows
    expected = latent_map.predict(source).repeat(75, 1)
    assert relative(latent_map.predict(many), expected) < 1e-12


@every_kind
@every_width
def test_inputs_are_neither_modified_nor_remembered_by_reference(kind, width):
    source, target = latents(width)
    kept_source, kept_target, probe = source.clone(), target.clone(), source[:5].clone()
    latent_map = fit_quietly(make(kind, width), source, target)
    before = latent_map.predict(probe)
    assert torch.equal(source, kept_source)
    assert torch.equal(target, kept_target)
    source.zero_()
    target.zero_()
    assert torch.equal(latent_map.predict(probe), before)


@every_kind
@every_width
def test_predictions_follow_values_that_change_behind_the_back_of_torch(kind, width):
    latent_map, source, _ = fitted(kind, width)
    fresh, _, _ = fitted(kind, width)
    numbers = source[:5].numpy().copy()
    probe = torch.from_numpy(numbers)
    latent_map.predict(probe)
    numbers *= -2
    assert torch.equal(latent_map.predict(probe), fresh.predict(probe))


@every_kind
@every_width
def test_writing_to_predictions_changes_no_later_ones(kind, width):
    latent_map, source, _ = fitted(kind, width)
    before = latent_map.predict(source)
    latent_map.predict(source).zero_()
    assert torch.equal(latent_map.predict(source), before)
    assert float(source.abs().sum()) > 0


@every_kind
@every_width
def test_memory_layout_does_not_matter(kind, width):
    source, target = latents(width)
    strided = torch.stack([source, torch.zeros_like(source)], 2)[:, :, 0]
    assert not strided.is_contiguous()
    turned = fit_quietly(make(kind, width), strided, target.T.contiguous().T)
    straight = fit_quietly(make(kind, width), source, target)
    assert relative(turned.predict(strided), straight.predict(source)) < 1e-9


@every_kind
@every_width
def test_inputs_that_require_gradients_are_accepted(kind, width):
    source, target = latents(width)
    latent_map = fit_quietly(make(kind, width), source.requires_grad_(), target)
    assert not latent_map.predict(source).requires_grad


@every_kind
@every_width
def test_no_rows_are_mapped_to_no_rows(kind, width):
    latent_map, source, _ = fitted(kind, width)
    assert latent_map.predict(source[:0]).shape == (0, width)


# --- Bad input


@every_kind
def test_an_unfitted_map_says_so(kind):
    latent_map = make(kind, 8)
    with pytest.raises(ValueError, match="not fitted: call fit first"):
        latent_map.predict(torch.zeros(2, 8))
    with pytest.raises(ValueError, match="not fitted"):
        latent_map.summary()


@every_kind
def test_unequal_row_counts_are_an_error(kind):
    source, target = latents(8)
    with pytest.raises(ValueError, match="source has 30 rows but target has 29: encode both"):
        make(kind, 8).fit(source, target[:29])


@every_kind
def test_training_values_that_are_not_finite_are_an_error_naming_the_rows(kind):
    source, target = latents(8)
    bad = target.clone()
    bad[3, 1], bad[17, 0] = math.nan, math.inf
    with pytest.raises(ValueError, match=r"target has values .* 2 of 30 rows \(rows 3, 17\)"):
        make(kind, 8).fit(source, bad)
    with pytest.raises(ValueError, match=r"source has values .* 2 of 30 rows \(rows 3, 17\)"):
        make(kind, 8).fit(bad, target)


def test_rows_that_are_not_finite_are_named_up_to_ten():
    source = latents(8)[0]
    with pytest.raises(ValueError, match=r"30 of 30 rows \(rows 0, 1, 2, .*, 8, 9, \.\.\.\)"):
        Identity().fit(source, source * math.nan)


def test_values_whose_sum_overflows_are_finite():
    source = torch.full((30, 8), 6e4, dtype=torch.float16)
    assert Identity().fit(source, source).summary()["train_mse"] == 0


@every_kind
def test_predicting_from_values_that_are_not_finite_is_an_error(kind):
    latent_map, source, _ = fitted(kind, 8)
    source[2, 2] = math.nan
    with pytest.raises(ValueError, match="rows 2"):
        latent_map.predict(source)


@every_kind
def test_one_training_item_is_too_few(kind):
    source, target = latents(8)
    with pytest.raises(ValueError, match="at least 2 training items, got 1"):
        make(kind, 8).fit(source[:1], target[:1])


@every_kind
def test_another_width_at_prediction_is_an_error(kind):
    latent_map, source, _ = fitted(kind, 8)
    with pytest.raises(ValueError, match="width 3 but the map was fitted on width 8"):
        latent_map.predict(source[:, :3])


@every_kind
def test_integers_and_images_are_no_latents(kind):
    source, target = latents(8)
    with pytest.raises(TypeError, match=r"source must be floating point, got torch.int64"):
        make(kind, 8).fit(source.long(), target)
    with pytest.raises(ValueError, match=r"target must have shape .*\(30, 2, 2, 2\): flatten"):
        make(kind, 8).fit(source, target.reshape(30, 2, 2, 2))


# --- The identity


def test_identity_returns_the_latents_and_measures_the_difference():
    source = latents(8)[0]
    target = source + 2
    latent_map = Identity().fit(source, target)
    assert torch.equal(latent_map.predict(source), source)
    assert torch.equal(latent_map.weight, torch.eye(8).double())
    assert torch.equal(latent_map.bias, torch.zeros(8).double())
    assert latent_map.summary()["train_mse"] == pytest.approx(4)


def test_identity_refuses_different_widths():
    with pytest.raises(ValueError, match="equal widths, source has 7 and target 4"):
        Identity().fit(*paired(30, 7))


def test_every_kind_of_map_is_known_by_its_name():
    assert all(Map.kinds[make(kind, 8).name] is type(make(kind, 8)) for kind in EVERY_MAP)
