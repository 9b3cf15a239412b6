"""Maps at every site of spatial latents, against convolutions and against ridge on sites."""

from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge as SklearnRidge
from torch.nn.functional import conv2d, pixel_shuffle, pixel_unshuffle

from stitching.maps import Ridge, load_map
from stitching.maps.conv1x1 import Conv1x1
from tests.maps.helpers import paired, relative

#: Source and target shapes: equal grids, either one finer, by different factors.
SHAPES = [
    ((3, 4, 2), (5, 4, 2)),
    ((3, 8, 4), (5, 4, 2)),
    ((2, 4, 2), (3, 8, 4)),
    ((2, 8, 2), (3, 4, 2)),
    ((2, 2, 2), (2, 2, 6)),
    ((1, 6, 6), (4, 2, 2)),
    ((4, 1, 3), (1, 2, 3)),
]


def latents(source, target, n=20):
    return paired(n, prod(source), prod(target))


def sites(x):
    """Channels of every site of images (N, C, H, W), one row each."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


# --- Against convolutions and ridge


def test_a_known_convolution_is_recovered():
    source, _ = latents((3, 4, 2), (5, 4, 2))
    rng = torch.Generator().manual_seed(0)
    kernel, bias = torch.randn(5, 4, generator=rng).double().tensor_split([3], 1)
    images = source.view(-1, 3, 4, 2)
    target = conv2d(images, kernel[:, :, None, None], bias[:, 0]).flatten(1)
    fitted = Conv1x1((3, 4, 2), (5, 4, 2), alpha=0).fit(source, target)
    assert relative(fitted.kernel, kernel) < 1e-10
    assert relative(fitted.kernel_bias, bias[:, 0]) < 1e-10


def test_predictions_are_a_convolution_with_the_kernel():
    shapes = (3, 4, 2), (5, 4, 2)
    source, target = latents(*shapes)
    fitted = Conv1x1(*shapes).fit(source, target)
    images = source.view(-1, *shapes[0])
    expected = conv2d(images, fitted.kernel[:, :, None, None], fitted.kernel_bias)
    assert relative(fitted.predict(source), expected.flatten(1)) < 1e-10


@pytest.mark.parametrize("alpha", [0.01, 30.0])
def test_kernel_and_bias_are_those_of_scikit_learn_on_sites(alpha):
    shapes = (3, 4, 2), (5, 4, 2)
    source, target = latents(*shapes)
    rows = [sites(x.view(-1, *s)) for x, s in zip((source, target), shapes, strict=True)]
    oracle = SklearnRidge(alpha=alpha).fit(*rows)
    fitted = Conv1x1(*shapes, alpha=alpha).fit(source, target)
    assert relative(fitted.kernel, oracle.coef_) < 1e-9
    assert relative(fitted.kernel_bias, oracle.intercept_) < 1e-9


def test_the_penalty_is_chosen_by_ridge_on_sites():
    shapes = (3, 4, 2), (5, 4, 2)
    source, target = latents(*shapes)
    rows = [sites(x.view(-1, *s)) for x, s in zip((source, target), shapes, strict=True)]
    ridge, found = Ridge().fit(*rows).summary(), Conv1x1(*shapes).fit(source, target).summary()
    for key in ("alpha", "selection", "dof", "rank", "condition", "cv_mse", "at_edge"):
        assert found[key] == ridge[key]
    assert found["train_mse"] == pytest.approx(ridge["train_mse"])


def test_a_finer_source_is_unshuffled_into_channels():
    source, target = latents((3, 8, 4), (5, 4, 2))
    folded = pixel_unshuffle(source.view(-1, 3, 8, 4), 2).flatten(1)
    fine = Conv1x1((3, 8, 4), (5, 4, 2), alpha=1.0).fit(source, target)
    coarse = Conv1x1((12, 4, 2), (5, 4, 2), alpha=1.0).fit(folded, target)
    assert relative(fine.kernel, coarse.kernel) < 1e-12
    assert relative(fine.predict(source), coarse.predict(folded)) < 1e-12


def test_a_finer_target_is_unshuffled_and_put_back():
    source, target = latents((2, 4, 2), (3, 8, 4))
    folded = pixel_unshuffle(target.view(-1, 3, 8, 4), 2).flatten(1)
    coarse = Conv1x1((2, 4, 2), (12, 4, 2), alpha=1.0).fit(source, folded).predict(source)
    expected = pixel_shuffle(coarse.view(-1, 12, 4, 2), 2).flatten(1)
    fine = Conv1x1((2, 4, 2), (3, 8, 4), alpha=1.0).fit(source, target)
    assert relative(fine.predict(source), expected) < 1e-12


@settings(max_examples=40, deadline=None)
@given(
    channels=st.integers(1, 3),
    grid=st.tuples(st.integers(1, 3), st.integers(2, 3)),
    fold=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    finer=st.sampled_from(["source", "target"]),
)
def test_a_space_maps_to_itself_unfolded_and_back_on_any_grid(channels, grid, fold, finer):
    """The same values on a coarser grid with more channels are one space: ridge must find it."""
    fine = channels, grid[0] * fold[0], grid[1] * fold[1]
    coarse = channels * prod(fold), *grid
    x, _ = paired(60, prod(fine))
    blocks = x.view(-1, channels, grid[0], fold[0], grid[1], fold[1])
    folded = blocks.permute(0, 1, 3, 5, 2, 4).reshape(60, -1)
    pair = (fine, coarse, x, folded) if finer == "source" else (coarse, fine, folded, x)
    fitted = Conv1x1(*pair[:2], alpha=0).fit(*pair[2:])
    assert relative(fitted.predict(pair[2]), pair[3]) < 1e-8
    assert relative(fitted.kernel, torch.eye(coarse[0]).double()) < 1e-7


@pytest.mark.parametrize(("source_shape", "target_shape"), SHAPES)
def test_shifting_source_images_by_common_sites_shifts_predictions(source_shape, target_shape):
    source, target = latents(source_shape, target_shape)
    fitted = Conv1x1(source_shape, target_shape, alpha=1.0).fit(source, target)
    common = min(source_shape[2], target_shape[2])
    steps = source_shape[2] // common, target_shape[2] // common
    moved = source.view(-1, *source_shape).roll(steps[0], 3).flatten(1)
    expected = fitted.predict(source).view(-1, *target_shape).roll(steps[1], 3).flatten(1)
    assert relative(fitted.predict(moved), expected) < 1e-12


@pytest.mark.parametrize(("source_shape", "target_shape"), SHAPES)
def test_the_summary_counts_images_and_common_sites(source_shape, target_shape):
    fitted = Conv1x1(source_shape, target_shape, alpha=1.0)
    found = fitted.fit(*latents(source_shape, target_shape)).summary()
    grid = (min(source_shape[i], target_shape[i]) for i in (1, 2))
    assert (found["n_train"], found["sites"]) == (20, prod(grid))


def test_a_constant_difference_between_sites_can_make_r2_negative():
    source, target = latents((2, 2, 2), (2, 2, 2))
    target[:, 0] += 1000  # one site of one channel, but the bias is the channel's
    assert Conv1x1((2, 2, 2), (2, 2, 2)).fit(source, target).summary()["train_r2"] < 0


def test_float32_latents_are_solved_in_float64():
    shapes = (3, 4, 2), (5, 4, 2)
    source, target = (x.float() for x in latents(*shapes))
    fitted = Conv1x1(*shapes).fit(source + 100, target)
    exact = Conv1x1(*shapes).fit(source.double() + 100, target.double())
    found, expected = fitted.predict(source + 100), exact.predict(source.double() + 100)
    assert found.dtype == torch.float32
    assert relative(found.double(), expected) < 1e-5
    assert fitted.kernel.dtype == torch.float32


# --- Shapes


def test_shapes_can_be_set_after_construction():
    source, target = latents((3, 8, 4), (5, 4, 2))
    fitted = Conv1x1()
    fitted.set_shapes(torch.Size([3, 8, 4]), (5, 4, 2))
    expected = Conv1x1((3, 8, 4), (5, 4, 2)).fit(source, target).predict(source)
    assert torch.equal(fitted.fit(source, target).predict(source), expected)


def test_the_shapes_set_last_count():
    fitted = Conv1x1((3, 8, 4), (5, 4, 2))
    fitted.set_shapes((5, 4, 2), (3, 8, 4))
    target, source = latents((3, 8, 4), (5, 4, 2))
    assert fitted.fit(source, target).predict(source).shape == (20, 96)


def test_a_saved_map_keeps_its_shapes(tmp_path):
    shapes = (3, 8, 4), (5, 4, 2)
    source, target = latents(*shapes)
    fitted = Conv1x1()
    fitted.set_shapes(*shapes)
    fitted.fit(source, target).save(tmp_path / "map")
    loaded = load_map(tmp_path / "map")
    assert torch.equal(loaded.predict(source), fitted.predict(source))
    assert torch.equal(loaded.kernel, fitted.kernel)


def test_a_fit_without_shapes_is_an_error():
    with pytest.raises(ValueError, match="has no shapes of the latents: call set_shapes, or set"):
        Conv1x1().fit(*latents((2, 2, 2), (2, 2, 2)))


@pytest.mark.parametrize("flat", [(128,), (128, 1, 1), (3, 4), (1, 3, 4, 2), (), (3, 0, 4)])
@pytest.mark.parametrize("role", ["source", "target"])
def test_latents_that_are_not_spatial_are_refused_before_any_fit(flat, role):
    shapes = [flat, (3, 4, 2)] if role == "source" else [(3, 4, 2), flat]
    with pytest.raises(ValueError, match=r"more than one site, but source .*: use map=ridge") as e:
        Conv1x1().set_shapes(*shapes)
    assert str(tuple(flat)) in str(e.value)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((3, 6, 6), (3, 4, 4)),
        ((3, 8, 2), (3, 4, 4)),
        ((3, 4, 4), (3, 8, 2)),
        ((3, 9, 8), (3, 4, 4)),
    ],
)
def test_grids_that_are_no_multiples_of_each_other_are_refused(source, target):
    with pytest.raises(ValueError, match=r"one a multiple of the other .* use map=ridge") as e:
        Conv1x1(source, target)
    assert f"{source} and target latents {target}" in str(e.value)


def test_shapes_that_were_refused_leave_the_earlier_ones():
    latent_map = Conv1x1((3, 4, 2), (5, 4, 2))
    with pytest.raises(ValueError, match="use map=ridge"):
        latent_map.set_shapes((128,), (5, 4, 2))
    assert (latent_map.source_shape, latent_map.target_shape) == ([3, 4, 2], [5, 4, 2])


def test_one_shape_alone_is_refused():
    with pytest.raises(ValueError, match="give both, or leave both null"):
        Conv1x1(source_shape=(3, 4, 2))


def test_a_shape_that_does_not_fit_the_width_is_an_error():
    source, target = latents((3, 4, 2), (5, 4, 2))
    with pytest.raises(ValueError, match=r"source has width 24 but map.source_shape=\[2, 4, 2\]"):
        Conv1x1((2, 4, 2), (5, 4, 2)).fit(source, target)


def test_a_negative_penalty_is_an_error():
    with pytest.raises(ValueError, match=r"map.alpha must be >= 0 and finite, got -1"):
        Conv1x1(alpha=-1)
