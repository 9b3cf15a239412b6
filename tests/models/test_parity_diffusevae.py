"""The VAE of DiffuseVAE against the outputs of kpandey008/DiffuseVAE, and its layer strings."""

import sys
import types

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from stitching.models import diffusevae
from stitching.models.diffusevae import STRINGS, DiffuseVAE
from tests.parity import (
    entries_of,
    full_size,
    full_size_entries,
    largest_difference,
    loaded,
    parameters_of,
    tensors,
)

PUBLIC_STRINGS = {
    "enc_block_str": "16x2,16d2,16t8,8x2,8d2,8t4,4x1,4d4,4t1,1x2",
    "dec_block_str": "1x1,1u4,1t4,4x1,4u2,4t8,8x2,8u2,8t16,16x2",
    "enc_channel_str": "16:64,8:48,4:32,1:40",
    "dec_channel_str": "16:24,8:32,4:48,1:40",
}
BASE = {"name": "vae", "image_size": 16}
FROM_FILE = BASE | dict.fromkeys(STRINGS)
#: Absolute; in float64 the differences measured are below 1e-14.
MU_TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}
DECODE_TOLERANCE = {torch.float32: 5e-6, torch.float64: 1e-12}


@pytest.fixture(scope="module")
def reference():
    return tensors("diffusevae/reference.safetensors.xz")


@pytest.fixture(scope="module")
def state():
    return tensors("diffusevae/state_dict.safetensors.xz")


