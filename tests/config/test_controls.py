"""Controls and widths through the configuration: what composes, and what is refused early."""

import pytest

import stitching
from stitching import config
from stitching.config import assemble

SMALL = ["data.image_size=32", "data.n_train=12", "data.n_test=4", "metric=[rmse]", "tracker=none",
         "probe=none", "zoo=nowhere"]  # fmt: skip
TINY = ["encoder=untrained", "+encoder.latent_dim=6", "+encoder.channels=[8,8]"]

COLOURS = ["decoder=thumbnail", "decoder.size=1"]


def built(*overrides):
    return assemble.build_cell(config.compose_config([*SMALL, *overrides]))


def test_an_encoder_has_a_width_that_its_label_shows():
    cell = built(*TINY, "encoder.width=4", "decoder=thumbnail")
    assert (cell.encoder.width, cell.encoder.at_most) == (4, False)
    assert cell.encoder.latent_shape == (4,)
    assert cell.encoder.model.name == "untrained-vae[width=4,latent_dim=6,channels=[8,8]]"
    assert cell.encoder.whole.identity() != cell.encoder.identity()
    assert cell.decoder.width is None


@pytest.mark.parametrize(
    ("overrides", "role", "width"),
    [
        (["encoder=pca", "encoder.width=match", *COLOURS], "encoder", 3),
        (["encoder=thumbnail", "encoder.size=1", "decoder=pca", "decoder.width=match"],
         "decoder", 3),
        ([*TINY, "encoder.width=match", *COLOURS], "encoder", 3),
        ([*TINY, "encoder.width=match", "decoder=pixels"], "encoder", 6),
    ],
)  # fmt: skip
def test_a_width_can_match_that_of_the_other_role(overrides, role, width):
    cell = built(*overrides)
    frozen = getattr(cell, role)
    assert frozen.latent_shape == (width,)
    assert "width=match" in frozen.model.name


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["encoder=pixels", "decoder=pixels", "decoder.width=4"],
         r"decoder\.width=4: only an encoder's latents .* encoder\.width=match"),
        ([*TINY, "encoder.width=7", "decoder=pixels"],
         r"encoder\.width=7, but its latents have 6 values"),
        ([*TINY, "encoder.width=0", "decoder=pixels"], "use a whole number >= 1, match or null"),
        ([*TINY, "encoder.width=all", "decoder=pixels"], "use a whole number >= 1, match or null"),
        ([*TINY, "encoder.width=2", "decoder=pixels", "export_map=true"], "leave one of them out"),
        (["encoder=pca", "encoder.width=match", "decoder=pca", "decoder.width=match"],
         "give one a number"),
        (["encoder=pca", "encoder.width=12", "decoder=pixels"], "12 images have 11 components"),
        (["encoder=pca", "encoder.n_components=2"], "n_components is now called encoder.width"),
        (["encoder=thumbnail", "encoder.size=33", "decoder=pixels"], r"must lie in 1\.\.32"),
        (["encoder=pixels", "decoder=shuffled", "decoder.of=pca"],
         "only an encoder can be shuffled"),
        (["encoder=pixels", "decoder=labels"], "this model cannot decode"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_before_any_image(overrides, message):
    with pytest.raises(ValueError, match=message):
        built(*overrides)


def test_labels_have_a_value_for_each_label_of_the_data():
    cell = built("encoder=labels", "decoder=pixels")
    train = cell.data.split("train")
    assert cell.encoder.model.latent_dim >= len(train.attributes) + len(train.factors) > 10


def test_a_shuffled_encoder_is_the_model_it_names():
    cell = built("encoder=shuffled", "encoder.of=thumbnail", "+encoder.size=2", "decoder=pixels",
                 "encoder.seed=5")  # fmt: skip
    assert cell.encoder.shuffled_with == 5
    assert cell.encoder.model.name == "shuffled-thumbnail[seed=5,size=2]"
    plain = built("encoder=thumbnail", "encoder.size=2", "decoder=pixels").encoder
    assert cell.encoder.whole.identity() == plain.identity()  # latents are shared


def test_a_model_alone_has_no_components():
    with pytest.raises(ValueError, match=r"encoder\.width=2 takes components over the fit images"):
        stitching.load_model("pixels", "data.image_size=32", "encoder.width=2")


def test_controls_load_by_name():
    x = stitching.load_images("faces", "data.image_size=32", n=2)
    model = stitching.load_model("thumbnail", "data.image_size=32")
    assert model.encode(x).shape == (2, 48)
    assert stitching.load_model("projection", "data.image_size=32").latent_dim == 512
