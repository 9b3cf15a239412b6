"""Weight files of every layout are read, and none of them runs code."""

import argparse
import collections
import enum
import hashlib
import json
import pathlib
import re
import subprocess
import types

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from stitching.weights.containers import read_weights
from stitching.weights.loading import load_weights
from tests.small import small_vae, small_vae_options

WEIGHT = {"w": torch.arange(3.0)}


@pytest.fixture
def published(tmp_path):
    """Save a small VAE's weights, changed by a function, as a published checkpoint."""

    def save(edit=lambda state: state, wrap=lambda state: state):
        state = small_vae().state_dict()
        torch.save(wrap(edit(state)), tmp_path / "vae.pt")
        return read_weights(tmp_path / "vae.pt")

    return save


def other():
    model = small_vae()
    for parameter in model.parameters():
        parameter.data.normal_()
    return model


def saved(path, content, **options):
    torch.save(content, path, **options)
    return path


def prefixed(state):
    return {f"module.{key}": value for key, value in state.items()}


@pytest.mark.parametrize("edit", [dict, prefixed])
def test_weights_load_with_and_without_the_prefix_of_a_parallel_wrapper(published, edit):
    model = other()
    file = published(edit)
    load_weights(model, file, small_vae_options())
    for key, value in small_vae().state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key
    assert model.weights_hash == hashlib.sha256(file.path.read_bytes()).hexdigest()


def test_a_prefix_that_not_all_names_share_is_part_of_the_names(published):
    file = published(lambda state: {**state, "module.more": torch.zeros(1)})
    assert "module.more" in file.state_dict()


def drop(state):
    return {key: value for key, value in state.items() if key != "encoder.1.bias"}


def reshape(state):
    return {**state, "encoder.1.bias": torch.zeros(3)}


@pytest.mark.parametrize("wrap", [dict, prefixed])
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (drop, r"1 keys missing \['encoder\.1\.bias'\]"),
        (reshape, r"encoder\.1\.bias \(3,\) instead of \(8,\)"),
    ],
)
def test_partial_weights_stop_with_keys_shapes_and_what_to_change(published, edit, message, wrap):
    model = other()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message) as error:
        load_weights(model, published(edit, wrap), small_vae_options())
    assert "model's options (in its YAML, or <role>.OPTION=VALUE)" in str(error.value)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_tensors_are_dug_out_of_nested_dicts_and_lists(tmp_path):
    nested = [0, {"ema": {"module.w": WEIGHT["w"]}}]
    file = read_weights(saved(tmp_path / "x.pt", nested))
    assert torch.equal(file.state_dict(1, "ema")["w"], WEIGHT["w"])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (("net",), r"no entry 'net'; there are 'w', 'lr'"),
        (("lr",), r"no dict of tensors there; there is a float"),
        ((), r"no dict of tensors there; there are 'w', 'lr'"),
        ((4,), r"no entry 4"),
    ],
)
def test_a_place_without_tensors_says_what_there_is(tmp_path, keys, message):
    file = read_weights(saved(tmp_path / "x.pt", {**WEIGHT, "lr": 0.1}))
    with pytest.raises(ValueError, match=message):
        file.state_dict(*keys)


def test_a_list_that_is_too_short_says_so(tmp_path):
    file = read_weights(saved(tmp_path / "x.pt", [WEIGHT]))
    with pytest.raises(ValueError, match=r"no entry 4; there is a list of 1"):
        file.state_dict(4)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("value", [np.float64(1), np.int32(2), np.bool_(True), np.str_("x")])
def test_numpy_scalars_beside_weights_load(tmp_path, value, zipped):
    path = saved(tmp_path / "x.pt", {**WEIGHT, "lr": value}, _use_new_zipfile_serialization=zipped)
    content = read_weights(path).content
    assert content["lr"] == value
    assert type(content["lr"]) is type(value)
    assert torch.equal(content["w"], WEIGHT["w"])


def test_numpy_arrays_beside_weights_load(tmp_path):
    state = np.random.default_rng(0).normal(size=(2, 3))
    content = read_weights(saved(tmp_path / "x.pt", {**WEIGHT, "state": state})).content
    np.testing.assert_array_equal(content["state"], state)


class Colour(enum.Enum):
    RED = 1


SETTINGS = [
    OmegaConf.create([1, 2]),
    OmegaConf.create({"a": [1, {"b": None}], "s": "x", "f": 1.5, "t": True, "link": "${s}"}),
    OmegaConf.create({"path": pathlib.Path("x"), "bytes": b"1"}),
    argparse.Namespace(lr=0.1, channels=[1, 2]),
    types.SimpleNamespace(lr=0.1),
    pathlib.Path("runs/x"),
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda value: type(value).__name__)
def test_settings_beside_weights_are_inert(tmp_path, settings):
    content = read_weights(saved(tmp_path / "x.pt", {**WEIGHT, "config": settings})).content
    assert torch.equal(content["w"], WEIGHT["w"])
    assert type(content["config"]).__name__ == "Inert"
    assert not vars(content["config"])


