"""Snapshot pickles are read without running anything in them."""

import collections
import os
import pickle

import numpy as np
import pytest
import torch

from stitching.weights.containers import read_weights
from stitching.weights.snapshot import read_snapshot
from tests.gans import _Reduced, network, small_gan, write_snapshot

STATE = {
    name.removeprefix("generator."): value for name, value in small_gan().state_dict().items()
}


class Call(_Reduced):
    """Any function of this process, called when the pickle is read by an ordinary unpickler."""


def written(tmp_path, content, protocol=4):
    path = tmp_path / "network.pkl"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


def raw(*lines):
    """A pickle from its opcodes, for references that Python itself would not write."""
    return b"\x80\x04" + b"".join(lines) + b"."


def reference(module, name):
    return f"c{module}\n{name}\n".encode()


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_networks_become_state_dicts_with_the_published_names(tmp_path, monkeypatch, protocol):
    made = network(STATE, z_dim=16, synthesis_kwargs={"conv_clamp": 256})
    found = read_snapshot(write_snapshot(tmp_path / "a.pkl", monkeypatch, protocol, G_ema=made))
    assert found["G_ema"].keys() == STATE.keys()
    for name, value in STATE.items():
        assert torch.equal(found["G_ema"][name], value), name
        assert type(found["G_ema"][name]) is torch.Tensor
    assert found["G_ema_init_kwargs"] == {"z_dim": 16, "synthesis_kwargs": {"conv_clamp": 256}}
    assert found["G"] is None
    assert found["training_set_kwargs"] == {"path": "images.zip", "resolution": 32}


def test_the_reader_of_weights_takes_it_by_its_suffix(tmp_path, monkeypatch):
    path = write_snapshot(tmp_path / "a.pkl", monkeypatch, G_ema=network(STATE))
    assert read_weights(path).state_dict("G_ema").keys() == STATE.keys()


def test_the_source_inside_is_not_executed(tmp_path, monkeypatch):
    mark = tmp_path / "executed"
    made = network(STATE, source=f"open({str(mark)!r}, 'w').close()")
    path = write_snapshot(tmp_path / "a.pkl", monkeypatch, G_ema=made)
    assert str(mark).encode() in path.read_bytes()
    read_snapshot(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("function", "named"),
    [(os.system, "posix.system|nt.system"), (eval, "builtins.eval"), (exec, "builtins.exec")],
)
def test_a_call_is_refused_by_name_and_not_made(tmp_path, function, named):
    mark = tmp_path / "executed"
    argument = f"touch {mark}" if function is os.system else f"open({str(mark)!r}, 'w').close()"
    path = written(tmp_path, {"G_ema": Call(function, argument)})
    with pytest.raises(ValueError, match=rf"refused.*would run code \(({named})\).*safetensors"):
        read_snapshot(path)
    assert not mark.exists()
    pickle.loads(path.read_bytes())  # the same bytes do run in an ordinary unpickler
    assert mark.exists()


def test_a_call_inside_a_networks_state_is_refused(tmp_path, monkeypatch):
    mark = tmp_path / "executed"
    made = network(STATE, hook=Call(eval, f"open({str(mark)!r}, 'w')"))
    path = write_snapshot(tmp_path / "a.pkl", monkeypatch, G_ema=made)
    with pytest.raises(ValueError, match=r"builtins\.eval"):
        read_snapshot(path)
    assert not mark.exists()


def test_a_pickle_inside_the_pickle_is_not_executed(tmp_path):
    mark = tmp_path / "executed"
    inner = pickle.dumps(Call(eval, f"open({str(mark)!r}, 'w').close()"), 2)
    path = written(tmp_path, {"G": Call(torch.storage._load_from_bytes, inner)})
    with pytest.raises(ValueError, match="a storage that holds more than numbers"):
        read_snapshot(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("torch.storage", "_load_from_bytes.__globals__"),
        ("torch_utils.persistence", "import_hook"),
        ("collections", "defaultdict"),
        ("torch._utils", "_rebuild_tensor_v3"),
        ("dnnlib.tflib.network", "Network"),
        ("builtins", "getattr"),
    ],
)
def test_what_is_not_on_the_list_is_refused(tmp_path, module, name):
    path = written(tmp_path, raw(reference(module, name)))
    with pytest.raises(ValueError, match=rf"\({module}\.{name}\)"):
        read_snapshot(path)


def test_stand_ins_cannot_be_altered_from_within(tmp_path):
    # BUILD with a state sets attributes; on a shared function that would outlive the file.
    state = b"(Vx\nI1\nd"
    path = written(tmp_path, raw(reference("torch._utils", "_rebuild_parameter"), state, b"b"))
    with pytest.raises(ValueError, match="must not change functions"):
        read_snapshot(path)


@pytest.mark.parametrize("core", ["core", "_core"])
def test_numbers_of_either_numpy_are_read(tmp_path, core):
    content = pickle.dumps({"G": None, "gain": np.float64(1.5), "n": np.int32(-3)}, 3)
    assert b"cnumpy._core.multiarray" in content
    content = content.replace(b"cnumpy._core.", f"cnumpy.{core}.".encode())
    assert read_snapshot(written(tmp_path, content)) == {"G": None, "gain": 1.5, "n": -3}


def test_a_number_that_is_an_object_is_refused(tmp_path):
    dtype = reference("numpy", "dtype") + b"(VO8\ntR"
    scalar = reference("numpy.core.multiarray", "scalar") + b"(" + dtype + b"C\x01xtR"
    with pytest.raises(ValueError, match="a number of type O8"):
        read_snapshot(written(tmp_path, raw(scalar)))


def test_a_tensor_beyond_its_storage_is_refused(tmp_path):
    storage = torch.zeros(4)._typed_storage()
    huge = Call(torch._utils._rebuild_tensor_v2, storage, 2, (1000,), (1,), False, None)
    with pytest.raises(ValueError, match="not a readable snapshot"):
        read_snapshot(written(tmp_path, {"G": huge}))


def test_views_and_shared_storages_keep_their_values(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    content = collections.OrderedDict(a=base.T, b=base[1:, 2], c=base.half())
    found = read_snapshot(written(tmp_path, {"D": content}))["D"]
    for key, value in content.items():
        assert torch.equal(found[key], value)
        assert found[key].dtype == value.dtype


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged, a partial download"),
        (b"<!DOCTYPE html>", "damaged, a partial download"),
        (pickle.dumps([1, 2], 4), "holds a list instead of a dict with G_ema"),
        (pickle.dumps({"G": 1}, 4)[:-3], "damaged, a partial download"),
    ],
)
def test_what_is_no_snapshot_is_said_so(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_snapshot(written(tmp_path, content))


def test_a_pickle_of_an_unknown_persistent_id_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a readable snapshot"):
        read_snapshot(written(tmp_path, raw(b"Pelsewhere\n")))
