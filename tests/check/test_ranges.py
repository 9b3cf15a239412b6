import pytest
import torch

import stitching
from stitching.check import ranges
from stitching.check.findings import Level
from stitching.models.baseline import Pixels
from stitching.models.flow import Glow
from tests.check import faulty
from tests.check.test_contract import images


def saturating(trained, declared):
    model = faulty.Saturating(value_range=declared).freeze()
    model.trained = trained
    return model


@pytest.mark.parametrize(
    ("trained", "declared", "name"),
    [
        ((0.0, 1.0), (-1.0, 1.0), "[0, 1]"),
        ((-0.5, 0.5), (-1.0, 1.0), "[-0.5, 0.5]"),
        ((-1.0, 1.0), (-2.0, 2.0), "[-1, 1]"),
        ((-1.0, 1.0), (0.0, 2.0), "[-1, 1]"),
        ((0.0, 1.0), (0.0, 2.0), "[0, 1]"),
    ],
)
def test_a_range_off_by_a_factor_of_two_is_found_and_the_right_one_named(trained, declared, name):
    finding = ranges.other_ranges(saturating(trained, declared), images())
    assert finding.level == Level.FAIL
    assert f"{name} is clearly better, set value_range to {name}" in finding.text


@pytest.mark.parametrize("declared", [(0.0, 1.0), (-1.0, 1.0), (-0.5, 0.5)])
def test_the_right_range_is_left_alone(declared):
    finding = ranges.other_ranges(saturating(declared, declared), images())
    assert finding.level == Level.OK


def test_a_trained_network_shows_its_range():
    # The packaged VAE was trained on [0, 1].
    model, x = stitching.load_model("vae"), stitching.load_images("faces", n=8)
    assert ranges.other_ranges(model, x).level == Level.OK
    model.value_range = (-1.0, 1.0)
    finding = ranges.other_ranges(model, x)
    assert finding.level == Level.FAIL
    assert "set value_range to [0, 1]" in finding.text


class Coarse(faulty.Sound):
    """Tells apart what differs by half a unit, as is enough for pixels of unit variance."""

    def _encode(self, x):
        return super()._encode((2 * x).round() / 2)


def test_imagenet_normalisation_is_named():
    finding = ranges.other_ranges(Coarse(width=48).freeze(), images())
    assert finding.level == Level.FAIL
    assert "ImageNet mean/std is clearly better, declare [0, 1] and normalise" in finding.text


def test_no_range_is_named_for_a_model_that_knows_nothing():
    class Blank(faulty.Sound):
        def _decode(self, z):
            return super()._decode(0 * z)  # black in [0, 1], grey in [-1, 1]

    finding = ranges.other_ranges(Blank().freeze(), images())
    assert finding.level == Level.OK
    quality = ranges.quality(images(), ranges.round_trip(Blank().freeze(), images()))
    assert quality.level == Level.WARNING
    assert "no better than that" in quality.text


def test_the_error_of_a_round_trip_is_given_in_two_units():
    x = torch.full((4, 3, 8, 8), 0.5)
    text = ranges.quality(x, x + 0.1).text
    assert text.startswith("RMSE 0.1000, PSNR 20.0 dB")


def test_raw_output_outside_the_declared_range_is_found():
    x = images()
    model = faulty.Sound(width=48, value_range=(-1.0, 1.0)).freeze()  # 48 filters lose nothing
    z = model.encode(x)
    assert ranges.value_range(model, x, z).level == Level.OK
    model.value_range = (0.0, 1.0)
    finding = ranges.value_range(model, x, z)
    assert finding.level == Level.FAIL
    assert ranges.value_range(model, x, z, trained=False).level == Level.WARNING
    assert "declared [0, 1]" in finding.text


def test_raw_output_of_another_spread_than_the_images_is_a_warning():
    x = images()
    model = faulty.Sound(width=48, value_range=(-1.0, 1.0)).freeze()
    z = model.encode(x)
    model.value_range = (-2.5, 2.5)
    finding = ranges.value_range(model, x, z)
    assert finding.level == Level.WARNING
    assert "compare with the range the network was trained on" in finding.text


def test_a_model_without_loss_shows_its_range_in_its_samples():
    torch.manual_seed(0)
    flow = Glow("nf", 16, 1, 2, False, 8, (-0.5, 0.5)).freeze()
    assert ranges.other_ranges(flow, images()).level == Level.SKIPPED
    # An untrained flow's samples are standard normal, far outside of [-0.5, 0.5].
    assert ranges.samples(flow, images()).level == Level.WARNING
    flow.value_range = (-2.2, 2.2)
    assert ranges.samples(flow, images()).level == Level.OK


def test_a_model_without_prior_has_no_samples_to_look_at():
    assert ranges.samples(Pixels("pixels", 16), images()).level == Level.SKIPPED


@pytest.mark.parametrize("side", [3, 4, 6, 9])
def test_smoother_pictures_are_no_sign_of_another_crop(side):
    # Without the comparison with thumbnails the errors would differ by a factor of ten.
    noise = torch.rand(9, 3, side, side, generator=torch.Generator().manual_seed(0))
    x = torch.nn.functional.interpolate(noise, (32, 32), mode="bicubic").clamp(0, 1)
    error = ranges.detail_error(faulty.Sound(image_size=32).freeze(), x)
    assert 0.7 < error < 1.1


@pytest.mark.parametrize(
    ("errors", "trained", "level", "text"),
    [
        ({"square": 0.05, "face128": 0.06}, None, Level.OK, "thumbnails: square 0.050"),
        ({"square": 0.05, "face128": 0.03}, None, Level.WARNING, "better with data.crop=face128"),
        ({"square": 0.05, "face128": 0.05}, "square", Level.OK, "square"),
        ({"square": 0.05, "face128": 0.05}, "square: the middle", Level.OK, "square"),
        ({"square": 0.05, "face128": 0.05}, "face128", Level.WARNING, "trained on face128"),
    ],
)
def test_a_crop_is_judged_by_round_trips_and_by_the_training(errors, trained, level, text):
    finding = ranges.crops(errors, "square", trained)
    assert finding.level == level
    assert text in finding.text
