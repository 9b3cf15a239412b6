"""StyleGAN2 in the pipeline: spaces, drawings, options read from published files."""

import json

import pytest
import torch
from safetensors.torch import save_file

import stitching
from stitching import config
from stitching.compute.seeding import item_noise
from stitching.compute.source import code_version
from stitching.models.gan import GAN, SPACES
from stitching.models.stylegan2 import Generator
from stitching.pipeline.encoding import FrozenModel
from stitching.weights.containers import read_weights
from stitching.weights.loading import weights_bytes
from tests.gans import network, small_gan, small_gan_options, write_snapshot
from tests.small import small_vae

STATE = {
    name.removeprefix("generator."): value for name, value in small_gan().state_dict().items()
}
#: What of the full-size option differs from the small network.
SMALLER = {"z_dim": 16, "w_dim": 24, "channel_max": 16}
#: What is read from a published file where it is null.
NULLS = {"mapping_layers": None, "channel_base": None, "channel_max": None}


def built(path, **options):
    node = small_gan_options(weights=str(path), **options)
    return config.build_model(node, "cpu")


@pytest.fixture
def published(tmp_path):
    save_file(STATE, tmp_path / "gan.safetensors")
    return tmp_path / "gan.safetensors"


@pytest.mark.parametrize(
    # 16 channels up to the input of the blocks of 32 pixels, 8 inside these.
    ("space", "width"),
    [("z", 16), ("w", 24), ("w+", 8 * 24), ("style", 9 * 16 + 2 * 8)],
)
def test_every_space_describes_the_same_image(space, width):
    model = small_gan(space=space, truncation=0.8)
    latents, images = model.draw(0, range(5))
    assert latents.shape == (5, width) == (5, model.latent_dim)
    assert torch.equal(images, small_gan(truncation=0.8).draw(0, range(5))[1])
    torch.testing.assert_close(model.decode(latents), images / 255, atol=0.51 / 255, rtol=0)


@pytest.mark.parametrize("space", SPACES)
def test_decoding_is_the_same_alone_in_a_batch_and_again(space):
    model = small_gan(space=space)
    z = model.known_latents(0, range(8))
    x = model.decode(z)
    torch.manual_seed(1)
    assert torch.equal(model.decode(z), x)
    assert torch.equal(model.decode(z[3:4]), x[3:4])


def test_z_of_a_drawing_is_noise_of_its_seed_and_index():
    model = small_gan()
    assert torch.equal(model.known_latents(3, [7, 2]), item_noise(3, [7, 2], (16,)))


@pytest.mark.parametrize("space", SPACES)
def test_a_drawing_does_not_depend_on_others(space):
    model = small_gan(space=space)
    latents, images = model.draw(0, range(20))
    latent, image = model.draw(0, [17])
    assert torch.equal(latent, latents[17:18])
    assert torch.equal(image, images[17:18])
    assert model.draw(0, [])[1].shape == (0, 3, 32, 32)


def test_drawings_are_bytes_by_the_published_rule():
    class Ramp(GAN):
        def _decode(self, z):
            ramp = torch.linspace(-1.2, 1.2, 3 * 32 * 32, dtype=torch.float64)
            return ramp.view(1, 3, 32, 32).expand(len(z), -1, -1, -1)

    options = small_gan_options()
    options.pop("_target_")
    pixels = Ramp(**options).freeze().draw(0, [0])[1].flatten().double()
    x = torch.linspace(-1.2, 1.2, 3 * 32 * 32, dtype=torch.float64)
    rule = (127.5 * x + 128).floor().clamp(0, 255)
    assert int((pixels != rule).sum()) <= 1  # a value at the border, in single precision
    inside = x.abs() < 1
    bias = (pixels / 127.5 - 1 - x)[inside].mean() * 127.5
    assert abs(float(bias)) < 0.01  # levels; rounding 127.5 x + 128 instead gives 0.5


def test_noise_is_constant_or_off_and_matters():
    const, none = small_gan(), small_gan(noise="none")
    z = const.known_latents(0, range(2))
    assert float((const.decode(z) - none.decode(z)).abs().max()) > 0.01


