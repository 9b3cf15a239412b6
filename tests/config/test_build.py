"""Every configuration composes, builds, and is refused with one clear message when wrong."""

import importlib
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from stitching import config
from stitching.compute import devices
from stitching.config import assemble

CONF = config.conf_dir()
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
GROUPS = ("data", "map", "metric", "probe", "tracker", "experiment")
OPTIONS = [(g, p.stem) for g in GROUPS for p in sorted((CONF / g).glob("*.yaml"))]

#: Small enough for every test, without pretrained networks.
SMALL = ["data.n_train=12", "data.n_test=4", "metric=[rmse]", "tracker=none"]


def composed(*overrides):
    return config.compose_config([*SMALL, *overrides])


@pytest.mark.parametrize("role", config.ROLES)
@pytest.mark.parametrize("name", MODELS)
def test_every_model_composes_in_both_roles(role, name):
    found = composed(f"{role}={name}").settings[role]
    assert found["name"] == (f"{name}-vae" if name in ("untrained", "shuffled") else name)


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_every_option_composes_and_its_targets_import(group, name):
    config.register_roles()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        # `hydra` itself is part of it, since presets may set the sweep.
        cfg = compose("config", [f"{group}={name}"], return_hydra_config=True)
    node = OmegaConf.to_container(cfg, resolve=False)

    def targets(value):
        if isinstance(value, dict):
            target = value.get("_target_")
            if isinstance(target, str) and target.startswith("stitching."):
                yield target
            for child in value.values():
                yield from targets(child)

    found = list(targets(node))
    assert found
    for target in found:
        module, _, attribute = target.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute)


def test_the_grid_preset_sweeps_every_model():
    config.register_roles()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", ["experiment=grid"], return_hydra_config=True)
    assert cfg.hydra.mode.name == "MULTIRUN"
    assert cfg.hydra.sweeper.params.encoder.startswith("random,")


def test_stable_keys_are_there():
    settings = composed().settings
    for key in ("encoder", "decoder", "data", "map", "metric", "probe", "tracker", "seed",
                "device", "dtype"):  # fmt: skip
        assert key in settings
    assert {"root", "n_train", "n_test", "image_size"} <= set(settings["data"])


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["decoder=random"], ValueError, "decoder=random: this model cannot decode"),
        (["data=celeba"], ValueError, r"data\.root"),
        (["data=folder"], ValueError, r"data\.root"),
        (["data=folder", "data.root=nowhere"], FileNotFoundError, "nowhere"),
        (["data.root=somewhere"], ValueError, "not read from a folder"),
        (["data.n_test=0"], ValueError, r"data\.n_test must be >= 1, got 0"),
        (["data.image_size=28", "encoder=dm"], ValueError, "multiple of"),
        (["data.image_size=32"], ValueError, "set data.image_size=64"),
        (["picture=4"], ValueError, "picture=4 is not a test image"),
        (["batch_size=0"], ValueError, "batch_size must be a whole number >= 1, got 0"),
        (["device=tpu"], ValueError, "use auto, cpu, cuda or cuda:N"),
        (["dtype=float16"], ValueError, "use one of float32, bfloat16, float64"),
        (["map.alpha=-1.0"], ValueError, "map.alpha must be >= 0"),
        (["encoder.weights=nowhere.safetensors"], FileNotFoundError, "no weight file"),
        (["zoo=nowhere"], FileNotFoundError, "no weight file"),
        (["encoder.value_range=[-1.0,1.0]"], ValueError, "trained with other options"),
    ],
)
def test_wrong_input_is_refused_when_built(overrides, error, message):
    with pytest.raises(error, match=message):
        assemble.build_cell(composed(*overrides))


def test_one_model_in_two_roles_is_built_once():
    same = assemble.build_cell(composed("encoder=vqvae", "decoder=vqvae", "via=vqvae"))
    assert same.encoder.model is same.decoder.model is same.via.model
    other = assemble.build_cell(
        composed("encoder=vqvae", "decoder=vqvae", "decoder.space=continuous")
    )
    assert other.encoder.model is not other.decoder.model


def test_an_unknown_option_names_the_known_ones():
    with pytest.raises(ValueError, match=r"(?s)nope.*vae"):
        composed("encoder=nope")


def test_a_missing_value_is_reported_before_any_work():
    with pytest.raises(ValueError, match="incomplete"):
        assemble.build_cell(composed("+data.more=???"))


def test_a_configuration_becomes_plain_containers():
    found = composed("encoder=untrained", "via=vae", "+data.note=${seed}", "+data.list=[1,2]")
    assert type(found.settings["encoder"]) is dict
    assert type(found.settings["data"]["list"]) is list
    assert found.settings["data"]["note"] == 0
    assert {type(model.node) for model in found.models.values()} == {dict}


def test_weights_of_other_data_are_used_with_a_warning(tmp_path, caplog):
    from PIL import Image

    for i in range(80):
        Image.new("RGB", (64, 64), (i, 2 * i, 3 * i)).save(tmp_path / f"{i}.png")
    options = [f"data.root={tmp_path}", "data.n_train=4", "encoder=vae", "decoder=vae"]
    assemble.build_cell(composed("data=folder", *options))
    assert "vae was trained on faces, the data are folder" in caplog.text


def test_python_functions_load_models_and_images():
    import torch

    import stitching

    model = stitching.load_model("vae")
    x = stitching.load_images("faces", split="test", n=3)
    assert x.shape == (3, 3, 64, 64)
    y = model.decode(model.encode(x))
    assert y.shape == x.shape
    assert torch.isfinite(y).all()


def test_python_functions_name_what_there_is():
    import stitching

    with pytest.raises(ValueError, match="nope"):
        stitching.load_model("nope")
    with pytest.raises(AttributeError, match="no attribute"):
        stitching.nothing  # noqa: B018 the access is the test


@pytest.mark.parametrize(
    ("capabilities", "dtype", "device", "warned"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, "bfloat16", "cpu", True),
        ({"avx2": True, "avx512_bf16": True, "amx_bf16": False}, "bfloat16", "cpu", False),
        ({"avx2": True, "avx512_bf16": False}, "float32", "cpu", False),
        ({"avx2": True, "avx512_bf16": False}, "bfloat16", "cuda", False),
        ({}, "bfloat16", "cpu", False),
    ],
)
def test_emulated_bfloat16_is_warned_of(monkeypatch, capabilities, dtype, device, warned):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    expected = pytest.warns(devices.SlowDtypeWarning, match="float32") if warned else nullcontext()
    with expected:
        devices.warn_of_slow_dtype(torch.device(device), dtype)


def test_metrics_that_lack_one_network_are_named_in_one_line(monkeypatch, caplog):
    absent = SimpleNamespace(unavailable="w.pth is not there", smallest_image=0)
    monkeypatch.setattr(
        assemble, "_metric", lambda key, *_: SimpleNamespace(name=key, **vars(absent))
    )
    node = {"_target_": "a.Metric"}
    assemble._metrics({"kid": node, "fid": node}, torch.device("cpu"), 64)
    (line,) = caplog.messages
    assert line == "image/kid, image/fid will be absent: w.pth is not there"
