import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from stitching.probes import FittedProbe


def probe_of(width=40, n_classes=None, seed=0):
    rng = np.random.default_rng(seed)
    shape = () if n_classes is None else (n_classes,)
    weight, bias = rng.standard_normal((*shape, width)), np.array(rng.standard_normal(shape))
    classes = () if n_classes is None else tuple(range(3, 3 + n_classes))
    return FittedProbe(weight, bias, {"kind": "logistic", "alpha": 0.1, "n": 3}, classes)


def latents_of(n, width=40, seed=1, dtype=np.float32):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, width)).astype(dtype))


@pytest.mark.parametrize("n_classes", [None, 3])
def test_scores_are_the_linear_function(n_classes):
    probe, latents = probe_of(n_classes=n_classes), latents_of(7)
    expected = latents.double().numpy() @ probe.weight.T + probe.bias
    np.testing.assert_allclose(probe.scores(latents), expected, rtol=1e-12, atol=1e-12)


@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 7, 300]))
def test_a_score_is_the_same_to_the_bit_in_any_batch(n, size, width):
    probe, latents = probe_of(width), latents_of(n, width)
    parts = [probe.scores(part) for part in latents.split(size)]
    assert np.array_equal(np.concatenate(parts), probe.scores(latents))


def test_predictions_are_the_signs_of_scores():
    probe, latents = probe_of(), latents_of(20)
    assert np.array_equal(probe.predict(latents), probe.scores(latents) > 0)


def test_predictions_of_classes_are_their_labels():
    probe, latents = probe_of(n_classes=3), latents_of(20)
    assert np.array_equal(probe.predict(latents), probe.scores(latents).argmax(1) + 3)


@pytest.mark.parametrize("n_classes", [None, 3])
def test_no_items_get_no_predictions(n_classes):
    assert probe_of(n_classes=n_classes).predict(latents_of(0)).shape == (0,)


@pytest.mark.parametrize("n_classes", [None, 3])
def test_a_stored_probe_is_the_same_to_the_bit(tmp_path, n_classes):
    probe, latents = probe_of(n_classes=n_classes), latents_of(5)
    save_file(probe.to_tensors(), tmp_path / "probe.safetensors")
    loaded = FittedProbe.from_tensors(load_file(tmp_path / "probe.safetensors"))
    assert np.array_equal(loaded.scores(latents), probe.scores(latents))
    assert loaded.facts == probe.facts
    assert loaded.classes == probe.classes


def test_a_stored_probe_with_a_part_missing_is_an_error():
    tensors = probe_of().to_tensors()
    del tensors["bias"]
    with pytest.raises(ValueError, match=r"stored probe lacks \['bias'\]"):
        FittedProbe.from_tensors(tensors)


def test_latents_of_another_width_are_an_error():
    with pytest.raises(
        ValueError, match=r"latents have width 3 but the probe was fitted on .* 40"
    ):
        probe_of().scores(latents_of(5, 3))


def test_latents_that_are_not_finite_are_an_error():
    latents = latents_of(5)
    latents[3, 0] = torch.inf
    with pytest.raises(ValueError, match=r"latents has values .*rows 3"):
        probe_of().scores(latents)
