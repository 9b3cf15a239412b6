import random
import re

import numpy as np
import pytest
import torch

from stitching.check.contract import _equal, repeatable
from stitching.check.findings import Finding, Level
from stitching.check.model import check_model
from stitching.models.baseline import MeanEncoder, RandomEncoder
from tests.check import faulty


def images(n=9, size=16):
    """Smooth pictures, such that filters of patches can tell them apart."""
    coarse = torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear").clamp(0, 1)


def found(model, x=None, latents=None, known=False):
    x = images() if x is None else x
    latents = torch.zeros(len(x), model.latent_dim) if latents is None else latents
    return {f.check: f for f in check_model(model.freeze(), x, latents, known)}


def failed(model, **options):
    return {name for name, f in found(model, **options).items() if f.level == Level.FAIL}


def test_a_sound_model_keeps_the_contract():
    findings = found(faulty.Sound())
    assert {f.level for f in findings.values()} == {Level.OK}
    assert {
        "latent shape", "encode repeats", "decode in batches", "evaluation mode", "gradients",
        "value range", "round trip", "other ranges", "encode cost",
    } <= findings.keys()  # fmt: skip


@pytest.mark.parametrize(
    ("model", "check", "message"),
    [
        (faulty.Sampling, "encode repeats", "return the mean or the mode, not a draw"),
        (faulty.Renoising, "decode repeats", "keep its noise constant"),
        (faulty.Training, "encode in batches", "batch-norm in training mode"),
        (faulty.Training, "evaluation mode", "a pass changes values of the model: norm.running"),
        (faulty.Switching, "evaluation mode", r"modules in training mode: norm \(1\)"),
        (faulty.BatchStatistics, "encode in batches", "something looks at the whole batch"),
        (faulty.Free, "gradients", "1 parameters require them: filters"),
        (faulty.Narrow, "latent shape", r"returns \(11, 4, 4\) per image, 176 values"),
        (faulty.Grey, "image shape", r"returns \(1, 16, 16\) per latent"),
        (faulty.Infinite, "finite images", "9 of 9 items with values that are not finite"),
        (faulty.Infinite, "value range", "no finite value"),
        (faulty.Raising, "latent shape", "^RuntimeError: no such layer$"),
    ],
)
def test_a_broken_contract_is_found_and_named(model, check, message):
    finding = found(model())[check]
    assert finding.level == Level.FAIL
    assert re.search(message, finding.text), finding.text


@pytest.mark.parametrize(
    ("model", "checks"),
    [
        (faulty.Sampling, {"encode repeats", "encode in batches"}),
        (faulty.Renoising, {"decode repeats", "decode in batches"}),
        (faulty.BatchStatistics, {"encode in batches", "value range"}),
        (faulty.Free, {"gradients"}),
        (faulty.Raising, {"latent shape"}),
    ],
)
def test_nothing_else_fails(model, checks):
    assert failed(model()) == checks


def test_the_difference_of_two_draws_is_measured_in_standard_deviations():
    text = found(faulty.Sampling())["encode repeats"].text
    z = faulty.Sound().freeze().encode(images())
    # The largest of 9 * 192 differences of two draws of 0.1: about 4 times 0.14.
    worst = float(text.partition("differ by ")[2].split()[0])
    assert 0.4 / float(z.std()) < worst < 1.0 / float(z.std())


def test_a_latent_of_another_shape_but_as_many_values_is_a_warning():
    finding = found(faulty.Flat())["latent shape"]
    assert finding.level == Level.WARNING
    assert "returns (192,) per image, latent_shape is (12, 4, 4)" in finding.text


def test_global_generators_are_left_as_they_were():
    before = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    x = images()
    model = faulty.Sound().freeze()
    torch.manual_seed(5)
    repeatable("encode repeats", model.encode, x, "")
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(1))
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


@pytest.mark.parametrize("model", [MeanEncoder("mean", 16), RandomEncoder("random", 16, 8, 0)])
def test_a_model_that_cannot_decode_is_checked_as_encoder(model):
    findings = found(model)
    assert findings["decode"].level == Level.SKIPPED
    assert "round trip" not in findings
    assert {f.level for f in findings.values()} == {Level.OK, Level.SKIPPED}


class Generator(faulty.Sound):
    can_encode = False

    def _encode(self, x):
        raise TypeError("no encoder")


def test_a_model_that_cannot_encode_is_checked_as_decoder():
    findings = found(Generator(), latents=faulty.Sound().freeze().encode(images()))
    assert findings["encode"].level == Level.SKIPPED
    assert "cannot encode" in findings["encode"].text
    assert findings["decode repeats"].level == Level.OK
    assert "round trip" not in findings


def test_known_latents_are_decoded_and_compared_with_their_images():
    x = images()
    findings = found(Generator(), x=x, latents=faulty.Sound().freeze().encode(x), known=True)
    assert findings["round trip"].level == Level.OK


def test_a_model_is_the_same_after_its_check():
    model = faulty.Sound().freeze()
    before = set(vars(model))
    found(model)
    assert set(vars(model)) == before
    assert model.value_range == (0.0, 1.0)


def test_a_finding_is_one_line():
    line = str(Finding("latent shape", Level.FAIL, "wrong"))
    assert line == "FAIL     latent shape         wrong"


def test_a_value_that_becomes_nan_has_changed_and_one_that_stays_nan_has_not():
    zero, nan = torch.zeros(2), torch.full((2,), torch.nan)
    assert not _equal(zero, nan)
    assert _equal(nan, nan.clone())