def test_random_noise_is_for_training_and_follows_the_global_seed():
    made = small_gan().generator
    z = item_noise(0, range(2), (16,))
    torch.manual_seed(0)
    first = made(z, noise_mode="random")
    second = made(z, noise_mode="random")
    torch.manual_seed(0)
    assert torch.equal(made(z, noise_mode="random"), first)
    assert not torch.equal(second, first)


def test_the_generator_trains_and_takes_second_derivatives():
    torch.manual_seed(0)
    made = Generator(8, 8, 16, 1, 64, 8, 256)
    ws = made.mapping(torch.randn(2, 8))
    images = made.synthesis(ws, "random")
    (slope,) = torch.autograd.grad(images.square().sum(), ws, create_graph=True)
    slope.square().sum().backward()
    assert all(value.grad is not None for value in made.parameters())
    assert all(bool(value.grad.isfinite().all()) for value in made.parameters())


def test_samples_depend_on_seed_and_place_alone():
    model = small_gan(space="w")
    few, many = model.sample(2, seed=3), model.sample(5, seed=3)
    assert torch.equal(few, many[:2])
    assert not torch.equal(few, model.sample(2, seed=4))


def test_a_temperature_is_refused_for_it_would_do_nothing():
    with pytest.raises(ValueError, match=r"temperature=0\.5 has no effect.*set truncation"):
        small_gan().sample(1, temperature=0.5)


def test_there_is_no_encoder():
    model = small_gan()
    assert not model.can_encode
    with pytest.raises(TypeError, match=r"no encoder.*data=drawn data\.model"):
        model.encode(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("options", "same"),
    [
        ({"space": "w+"}, True),
        ({"name": "another"}, True),
        ({"truncation": 0.7}, False),
        ({"noise": "none"}, False),
        ({"conv_clamp": 1.0}, False),
    ],
)
def test_what_it_draws_is_identified_by_what_changes_pixels(options, same):
    assert (small_gan(**options).drawing == small_gan().drawing) == same


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": "s"}, r"space='s' of gan: use one of z, w, w\+, style"),
        ({"noise": "random"}, "noise='random' of gan: use const or none"),
        ({"image_size": 28}, "power of 2.*got 28: set data.image_size"),
        ({"channel_base": 16}, "leave no channels at 32 pixels: use channel_base >= 32"),
        ({"channel_max": 0}, "leave no channels"),
        ({"mapping_layers": 0}, "mapping_layers must be >= 1, got 0"),
        ({"channel_base": None}, "may be null only where weights is a published file"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small_gan(**options)


def test_null_options_are_read_from_the_file(published):
    model = built(published, **NULLS)
    assert model.generator.state_dict().keys() == STATE.keys()
    z = item_noise(0, range(2), (16,))
    assert torch.equal(model.decode(z), small_gan().decode(z))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"z_dim": 32}, "z_dim=32 but the file was made with 16"),
        ({"w_dim": 16}, "w_dim=16 but the file was made with 24"),
        ({"mapping_layers": 8}, "mapping_layers=8 but the file was made with 2"),
        ({"image_size": 64}, "image_size=64 but the file was made with 32"),
        (
            {"channel_max": 512},
            r"channel_base=256 and channel_max=512 give \[64, 32, 16, 8\].*has \[16, 16, 16, 8\]",
        ),
        ({"channel_base": 512, "channel_max": None}, "channel_base=512 and channel_max=16 give"),
    ],
)
def test_options_that_contradict_the_file_are_refused(published, options, message):
    with pytest.raises(ValueError, match=message):
        built(published, **{**NULLS, **options})


def test_a_file_of_something_else_is_refused(tmp_path):
    save_file(small_vae().state_dict(), tmp_path / "vae.safetensors")
    with pytest.raises(ValueError, match=r"no StyleGAN2 generator.*mapping\.fc0\.weight"):
        built(tmp_path / "vae.safetensors")


def test_a_class_conditional_generator_is_refused(tmp_path):
    save_file({**STATE, "mapping.embed.weight": torch.zeros(2, 2)}, tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match="class-conditional generator"):
        built(tmp_path / "c.safetensors")


@pytest.mark.parametrize("ema", [True, False])
def test_averaged_or_raw_weights_are_taken_as_asked_for(tmp_path, monkeypatch, ema):
    zeros = {name: torch.zeros_like(value) for name, value in STATE.items()}
    path = write_snapshot(tmp_path / "a.pkl", monkeypatch, G=network(zeros), G_ema=network(STATE))
    model = built(path, ema=ema, **NULLS)
    assert bool(model.generator.mapping.fc0.weight.any()) == ema


