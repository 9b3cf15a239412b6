from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stitching import config
from stitching.compute import source
from stitching.models.autoencoder import Autoencoder
from stitching.models.trainable import Trainable
from stitching.models.vqvae import VQVAE
from tests.autoencoders import (
    SMALL,
    build,
    built,
    loaded,
    node,
    raw_latent,
    same,
    save_all,
    theirs,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return save_all(tmp_path_factory.mktemp("published"))


@pytest.fixture
def images():
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


# Latents and images are the library's own.


@pytest.mark.parametrize("key", SMALL)
def test_raw_latents_are_those_of_the_library(folders, images, key):
    space = {"space": "continuous"} if key.startswith("vq") else {}
    model = built(folders / key, scaling_factor=1, shift_factor=0, **space)
    z = raw_latent(theirs(folders / key), images)
    assert model.latent_shape == tuple(z.shape[1:])
    same(model.encode(images), z.flatten(1))


@pytest.mark.parametrize("key", SMALL)
def test_decoded_images_are_those_of_the_library(folders, images, key):
    model, network = built(folders / key), theirs(folders / key)
    z = model.encode(images)
    raw = z.view(4, *model.latent_shape) / model.scale + model.shift
    with torch.no_grad():
        x = network.decode(raw).sample
    same(model.decode(z), ((x + 1) / 2).clamp(0, 1), 2e-6)
    assert float(x.std()) > 0.01


@pytest.mark.parametrize(
    ("key", "shift", "scale"),
    [
        ("kl", 0.0, 0.18215),  # the library's own, where an old config.json says nothing
        ("flux", 0.1159, 0.3611),
        ("sd3", 0.0609, 1.5305),
        ("channels", [-1.6, 1.1, 0.3, -0.2], [0.5 / s for s in (8.4, 5.1, 6.0, 7.2)]),
        ("asymmetric", 0.0, 0.18215),
        ("tiny", 0.0, 1.0),
        ("dc", 0.0, 0.41407),
        ("vq", 0.0, 1.0),  # codebook vectors as they are
    ],
)
def test_latents_have_the_scale_that_the_file_says(folders, images, key, shift, scale):
    model = built(folders / key, space="continuous" if key == "vq" else None)
    raw = raw_latent(theirs(folders / key), images)
    shift, scale = (torch.tensor(value).view(-1, 1, 1) for value in (shift, scale))
    same(model.encode(images), ((raw - shift) * scale).flatten(1))


@pytest.mark.parametrize("key", ["kl", "flux", "sd3", "channels", "dc"])
def test_decoding_undoes_shift_and_scale(folders, images, key, monkeypatch):
    model, seen = built(folders / key), []
    decode = model.network.decode
    monkeypatch.setattr(model.network, "decode", lambda z: seen.append(z) or decode(z))
    z = model.encode(images)
    model.decode(z)
    same(seen[0][:4], raw_latent(theirs(folders / key), images), 1e-5)


def test_scale_and_shift_can_be_set(folders, images):
    model = built(folders / "channels", scaling_factor=2.0, shift_factor=0.5)
    raw = raw_latent(theirs(folders / "channels"), images)
    same(model.encode(images), ((raw - 0.5) * 2).flatten(1))


def test_the_tiny_network_sees_black_as_0_and_white_as_1(folders):
    model, seen = build(folders / "tiny"), []
    model.network.encoder.layers[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.encode(torch.stack([torch.zeros(3, 16, 16), torch.ones(3, 16, 16)]))
    assert float(seen[0][0].abs().max()) == 0.0
    assert float((seen[0][1] - 1).abs().max()) == 0.0


def test_the_tiny_network_of_the_library_agrees_on_the_range(folders, images):
    # Its forward also rounds latents to bytes, which moves its images a little.
    model, network = built(folders / "tiny"), theirs(folders / "tiny")
    with torch.no_grad():
        x = (network(images * 2 - 1).sample + 1) / 2
    same(model.decode(model.encode(images)), x.clamp(0, 1), 0.02)


# What a latent may not depend on.


@pytest.mark.parametrize("key", SMALL)
@pytest.mark.usefixtures("two_threads")  # two batches of the base class, at the same time
def test_an_image_does_not_depend_on_its_batch(folders, key):
    model = built(folders / key)
    x = torch.rand(19, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    z = model.encode(x)
    same(torch.cat([model.encode(part) for part in x.split(3)]), z, 1e-5)
    y = torch.cat([model.decode(part) for part in z.split(5)])
    same(y, model.decode(z), 1e-5)


@pytest.mark.parametrize("key", ["kl", "vq", "dc"])
def test_passes_through_the_network_do_not_change_results(folders, images, key, monkeypatch):
    model = built(folders / key, working_size=32)
    z = model.encode(images)
    y = model.decode(z)
    monkeypatch.setattr("stitching.models.autoencoder._PASS_PIXELS", 5 * 32 * 32)
    same(model.encode(images), z, 1e-5)
    same(model.decode(z), y, 1e-5)


@pytest.mark.parametrize("key", SMALL)
def test_encoding_and_decoding_twice_give_the_same_bits(folders, images, key):
    model = built(folders / key)
    z = model.encode(images)
    torch.manual_seed(99)
    assert torch.equal(model.encode(images), z)
    assert torch.equal(model.decode(z), model.decode(z))


@pytest.mark.parametrize("key", ["kl", "dc", "vq"])
def test_bfloat16_keeps_weights_and_latents_in_float32(folders, images, key):
    precise = built(folders / key, space="continuous" if key == "vq" else None)
    fast = config.build_model(node(folders / key, space=precise.space), "cpu", "bfloat16")
    z = fast.encode(images)
    assert z.dtype == torch.float32
    assert fast.decode(z).dtype == torch.float32
    assert 0 < float((z - precise.encode(images)).abs().max()) < 0.05


# Working size.


@pytest.mark.parametrize("resize", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [32, 8])
def test_images_are_resized_as_pillow_does(folders, images, resize, size):
    model = built(folders / "kl", working_size=size, resize=resize)
    method = Image.Resampling[resize.upper()]
    planes = [
        np.asarray(Image.fromarray(plane.numpy()).resize((size, size), method))
        for plane in images.flatten(0, 1)
    ]
    x = torch.from_numpy(np.stack(planes)).view(4, 3, size, size).clamp(0, 1)
    raw = raw_latent(theirs(folders / "kl"), x)
    assert model.latent_shape == (4, size // 4, size // 4)
    same(model.encode(images), (raw * model.scale).flatten(1), 2e-6)


def test_decoded_images_come_back_at_the_size_of_the_data(folders, images):
    model = built(folders / "kl", working_size=32)
    z = model.encode(images)
    with torch.no_grad():
        large = theirs(folders / "kl").decode(z.view(4, 4, 8, 8) / model.scale).sample
    back = torch.nn.functional.interpolate(large, (16, 16), mode="bicubic", antialias=True)
    same(model.decode(z), ((back + 1) / 2).clamp(0, 1), 2e-6)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"image_size": 18}, r"multiples of 4 pixels, got data\.image_size=18: .*such as 20"),
        ({"working_size": 34}, "multiples of 4 pixels, got working_size=34: .*such as 36"),
        ({"working_size": 0}, "multiples of 4 pixels, got working_size=0"),
        ({"resize": "nearest"}, "mine.resize must be bicubic or bilinear, got 'nearest'"),
        ({"space": "quantized"}, "space='quantized' is for VQModel alone, this is AutoencoderKL"),
        ({"scaling_factor": 0.0}, r"mine\.scaling_factor must be > 0"),
        ({"architecture": {"latent_channels": 5}}, r"latent_channels=5 but config\.json .* has 4"),
    ],
)
def test_an_option_that_does_not_fit_is_named(folders, options, match):
    with pytest.raises(ValueError, match=match):
        build(folders / "kl", **options)


