import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as SklearnRidge

from stitching.probes import FactorProbes
from tests.probes.clouds import standardised


def lit(width=5, n=60, noise=0.1, seed=0):
    """Latents, and an angle that is a linear function of two dimensions but for noise."""
    rng = np.random.default_rng(seed)
    latents = rng.standard_normal((n, width)) * np.geomspace(0.1, 10, width)
    angle = 30 * latents[:, 0] - 2 * latents[:, 1] + 40 + noise * rng.standard_normal(n)
    return torch.from_numpy(latents), angle.astype(np.float32)


@pytest.mark.parametrize("width", [5, 100])
def test_predictions_are_those_of_ridge_regression(width):
    latents, angle = lit(width)
    probe = FactorProbes().fit(latents, {"light": angle})["light"]
    x = standardised(latents)
    oracle = SklearnRidge(alpha=probe.facts["alpha"]).fit(x, angle.astype(np.float64))
    np.testing.assert_allclose(probe.scores(latents), oracle.predict(x), rtol=1e-6, atol=1e-6)


def test_a_linear_factor_is_read_in_its_own_unit():
    latents, angle = lit(n=120)
    probe = FactorProbes().fit(latents[:60], {"light": angle[:60]})["light"]
    assert np.abs(probe.scores(latents[60:]) - angle[60:]).max() < 1


def test_factors_have_penalties_of_their_own():
    latents, clear = lit()
    _, noisy = lit(noise=10.0)
    found = FactorProbes().fit(latents, {"clear": clear, "noisy": noisy})
    assert found["clear"].facts["alpha"] < found["noisy"].facts["alpha"]


def test_a_factor_that_does_not_vary_is_missing():
    usable, missing = FactorProbes().usable({"light": np.ones(20, np.float32)})
    assert usable == {}
    assert missing == {"light": "training split has 20 items and no two values of it"}


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (np.zeros(4, int), TypeError, "factor light must be floating point, got int64"),
        (np.array([0.0, np.nan]), ValueError, "factor light has values that are not finite"),
    ],
)
def test_values_must_be_finite_floats(values, error, message):
    with pytest.raises(error, match=message):
        FactorProbes().usable({"light": values})