def test_a_snapshot_without_the_weights_asked_for_says_so(tmp_path, monkeypatch):
    path = write_snapshot(tmp_path / "a.pkl", monkeypatch, G_ema=network(STATE))
    with pytest.raises(ValueError, match="holds no G: set ema=true"):
        built(path, ema=False)


@pytest.mark.parametrize(
    ("configured", "in_file", "used"),
    [(None, 256, 256), (256, 256, 256), (None, None, None), (256.0, "absent", 256.0)],
)
def test_the_clamp_is_what_the_snapshot_says(tmp_path, monkeypatch, configured, in_file, used):
    kwargs = {} if in_file == "absent" else {"synthesis_kwargs": {"conv_clamp": in_file}}
    path = write_snapshot(tmp_path / "a.pkl", monkeypatch, G_ema=network(STATE, **kwargs))
    assert built(path, conv_clamp=configured).generator.synthesis.b4.conv1.clamp == used


def test_another_clamp_than_the_snapshots_is_refused(tmp_path, monkeypatch):
    made = network(STATE, synthesis_kwargs={"conv_clamp": None})
    path = write_snapshot(tmp_path / "a.pkl", monkeypatch, G_ema=made)
    with pytest.raises(ValueError, match="conv_clamp=256 but the file was made with None"):
        built(path, conv_clamp=256)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"mapping_kwargs": {"lr_multiplier": 1}}, "lr_multiplier=1: only 0.01 is supported"),
        ({"synthesis_kwargs": {"architecture": "resnet"}}, "architecture='resnet': only 'skip'"),
    ],
)
def test_settings_that_leave_no_trace_in_tensors_are_checked(
    tmp_path, monkeypatch, kwargs, message
):
    path = write_snapshot(tmp_path / "a.pkl", monkeypatch, G_ema=network(STATE, **kwargs))
    with pytest.raises(ValueError, match=message):
        built(path)


def test_the_published_option_reads_a_snapshot_in_the_checkpoint_folder(tmp_path, monkeypatch):
    kwargs = {"synthesis_kwargs": {"conv_clamp": 256, "num_fp16_res": 4}}
    made = network(STATE, **kwargs)
    write_snapshot(tmp_path / "gan-celeba64.pkl", monkeypatch, G_ema=made)
    monkeypatch.setenv("STITCHING_CHECKPOINTS", str(tmp_path))
    small = [
        "data.image_size=32",
        "encoder.space=z",
        *(f"encoder.{k}={v}" for k, v in SMALLER.items()),
    ]
    model = stitching.load_model("gan-celeba64", *small, device="cpu")
    clamped = small_gan(conv_clamp=256.0)
    z = item_noise(0, range(2), (16,))
    assert torch.equal(model.decode(z), clamped.decode(z))


def test_a_file_of_the_zoo_is_loaded_with_its_own_names(tmp_path):
    model, path = small_gan(), tmp_path / "gan.safetensors"
    path.write_bytes(weights_bytes(model, small_gan_options(), {"data": "faces"}))
    loaded = built(path)
    assert read_weights(path).content.keys() == model.state_dict().keys()
    z = model.known_latents(0, range(2))
    torch.testing.assert_close(loaded.decode(z), model.decode(z), atol=5e-3, rtol=0)
    assert json.loads(loaded.drawing)["weights"] == loaded.weights_hash


def test_the_packaged_gan_is_small_in_half_precision():
    node = config.compose_config(["encoder=gan"]).settings["encoder"]
    options = config.model_options(node)
    options.pop("_target_")
    model = GAN(**options)
    n_bytes = 2 * sum(value.numel() for value in model.state_dict().values())
    assert n_bytes < 3.5 * 2**20
    assert model.latent_dim == 512


def test_the_generators_source_is_part_of_every_key():
    frozen = FrozenModel(small_gan(), small_gan_options(), "float32")
    assert frozen.identity()["code"] != code_version(GAN)
    assert frozen.identity()["code"] == code_version(*{type(m) for m in small_gan().modules()})
