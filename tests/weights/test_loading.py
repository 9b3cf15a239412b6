import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from stitching import config
from stitching.compute.notes import log_once
from stitching.config import assemble
from stitching.weights.containers import read_weights
from stitching.weights.loading import load_weights, weights_bytes
from stitching.weights.locations import resolve
from tests.small import small_vae, small_vae_options


@pytest.fixture
def saved(tmp_path):
    model, path = small_vae(), tmp_path / "vae.safetensors"
    path.write_bytes(weights_bytes(model, small_vae_options(), {"data": "faces"}))
    return model, path


def other():
    torch.manual_seed(5)
    model = small_vae()
    for parameter in model.parameters():
        parameter.data.normal_()
    return model


def test_weights_survive_to_half_precision(saved):
    model, path = saved
    loaded = other()
    load_weights(loaded, read_weights(path), small_vae_options())
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value.half().float()), key
    assert loaded.card["data"] == "faces"
    assert len(loaded.weights_hash) == 64


def test_two_readers_compute_the_same_numbers(saved):
    _, path = saved
    x = torch.rand(2, 3, 32, 32)
    a, b = other(), small_vae()
    for model in (a, b):
        load_weights(model, read_weights(path), small_vae_options())
    assert torch.equal(a.encode(x), b.encode(x))


def test_a_missing_key_is_named(saved):
    _, path = saved
    tensors = load_file(path)
    tensors.pop("encoder.1.bias")
    save_file(tensors, path)
    with pytest.raises(ValueError, match=r"1 keys missing \['encoder.1.bias'\]"):
        load_weights(other(), read_weights(path), small_vae_options())


def test_an_unexpected_key_is_named(saved):
    _, path = saved
    save_file({**load_file(path), "more": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"1 unexpected \['more'\]"):
        load_weights(other(), read_weights(path), small_vae_options())


def test_another_shape_is_named(saved):
    _, path = saved
    save_file({**load_file(path), "encoder.1.bias": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"encoder.1.bias \(3,\) instead of \(8,\)"):
        load_weights(other(), read_weights(path), small_vae_options())


def test_another_value_range_is_an_error_not_a_wrong_number(saved):
    _, path = saved
    options = small_vae_options(value_range=[-1.0, 1.0])
    model = small_vae(value_range=[-1.0, 1.0])
    with pytest.raises(ValueError, match=r"value_range=\[-1.0, 1.0\] but trained with \[0.0, 1.0"):
        load_weights(model, read_weights(path), options)


def test_another_image_size_names_the_remedy(saved):
    _, path = saved
    options = small_vae_options(image_size=64)
    with pytest.raises(ValueError, match=r"set data\.image_size=32"):
        load_weights(small_vae(image_size=64), read_weights(path), options)


def test_weights_that_are_not_finite_are_refused(saved):
    _, path = saved
    save_file({**load_file(path), "encoder.1.bias": torch.full((8,), float("nan"))}, path)
    with pytest.raises(ValueError, match=r"encoder\.1\.bias has values that are not finite"):
        load_weights(other(), read_weights(path), small_vae_options())


def test_a_diverged_model_is_not_saved():
    model = small_vae()
    model.encoder[1].bias.data[0] = 1e6
    with pytest.raises(ValueError, match="does not fit half precision"):
        weights_bytes(model, small_vae_options(), {})


def test_a_file_that_is_no_safetensors_is_refused(tmp_path):
    path = tmp_path / "page.safetensors"
    path.write_text("no weights here")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load_weights(small_vae(), read_weights(path), small_vae_options())


def test_the_card_holds_the_architecture_without_options_of_use(saved):
    from safetensors import safe_open

    _, path = saved
    with safe_open(path, "pt") as file:
        architecture = json.loads(file.metadata()["architecture"])
    assert architecture["latent_dim"] == 16
    assert "name" not in architecture


@pytest.mark.parametrize("weights", ["zoo:faces/nope.safetensors", "nowhere/vae.safetensors"])
def test_a_file_that_is_not_there_names_the_ways_to_get_one(weights):
    with pytest.raises(FileNotFoundError, match=r"packaged files are|python -m stitching.train"):
        resolve(weights)


def test_a_model_is_built_from_a_path_in_the_launch_folder(tmp_path, monkeypatch):
    torch.save(small_vae().state_dict(), tmp_path / "vae.pt")
    monkeypatch.chdir(tmp_path)
    node = {**small_vae_options(), "weights": "vae.pt"}
    model = config.build_model(node, "cpu")
    for key, value in small_vae().state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


def test_subfolder_and_revision_beside_weights_reach_the_hub(tmp_path, monkeypatch):
    torch.save(small_vae().state_dict(), tmp_path / "vae.pt")
    asked = []
    monkeypatch.setattr(
        "stitching.weights.hub.folder", lambda *asked_for: asked.append(asked_for) or tmp_path
    )
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "vae.pt").rename(tmp_path / "diffusion_pytorch_model.bin")
    node = {**small_vae_options(), "weights": "org/name", "subfolder": "vae", "revision": "v1"}
    assert config.build_model(node, "cpu").weights_hash is not None
    assert asked == [("org/name", "vae", "v1")]


def test_what_describes_weights_is_no_option_of_the_model():
    about = dict.fromkeys(
        ["weights", "subfolder", "revision", "source", "checkpoint", "trained_crop", "training"]
    )
    node = {**small_vae_options(), **about}
    assert config.model_options(node) == small_vae_options()
    assert config.build_model(node, "cpu").latent_dim == 16


@pytest.fixture
def cell_of_crop(monkeypatch):
    """Build a cell as if the data had a crop; returns after how many builds."""
    faces = config.compose_config(["data.n_train=12", "data.n_test=4"]).settings["data"]
    build_data = config.build_data
    monkeypatch.setattr(config, "build_data", lambda node, cache: build_data(faces, cache))
    log_once.cache_clear()

    def build(crop, trained):
        overrides = ["encoder=random", "decoder=pixels", "metric=[rmse]", "tracker=none"]
        overrides += [f"+encoder.trained_crop={trained}"] if trained else []
        overrides += [f"+data.crop={crop}"] if crop else []
        for _ in range(2):
            assemble.build_cell(config.compose_config(overrides))

    return build


@pytest.mark.parametrize("trained", ["face128", "squeezed"])
def test_a_model_of_another_crop_is_warned_of_once_in_a_sweep(cell_of_crop, caplog, trained):
    cell_of_crop("square", trained)
    assert caplog.text.count(f"random was trained on images cropped as {trained}") == 1
    assert "data.crop=square: a grid shows one crop to all" in caplog.text


@pytest.mark.parametrize(
    ("crop", "trained"), [("square", "square"), ("square", None), (None, "face128"), (None, None)]
)
def test_the_same_crop_and_data_without_crops_are_not_warned_of(
    cell_of_crop, caplog, crop, trained
):
    cell_of_crop(crop, trained)
    assert "cropped" not in caplog.text
