"""Banded ridge against himalaya, closed forms, and simulations whose truth is known."""

import numpy as np
import pytest
import torch
from himalaya.kernel_ridge import WeightedKernelRidge
from sklearn.linear_model import Ridge as SklearnRidge

from stitching.maps.banded import SHARES, Features, fit_banded, joined
from stitching.maps.factorisation import factorise
from tests.maps.helpers import relative


def drawn(n, n_test, *widths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    both = [torch.randn(n + n_test, width, generator=generator) for width in widths]
    return [(x[:n], x[n:]) for x in both]


def components(train, test):
    return Features.of(factorise(train), train, test)


@pytest.mark.parametrize("width", [12, 70], ids=["N > D", "N < D"])
def test_components_keep_lengths_and_inner_products(width):
    ((train, test),) = drawn(30, 9, width)
    found, mean = components(train, test), train.double().mean(0)
    a, b = train.double() - mean, test.double() - mean
    assert relative(found.train @ found.train.T, a @ a.T) < 1e-12
    assert relative(found.test @ found.train.T, b @ a.T) < 1e-12
    lengths = found.test.square().sum(1) + found.left_out
    assert relative(lengths, b.square().sum(1)) < 1e-12


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("widths", [(6, 9), (60, 80)], ids=["N > D", "N < D"])
def test_a_fit_is_that_of_himalaya_and_of_scikit_learn(widths, share):
    n, blocks = 40, drawn(40, 15, *widths, 20)
    target, features = blocks[2], joined(components(*blocks[0]), components(*blocks[1]), share)
    fit = fit_banded(factorise(features.train), features, components(*target))
    alpha = float(fit.fitted.alpha_)

    weights = (1 - share, share)
    centred = [[x.double() - train.double().mean(0) for x in (train, test)]
               for train, test in blocks]  # fmt: skip
    scales = [a.square().sum() / n for a, _ in centred[:2]]
    kernels, held = (
        np.stack([(x[k] @ x[0].T / s).numpy() for x, s in zip(centred, scales, strict=False)])
        for k in (0, 1)
    )
    solver = {"max_iter": 5000, "tol": 1e-10}
    oracle = WeightedKernelRidge(
        alpha=alpha, deltas=np.log(weights), kernels="precomputed", solver_params=solver
    ).fit(kernels, centred[2][0].numpy())
    expected = np.square(centred[2][1].numpy() - oracle.predict(held)).sum(1)
    np.testing.assert_allclose(fit.errors, expected, rtol=1e-5)

    def stacked(k):
        parts = zip(centred, weights, scales, strict=False)
        return np.concatenate([c[k] * (w / s) ** 0.5 for c, w, s in parts], 1)

    other = SklearnRidge(alpha=alpha).fit(stacked(0), target[0].numpy().astype(np.float64))
    expected = np.square(target[1].numpy() - other.predict(stacked(1))).sum(1)
    np.testing.assert_allclose(fit.errors, expected, rtol=1e-8)


def test_a_share_outside_0_to_1_is_an_error():
    first, second = (components(*x) for x in drawn(10, 3, 4, 5))
    with pytest.raises(ValueError, match=r"share=1.*between 0 and 1"):
        joined(first, second, 1.0)


def test_errors_without_groups_are_those_of_refits():
    n = 40
    blocks = drawn(n, 12, 30, 30, 8)
    features = joined(components(*blocks[0]), components(*blocks[1]), 0.5)
    target = components(*blocks[2])
    fit = fit_banded(factorise(features.train), features, target)
    groups = torch.arange(n) % 4
    for group, errors in enumerate(fit.errors_without(groups)):
        kept = groups != group
        other = SklearnRidge(alpha=float(fit.fitted.alpha_)).fit(
            features.train[kept], target.train[kept]
        )
        expected = target.errors(torch.from_numpy(other.predict(features.test)))
        np.testing.assert_allclose(errors, expected, rtol=1e-8)


def beyond(pixels, source, target):
    """The share of what pixels leave that the source removes, and its sampling error."""
    first, second, goal = (components(*x) for x in (pixels, source, target))
    alone = fit_banded(factorise(first.train), first, goal)
    fits = [alone]
    for share in SHARES:
        both = joined(first, second, share)
        fits.append(fit_banded(factorise(both.train), both, goal))
    left, rest = alone.errors, min(fits, key=lambda fit: fit.score).errors
    chosen = torch.randint(0, len(left), (500, len(left)))
    draws = 1 - rest[chosen].sum(1) / left[chosen].sum(1)
    return 1 - float(rest.sum() / left.sum()), float(draws.std())


def simulated(kind, n, width, n_test=300, factor=1.0):
    """Pixels with the spectrum of images, a target of pixels and a factor, and a source."""
    torch.manual_seed(n + width)
    decay = torch.arange(1, width + 1) ** -1.0
    total, wide = n + n_test, 30
    pixels = (torch.randn(total, width) * decay) @ torch.linalg.qr(torch.randn(width, width))[0]
    shared = torch.randn(total, 3)
    target = pixels @ torch.randn(width, wide) + factor * shared @ torch.randn(3, wide)
    target += 0.3 * torch.randn(total, wide)
    if kind == "linear":
        source = pixels @ torch.randn(width, 60)
    elif kind == "factor":
        source = pixels @ torch.randn(width, 60) + shared @ torch.randn(3, 60)
    else:
        source = torch.randn(total, 60)
    return [(x[:n], x[n:]) for x in (pixels, source, target)]


@pytest.mark.parametrize("size", [(150, 500), (600, 150)], ids=["N < D", "N > D"])
@pytest.mark.parametrize("kind", ["linear", "noise"])
def test_a_linear_view_and_noise_explain_nothing_beyond_pixels(kind, size):
    value, _ = beyond(*simulated(kind, *size))
    assert abs(value) < 0.02


def test_a_shared_factor_is_recovered():
    # Of what pixels leave, at N > D: the factor's variance, 3 a target, and noise of .09.
    value, error = beyond(*simulated("factor", 1500, 100))
    assert abs(value - 3 / 3.09) < max(3 * error, 0.02)