class Reduced:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("zipped", [True, False])
def test_an_object_that_runs_code_is_refused_and_does_not_run(tmp_path, zipped):
    harmful = Reduced(pathlib.Path.touch, tmp_path / "made")
    path = saved(
        tmp_path / "x.pt", {**WEIGHT, "extra": harmful}, _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(ValueError, match="was refused: loading it would run code"):
        read_weights(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        (Reduced(subprocess.check_output, "true"), "subprocess.check_output"),
        (Reduced(eval, "1 + 1"), "eval"),
        (Reduced(getattr, [], "append"), "getattr"),
        (Colour.RED, "tests.weights.test_containers.Colour"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        (np.array([{}]), "numpy.dtypes.ObjectDType"),
    ],
)
def test_what_is_refused_is_named_with_the_safe_way(tmp_path, extra, name):
    path = saved(tmp_path / "x.pt", {**WEIGHT, "extra": extra})
    with pytest.raises(ValueError, match=rf"x\.pt.*{re.escape(name.rsplit('.', 1)[-1])}") as error:
        read_weights(path)
    assert "save `model.state_dict()` as a safetensors file" in str(error.value)


def test_a_whole_pickled_module_is_refused_by_the_name_of_its_class(tmp_path):
    path = saved(tmp_path / "x.pt", torch.nn.Sequential(torch.nn.Linear(2, 2)))
    with pytest.raises(ValueError, match=r"torch\.nn\.modules\.container\.Sequential"):
        read_weights(path)


def test_refusing_one_file_leaves_torchs_own_list_as_it_was(tmp_path):
    before = list(torch.serialization.get_safe_globals())
    with pytest.raises(ValueError, match="refused"):
        read_weights(saved(tmp_path / "x.pt", Reduced(eval, "1")))
    read_weights(saved(tmp_path / "y.pt", collections.OrderedDict(WEIGHT)))
    assert torch.serialization.get_safe_globals() == before


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is an empty file: the download has failed"),
        (b"\n <!DOCTYPE html><html>quota", r"is a web page, not weights"),
        (b"<html>", r"is a web page, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid", r"Git LFS, not weights: run `git"),
        (b'{"error": "no such file"}', r"is not a readable .*partial download"),
        (b"\x80\x02junk", r"is not a readable .*partial download"),
        (bytes(1000), r"is not a readable .*partial download"),
    ],
)
def test_what_is_no_weight_file_is_refused_with_its_cause(tmp_path, suffix, content, message):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_weights(path)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("layout", ["zip", "legacy", "safetensors"])
def test_a_truncated_file_is_refused_in_one_short_message(tmp_path, layout, keep):
    path = tmp_path / ("x.safetensors" if layout == "safetensors" else "x.pt")
    tensors = {"w": torch.zeros(1000)}
    if layout == "safetensors":
        save_file(tensors, path)
    else:
        saved(path, tensors, _use_new_zipfile_serialization=layout == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(ValueError, match="partial download") as error:
        read_weights(path)
    assert len(str(error.value)) < 500


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no weight file .*x\.pt"):
        read_weights(tmp_path / "x.pt")


def diffusers_folder(folder, *names, config='{"_class_name": "VQModel"}'):
    for number, name in enumerate(names):
        tensors = {"w": torch.full((1,), float(number))}
        (save_file if name.endswith("tensors") else torch.save)(tensors, folder / name)
    if config is not None:
        (folder / "config.json").write_text(config)
    return folder


SAFE, BIN = "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        ([SAFE], SAFE), ([BIN], BIN), ([BIN, SAFE], SAFE), (["model.safetensors"], None),
        ([BIN, "diffusion_pytorch_model.fp16.safetensors"], BIN),
    ],
)  # fmt: skip
def test_a_folder_in_diffusers_layout_gives_its_configuration_and_best_weights(
    tmp_path, names, taken
):
    file = read_weights(diffusers_folder(tmp_path, *names))
    assert file.path.name == (taken or names[0])
    assert file.state_dict()["w"] == names.index(file.path.name)
    assert file.config == {"_class_name": "VQModel"}
    assert file.sha256 == hashlib.sha256(file.path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("names", "config", "error", "message"),
    [
        ([SAFE], None, FileNotFoundError, r"has no config\.json.*set subfolder, such as vae"),
        ([SAFE], "{", ValueError, r"config\.json is not valid JSON"),
        ([SAFE], "<html>", ValueError, r"config\.json is not valid JSON"),
        ([SAFE], json.dumps([1]), ValueError, r"config\.json holds a list"),
        ([], "{}", FileNotFoundError, r"has none of diffusion_pytorch_model\.safetensors"),
        (
            [], "{}", ValueError, r"in several files \(diffusion_pytorch_model\.safetensors\.index"
        ),
    ],
)  # fmt: skip
def test_a_folder_that_is_no_model_says_what_is_wrong(tmp_path, names, config, error, message):
    diffusers_folder(tmp_path, *names, config=config)
    if "several" in message:
        (tmp_path / f"{SAFE}.index.json").write_text("{}")
    with pytest.raises(error, match=message):
        read_weights(tmp_path)


def test_a_configuration_that_is_no_text_is_refused(tmp_path):
    diffusers_folder(tmp_path, SAFE, config=None)
    (tmp_path / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not valid JSON"):
        read_weights(tmp_path)


@pytest.mark.parametrize("place", range(4))
def test_a_flipped_bit_in_a_file_of_torch_is_noticed(tmp_path, place):
    path = saved(tmp_path / "x.pt", {"w": torch.rand(2000, generator=torch.Generator())})
    data = bytearray(path.read_bytes())
    start = data.index(b"/data/0")
    data[start + 1000 + 1500 * place] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"x\.pt is damaged: its part .*data/0"):
        read_weights(path)


def test_a_file_that_torch_wrote_without_checksums_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        path = saved(tmp_path / "x.pt", WEIGHT)
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_weights(path).state_dict()["w"], WEIGHT["w"])