def test_the_space_of_a_codebook_has_two_names(folders):
    with pytest.raises(ValueError, match="must be quantized or continuous, got 'before'"):
        built(folders / "vq", space="before")


# Codebooks.


def test_quantising_quantised_latents_changes_nothing(folders, images):
    model = built(folders / "vq")
    z = model.encode(images).view(4, *model.latent_shape)
    again, index = model.quantize(z)
    same(again, z)
    assert len(index.unique()) > 1
    assert all(
        (vector == model.codebook).all(1).any() for vector in z.movedim(1, -1).flatten(0, 2)
    )


@pytest.mark.parametrize("key", ["vq", "vq-spatial"])
def test_decoding_continuous_latents_is_quantise_then_decode(folders, images, key):
    model, network = built(folders / key, space="continuous"), theirs(folders / key)
    z = model.encode(images)
    grid = z.view(4, *model.latent_shape)
    quantized = model.quantize(grid)[0]
    with torch.no_grad():
        direct = (network.decode(grid, force_not_quantize=True).sample + 1) / 2
        projected = (network.decode(quantized, force_not_quantize=True).sample + 1) / 2
    same(model.decode(z), projected.clamp(0, 1), 2e-6)
    same(model.decode(quantized.flatten(1)), model.decode(z))
    assert float((model.decode(z) - direct.clamp(0, 1)).abs().max()) > 1e-3


def test_the_two_spaces_differ(folders, images):
    quantized, continuous = (
        built(folders / "vq", space=space).encode(images) for space in ("quantized", "continuous")
    )
    assert float((quantized - continuous).abs().max()) > 1e-3
    assert torch.equal(built(folders / "vq").encode(images), quantized)


def test_a_model_that_looks_codes_up_decodes_vectors_as_well(folders, images, tmp_path):
    network = loaded(folders / "vq")
    network.register_to_config(lookup_from_codebook=True)
    network.save_pretrained(tmp_path / "amused")
    plain, model = built(folders / "vq"), built(tmp_path / "amused")
    assert torch.equal(model.decode(model.encode(images)), plain.decode(plain.encode(images)))


def test_diagnostics_count_changed_codes_of_a_codebook_alone(folders):
    model = built(folders / "vq")
    one, other = (
        model.codebook[k].view(3, 1, 1).expand(2, *model.latent_shape).flatten(1) for k in (0, 1)
    )
    assert model.diagnostics(one, other) == {
        "latent/codes_changed": 1.0,
        "latent/codes_used_true": 1,
        "latent/codes_used_mapped": 1,
    }
    assert built(folders / "kl").diagnostics(one, other) == {}


@pytest.mark.parametrize("cls", [Autoencoder, VQVAE])
def test_cached_latents_know_the_code_of_the_codebook(cls, monkeypatch):
    before, read = source.code_version(cls), Path.read_bytes
    monkeypatch.setattr(source, "_code_of", source._code_of.__wrapped__)  # as a new process
    changed = {"codebook.py": b"# changed"}
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + changed.get(path.name, b""))
    assert source.code_version(cls) != before


# What it does not do.


def test_it_draws_no_samples_and_is_not_trained(folders):
    model = built(folders / "kl")
    with pytest.raises(TypeError, match="mine is an autoencoder without a prior"):
        model.sample(2)
    assert not isinstance(model, Trainable)
