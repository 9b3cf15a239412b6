"""Names without the marks of wrappers, and hashes of values of any dtype."""

import copy
import hashlib

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from stitching.weights.loading import load_weights, parameters_hash
from stitching.weights.state_dicts import hash_values, plain_names, unwrapped
from tests.small import small_vae, small_vae_options
from tests.weights.test_containers import other


@pytest.mark.parametrize(
    "prefix",
    ["_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module._orig_mod.module.",
     "_fsdp_wrapped_module._orig_mod."],
)  # fmt: skip
def test_prefixes_of_wrappers_go_in_any_order(prefix):
    assert plain_names([f"{prefix}a.w", f"{prefix}b"]) == {
        f"{prefix}a.w": "a.w",
        f"{prefix}b": "b",
    }


def test_marks_inside_a_network_go_too():
    names = ["encoder._orig_mod.conv.weight", "encoder._orig_mod.conv.bias", "decoder.module.w"]
    assert list(plain_names(names).values()) == [
        "encoder.conv.weight", "encoder.conv.bias", "decoder.w",
    ]  # fmt: skip


@pytest.mark.parametrize("names", [["module.a", "b"], ["a.module.x", "a.y"], ["module"], []])
def test_a_layer_called_module_keeps_its_name(names):
    assert list(plain_names(names).values()) == names


def test_two_names_that_become_one_are_an_error():
    with pytest.raises(ValueError, match=r"'net._orig_mod.w' and 'net.w' are both 'net.w'"):
        plain_names(["net._orig_mod.w", "net.w"])


def test_the_wrappers_of_torch_are_recognised():
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    own = list(net.state_dict())
    inside = copy.deepcopy(net)
    inside[0] = torch.compile(inside[0])
    wrapped = [
        torch.compile(net), nn.DataParallel(net), torch.compile(nn.DataParallel(net)),
        nn.DataParallel(torch.compile(net)), AveragedModel(net), inside,
    ]  # fmt: skip
    for module in wrapped:
        assert list(unwrapped(module.state_dict())) == own, type(module)


def test_a_model_that_holds_a_compiled_network_loads_its_own_file_and_a_plain_one(tmp_path):
    from stitching.weights.containers import read_weights

    model = other()
    model.encoder = torch.compile(model.encoder)
    for number, state in enumerate([small_vae().state_dict(), model.state_dict()]):
        torch.save(state, tmp_path / f"{number}.pt")
    load_weights(model, read_weights(tmp_path / "0.pt"), small_vae_options())
    assert torch.equal(model.state_dict()["encoder._orig_mod.1.bias"], state_of("encoder.1.bias"))
    load_weights(other(), read_weights(tmp_path / "1.pt"), small_vae_options())


def state_of(name):
    return small_vae().state_dict()[name]


DTYPES = sorted(
    {
        value
        for name, value in vars(torch).items()
        if isinstance(value, torch.dtype) and not name.startswith("q")
    },
    key=str,
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_values_of_every_dtype_have_a_hash(dtype, monkeypatch):
    # Filling, which deterministic mode adds, has no kernel for some dtypes.
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)
    value = torch.empty(3, 2, dtype=dtype)
    state = {"w": value, "none": value[:0]}
    assert hash_values(state) == hash_values(state)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", [torch.qint8, torch.quint8, torch.qint32], ids=str)
def test_quantised_values_have_a_hash_that_their_scale_changes(dtype):
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    hashes = {
        hash_values({"w": torch.quantize_per_tensor(x * k, 0.5 * k, 0, dtype)}) for k in (1, 2)
    }
    scales, zeros = torch.tensor([0.5, 1.0]), torch.tensor([0, 0])
    if dtype != torch.qint32:
        hashes.add(hash_values({"w": torch.quantize_per_channel(x, scales, zeros, 0, dtype)}))
    assert len(hashes) == (2 if dtype == torch.qint32 else 3)


def test_equal_bytes_of_two_dtypes_have_two_hashes():
    half, brain = torch.zeros(2, dtype=torch.float16), torch.zeros(2, dtype=torch.bfloat16)
    assert hash_values({"w": half}) != hash_values({"w": brain})


def test_the_hash_of_float32_is_that_of_names_and_bytes():
    model, digest = small_vae(), hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    assert parameters_hash(model) == digest.hexdigest()
