"""Relative representations and their inverse, against the definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity

from stitching.maps.relative import Relative
from tests.maps.helpers import paired, relative


def centred(x):
    return x - x.mean(0)


def rotation(width):
    rng = torch.Generator().manual_seed(1)
    return torch.linalg.qr(torch.randn(width, width, generator=rng, dtype=torch.float64))[0]


def by_definition(source, target, rows, cutoff):
    """Predictions for the training items, with scikit-learn's cosines and numpy's pinv."""
    x, y = centred(source).numpy(), centred(target).numpy()
    cosines = cosine_similarity(x, x[rows])
    anchors = y[rows] / np.linalg.norm(y[rows], axis=1, keepdims=True)
    direction = cosines @ np.linalg.pinv(anchors, rcond=cutoff).T
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return np.linalg.norm(y, axis=1).mean() * direction + target.mean(0).numpy()


@pytest.mark.parametrize("cutoff", [0.0, 0.2, 0.5])
@pytest.mark.parametrize(("d_source", "d_target"), [(7, 4), (4, 9), (60, 70)])
def test_predictions_are_those_of_the_definition(d_source, d_target, cutoff):
    source, target = paired(30, d_source, d_target)
    found = Relative(15, cutoff).fit(source, target).predict(source)
    rows = range(0, 30, 2)
    assert relative(found, by_definition(source, target, rows, max(cutoff, 1e-14))) < 1e-9


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(3, 12),
    d_source=st.integers(2, 14),  # cosines of single values are signs, which can cancel
    d_target=st.integers(2, 14),
    seed=st.integers(0, 10_000),
)
def test_every_latent_lies_at_the_mean_distance_from_the_mean(n, d_source, d_target, seed):
    source, target = paired(n, d_source, d_target, seed=seed)
    found = Relative(n).fit(source, target).predict(source) - target.mean(0)
    expected = centred(target).norm(dim=1).mean().expand(n)
    assert relative(found.norm(dim=1), expected) < 1e-9


@pytest.mark.parametrize("d_target", [6, 15])
def test_directions_of_a_rotated_and_scaled_space_are_recovered(d_target):
    source, _ = paired(40, 6)
    target = 5 * torch.nn.functional.pad(source, (0, d_target - 6)) @ rotation(d_target) + 2
    fitted = Relative(20, cutoff=1e-6).fit(source, target)
    found, truth = fitted.predict(source) - target.mean(0), centred(target)
    cosines = torch.nn.functional.cosine_similarity(found, truth)
    assert float(cosines.min()) > 1 - 1e-12


def test_a_rotated_scaled_and_shifted_source_gives_the_same_predictions():
    source, target = paired(40, 6, 8)
    other = 3 * source @ rotation(6) - 11
    expected = Relative(20).fit(source, target).predict(source)
    assert relative(Relative(20).fit(other, target).predict(other), expected) < 1e-9


def test_lengths_of_source_latents_do_not_matter():
    source, target = paired(40, 6, 8)
    fitted, mean = Relative(20).fit(source, target), source.mean(0)
    longer = mean + 7 * (source - mean)
    assert relative(fitted.predict(longer), fitted.predict(source)) < 1e-12


@pytest.mark.parametrize(
    ("n", "k", "rows"), [(8, 4, [0, 2, 4, 6]), (10, 3, [0, 3, 6]), (2, 2, [0, 1])]
)
def test_anchors_are_spread_evenly_over_the_training_items(n, k, rows):
    source, target = paired(n, 5, 3)
    found = Relative(k, cutoff=0.0).fit(source, target).predict(source)
    assert relative(found, by_definition(source, target, rows, 1e-14)) < 1e-8


def test_only_anchors_are_paired():
    source, target = paired(40, 6, 8)
    expected = Relative(20).fit(source, target).predict(source)
    others = target.clone()
    others[1::2] = target[1::2].flip(0)
    assert relative(Relative(20).fit(source, others).predict(source), expected) < 1e-12


def test_the_source_mean_maps_to_the_target_mean():
    # Whole numbers in pairs of opposites: their mean is exact.
    half = torch.arange(60.0).reshape(10, 6).remainder(7)
    fitted = Relative(20).fit(torch.cat([half, -half]) + 1, torch.cat([-half, half]) - 3)
    assert torch.equal(fitted.predict(torch.ones(1, 6)), torch.full((1, 6), -3.0))


@pytest.mark.parametrize("which", ["source", "target"])
def test_a_space_that_does_not_vary_maps_everything_to_the_mean(which):
    source, target = paired(40, 6, 8)
    (source if which == "source" else target).fill_(0.1)
    found = Relative(20).fit(source, target).predict(source)
    assert relative(found, target.mean(0).expand(40, -1)) < 1e-12


def test_weak_directions_of_the_anchors_are_dropped():
    source, target = paired(40, 6, 6)
    target = centred(target) @ torch.diag(torch.tensor([1, 1, 1, 1e-3, 1e-3, 1e-3]).double())
    ranks = [Relative(20, c).fit(source, target).summary()["rank"] for c in (0.0, 0.2)]
    assert ranks == [6, 3]


def test_more_anchors_than_directions_are_solved_by_least_squares():
    source, target = paired(40, 6, 3)
    assert Relative(40, cutoff=0.0).fit(source, target).summary()["rank"] == 3


def test_float32_latents_are_solved_in_float64():
    source, target = (x.float() for x in paired(40, 6, 8))
    found = Relative(20).fit(source, target).predict(source)
    exact = Relative(20).fit(source.double(), target.double()).predict(source.double())
    assert torch.equal(found, exact.float())


def test_there_is_no_weight():
    assert not hasattr(Relative(20).fit(*paired(40, 6, 8)), "weight")


def test_more_anchors_than_items_are_refused():
    with pytest.raises(ValueError, match=r"=512 but there are 40 .*n_anchors=40 or less"):
        Relative().fit(*paired(40, 6, 8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_anchors": 0}, r"map.n_anchors must be >= 1, got 0"),
        ({"cutoff": -0.1}, r"map.cutoff must be >= 0 and < 1, got -0.1"),
        ({"cutoff": 1.0}, r"map.cutoff must be >= 0 and < 1, got 1.0"),
        ({"cutoff": float("nan")}, r"map.cutoff must be >= 0 and < 1, got nan"),
    ],
)
def test_settings_out_of_range_are_an_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        Relative(**arguments)
