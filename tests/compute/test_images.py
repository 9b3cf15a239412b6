import pytest
import torch

from stitching.compute.images import quantise, rescale, to_uint8, to_unit


def batch(*values):
    return torch.tensor(values).view(1, 1, 1, -1).expand(1, 3, 1, -1)


def test_bytes_round_half_up_and_clamp():
    x = batch(0.0, 0.25, 0.75, 0.5, 1.0, 1.0005, -0.0005)
    assert to_uint8(x)[0, 0, 0].tolist() == [0, 64, 191, 128, 255, 255, 0]


def test_bytes_survive_the_way_to_floats_and_back():
    x = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(to_uint8(to_unit(x)), x)
    assert torch.equal(to_uint8(x), x)


@pytest.mark.parametrize("value", [-1.0, 1.01, 255.0, float("nan"), float("inf")])
def test_values_outside_the_unit_range_are_refused(value):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\] and be finite"):
        to_unit(batch(0.5, value))


def test_integers_that_are_not_bytes_are_refused():
    with pytest.raises(TypeError, match="uint8 or floating point"):
        to_unit(torch.zeros(1, 3, 2, 2, dtype=torch.int64))


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="must have shape"):
        to_unit(torch.zeros(3, 2, 2))


def test_input_is_not_modified():
    x = batch(1.0005, 0.5).clone()
    before = x.clone()
    to_unit(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("target", [(-1.0, 1.0), (-0.5, 0.5), (0.0, 255.0)])
def test_rescaling_there_and_back_gives_the_same_values(target):
    x = torch.linspace(0, 1, 11, dtype=torch.float64)
    there = rescale(x, (0, 1), target)
    assert (float(there[0]), float(there[-1])) == target
    torch.testing.assert_close(rescale(there, target, (0, 1)), x)


def test_an_empty_range_is_refused():
    with pytest.raises(ValueError, match="low < high"):
        rescale(torch.zeros(1), (1, 1), (0, 1))


def test_clamping_is_counted_and_rounding_is_not():
    x = torch.full((1, 3, 2, 2), 0.5)
    x[0, 0, 0, 0], x[0, 1, 0, 0], x[0, 2, 0, 0] = 1.5, -0.2, 1.0005
    pixels, clamped = quantise(x)
    assert pixels[0, :, 0, 0].tolist() == [255, 0, 255]
    assert pixels[0, 0, 1].tolist() == [128, 128]
    assert clamped == pytest.approx(2 / 12)


def test_bytes_are_measured_as_they_are():
    x = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    assert torch.equal(quantise(x)[0], x)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_invalid_value_never_becomes_a_byte(value):
    x = torch.full((1, 3, 2, 2), value)
    with pytest.raises(ValueError, match="not finite"):
        quantise(x)