def lightning(state, **hyper):
    return {
        "epoch": 0, "global_step": 0, "pytorch-lightning_version": "1.4.9", "state_dict": state,
        "callbacks": {}, "optimizer_states": [{"state": {}, "param_groups": [{"lr": 1e-4}]}],
        "lr_schedulers": [], "hparams_name": "kwargs",
        "hyper_parameters": {**PUBLIC_STRINGS, "alpha": 1.0, "lr": 1e-4, **hyper},
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(state, tmp_path_factory):
    folder = tmp_path_factory.mktemp("diffusevae")
    save_file(state, folder / "bare.safetensors")
    torch.save(state, folder / "bare.pt")
    torch.save(lightning(state, input_res=16), folder / "lightning.ckpt")
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return loaded(DiffuseVAE, folder / "lightning.ckpt", **FROM_FILE)


@pytest.fixture(scope="module", params=[torch.float32, torch.float64], ids=str)
def dtype(request):
    return request.param


@pytest.fixture(scope="module")
def of_dtype(folder, dtype):
    return loaded(DiffuseVAE, folder / "lightning.ckpt", dtype, **FROM_FILE)


@pytest.mark.parametrize("name", ["mu", "logvar"])
def test_the_posterior_is_that_of_the_original(of_dtype, dtype, reference, name):
    with torch.no_grad():
        posterior = of_dtype.posterior(reference["x"].to(dtype))
    ours = posterior[("mu", "logvar").index(name)]
    assert ours.shape == (4, 40, 1, 1)
    assert largest_difference(ours, reference[name]) < MU_TOLERANCE[dtype]


def test_the_mean_decodes_to_the_images_of_the_original(of_dtype, dtype, reference):
    with torch.no_grad():
        images = of_dtype.dec(reference["mu"][:2].to(dtype))
    assert largest_difference(images, reference["decode_mu"]) < DECODE_TOLERANCE[dtype]


@pytest.mark.parametrize(("latent", "images"), [("z", "decode_z"), ("z_prior", "decode_z_prior")])
def test_draws_decode_to_the_images_of_the_original(model, reference, latent, images):
    ours = model.decode(reference[latent].flatten(1))
    assert largest_difference(ours, reference[images]) < DECODE_TOLERANCE[torch.float32]


def test_the_latent_is_the_posterior_mean_and_never_a_draw(model, reference):
    z = model.encode(reference["x"])
    assert largest_difference(z, reference["mu"].flatten(1)) < MU_TOLERANCE[torch.float32]
    torch.manual_seed(1)
    assert torch.equal(z, model.encode(reference["x"]))


def test_the_kl_term_of_the_loss_is_that_of_the_original(model, reference):
    _, figures = model.training_loss(reference["x"], 0.0)
    assert 4 * figures["kl_nats"] == pytest.approx(float(reference["kl_sum"]), rel=1e-5)


@pytest.mark.parametrize("container", ["lightning.ckpt", "bare.safetensors", "bare.pt"])
def test_every_container_gives_every_value_of_the_file(folder, state, container):
    filled = loaded(DiffuseVAE, folder / container, **BASE, **PUBLIC_STRINGS).state_dict()
    assert filled.keys() == state.keys()
    for name, value in state.items():
        assert torch.equal(filled[name], value), name


def pool_first(self, x):
    x = h = self.pool(x)
    for layer in (self.c1, self.c2, self.c3, self.c4):
        h = layer(self.gelu(h))
    return x + h


def difference_of_means(model, reference):
    return largest_difference(model.encode(reference["x"]), reference["mu"].flatten(1))


def test_pooling_before_the_block_would_be_seen(model, reference, monkeypatch):
    monkeypatch.setattr(diffusevae.ResidualBlock, "forward", pool_first)
    assert difference_of_means(model, reference) > 1e-2


def test_the_approximate_gelu_would_be_seen(folder, reference):
    model = loaded(DiffuseVAE, folder / "lightning.ckpt", **FROM_FILE)
    for part in model.modules():
        if isinstance(part, diffusevae.ResidualBlock):
            part.gelu = nn.GELU("tanh")
    assert difference_of_means(model, reference) > 1e-4


@pytest.fixture
def foreign_callback(monkeypatch):
    """A class of the name that old checkpoints carry, there while the file is written."""
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": module.__name__})
    parents = ("pytorch_lightning", "pytorch_lightning.callbacks")
    for name in parents:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    yield module.ModelCheckpoint
    monkeypatch.undo()


@pytest.fixture
def old_file(foreign_callback, tmp_path):
    def write(state):
        content = lightning(state) | {"callbacks": {foreign_callback: {"best_model_path": ""}}}
        torch.save(content, tmp_path / "old.ckpt")
        for name in list(sys.modules):
            if name.startswith("pytorch_lightning"):
                del sys.modules[name]
        return tmp_path / "old.ckpt"

    return write


def test_old_files_keyed_by_a_class_load_without_its_library(old_file, state, reference):
    model = loaded(DiffuseVAE, old_file(state), **FROM_FILE)
    assert difference_of_means(model, reference) < MU_TOLERANCE[torch.float32]


def test_a_file_with_few_of_the_tensors_is_refused(old_file, state):
    path = old_file({"enc.in_conv.weight": state["enc.in_conv.weight"]})
    with pytest.raises(ValueError, match=r"does not fit model vae: 138 keys missing \['dec"):
        loaded(DiffuseVAE, path, **FROM_FILE)


@pytest.mark.parametrize("option", STRINGS)
def test_a_string_that_contradicts_the_file_is_named(folder, option):
    options = FROM_FILE | {option: "16x9"}
    with pytest.raises(ValueError, match=f"{option}='16x9' but the file was made with '1"):
        loaded(DiffuseVAE, folder / "lightning.ckpt", **options)


def test_another_image_size_than_the_files_is_named(folder):
    with pytest.raises(ValueError, match="image_size=32 but the file was made with 16"):
        loaded(DiffuseVAE, folder / "lightning.ckpt", **(FROM_FILE | {"image_size": 32}))


def test_blanks_in_strings_mean_nothing(folder):
    spaced = {key: value.replace(",", ", ") for key, value in PUBLIC_STRINGS.items()}
    assert loaded(DiffuseVAE, folder / "lightning.ckpt", **BASE, **spaced).latent_dim == 40


def test_a_file_without_strings_asks_for_them(folder):
    with pytest.raises(ValueError, match="does not contain enc_block_str, dec_block_str"):
        loaded(DiffuseVAE, folder / "bare.safetensors", **FROM_FILE)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("enc_block_str", "16x2,16u2", r"enc_block_str has '16u2': .* 8x2, 8d2, 8t2"),
        ("dec_block_str", "1x1,1d4", r"dec_block_str has '1d4'"),
        ("enc_block_str", "16x2,8x2", r"layer 8x2 needs 48 channels at resolution 8, but .* 64"),
        ("enc_block_str", "16x2,16d2,16t4", r"channel_str has no width|ends at resolution 8"),
        ("enc_block_str", "16x2,16d3", "layer 16d3 cannot divide 16 by 3"),
        ("enc_block_str", "16d2,16t2", "enc_channel_str has no width"),
        ("dec_block_str", "4x1", "dec_block_str must begin at resolution 1"),
        ("dec_block_str", "1x1,1u4,1t4", "dec_block_str ends at resolution 4 but must end at 16"),
        ("enc_channel_str", "16-64", "enc_channel_str has '16-64': write resolution:channels"),
        ("enc_channel_str", "16:32,8:48,4:32,1:40", "must give 64 channels at resolution 16"),
        ("dec_channel_str", "16:24,8:32,4:48,1:41", "gives 40 channels .* dec_channel_str 41"),
        ("enc_block_str", None, "enc_block_str must be a string"),
        ("image_size", 64, "enc_block_str is for images of 16 pixels, got image_size=64"),
        ("value_range", (-1, 1), r"value_range must be \[0, 1\]"),
        ("alpha", -1.0, "alpha must be >= 0, got -1.0"),
    ],
)
def test_options_that_make_no_model_are_refused(option, value, message):
    with pytest.raises(ValueError, match=message):
        DiffuseVAE(**(BASE | PUBLIC_STRINGS | {option: value}))


def test_training_lowers_the_loss():
    torch.manual_seed(0)
    model = DiffuseVAE(**BASE, **PUBLIC_STRINGS).train()
    x = torch.rand(4, 3, 16, 16)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(8):
        loss, figures = model.training_loss(x, 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert set(figures) == {"rmse", "kl_nats"}


@pytest.fixture(scope="module")
def public():
    return full_size("vae-celeba64")


def test_the_full_size_model_has_the_public_names_shapes_and_types(public):
    expected = full_size_entries("diffusevae/full_celeba64_keys.txt.xz")
    assert len(expected) == 511
    assert entries_of(public.state_dict()) == expected


def test_the_full_size_model_has_the_public_number_of_values(public):
    assert parameters_of(public.enc) == 8_029_184
    assert parameters_of(public.dec) == 5_982_723
    assert public.latent_shape == (512, 1, 1)
