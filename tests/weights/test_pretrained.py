import hashlib
import io
import os
import pickle
import threading
import time

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stitching.weights import pretrained
from stitching.weights.pretrained import (
    PublishedFile,
    WeightsUnavailable,
    downloaded_file,
    given_file,
    load_frozen,
    read_arrays,
    read_state,
)


@pytest.fixture
def network(monkeypatch, tmp_path):
    """An empty torch hub cache and a process that knows nothing of the network yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(pretrained, "_network", pretrained.Network())
    return monkeypatch


def test_download_is_stored_in_the_cache_once_its_checksum_is_right(network, tmp_path):
    source = tmp_path / "served"
    source.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    found = downloaded_file(PublishedFile(("w.pth",), source.as_uri(), digest[:8]))
    assert found.path.read_bytes() == b"weights"
    assert found.sha256 == digest
    assert [p.name for p in found.path.parent.iterdir()] == ["w.pth"]


def test_download_with_a_wrong_checksum_leaves_nothing_behind(network, tmp_path):
    network.setattr("urllib.request.urlopen", lambda url, timeout: io.BytesIO(b"<html>"))
    with pytest.raises(WeightsUnavailable, match="instead of 7be5be79"):
        downloaded_file(PublishedFile(("w-7be5be79.pth",), "https://localhost/w", "7be5be79"))
    assert list((tmp_path / "home/hub/checkpoints").iterdir()) == []


def test_name_lookup_that_hangs_is_given_up_and_not_tried_again(network):
    tried = []

    def hang(url, timeout):
        tried.append(url)
        threading.Event().wait(5)

    network.setattr("urllib.request.urlopen", hang)
    network.setattr(pretrained, "NETWORK_BUDGET_S", 0.2)
    start = time.monotonic()
    reasons = []
    for _ in range(2):
        with pytest.raises(WeightsUnavailable) as caught:
            downloaded_file(PublishedFile(("w.pth",), "https://localhost/w", ""))
        reasons.append(str(caught.value))
    assert time.monotonic() - start < 2
    assert reasons[0] == reasons[1]
    assert len(tried) == 1


def test_attempts_at_several_addresses_share_one_time_budget(network):
    network.setattr("urllib.request.urlopen", lambda url, timeout: threading.Event().wait(5))
    network.setattr(pretrained, "NETWORK_BUDGET_S", 0.2)
    start = time.monotonic()
    for name in "abcdefghijkl":
        with pytest.raises(WeightsUnavailable):
            downloaded_file(PublishedFile((name,), f"https://localhost/{name}", ""))
    assert time.monotonic() - start < 1


def test_safetensors_and_torchs_format_read_the_same(tmp_path):
    state = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.ones(2)}
    torch.save(state, tmp_path / "a.pth")
    save_file(state, tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        read = read_state(given_file(tmp_path / name))
        assert read.keys() == state.keys()
        assert all(torch.equal(read[key], state[key]) for key in state)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_damaged_files_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"quota exceeded")
    with pytest.raises(ValueError, match=f"{name} is not a readable"):
        read_state(given_file(tmp_path / name))


def test_a_module_gets_every_tensor_and_is_frozen(tmp_path):
    torch.save({"weight": torch.ones(2, 3), "bias": torch.ones(2)}, tmp_path / "a.pth")
    file = given_file(tmp_path / "a.pth")
    with torch.device("meta"):
        module = torch.nn.Linear(3, 2)
    loaded = load_frozen(module, read_state(file), file)
    assert loaded(torch.ones(1, 3)).tolist() == [[4, 4]]
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


def test_pickle_that_names_a_function_is_refused_and_not_run(tmp_path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    (tmp_path / "bad.ckpt").write_bytes(pickle.dumps({"AlexNet_0": Harmful()}))
    with pytest.raises(ValueError, match=r"refers to \w+\.mkdir"):
        read_arrays(given_file(tmp_path / "bad.ckpt"))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<f4", ">f8", "<f2"])
def test_array_reader_returns_what_numpy_pickled(tmp_path, kind, order):
    array = np.asarray(np.arange(24).reshape(2, 3, 4) / 8, dtype=kind, order=order)
    (tmp_path / "a.ckpt").write_bytes(pickle.dumps({"x": {"y": array}}, protocol=4))
    read = read_arrays(given_file(tmp_path / "a.ckpt"))
    np.testing.assert_array_equal(read["x/y"], array)


@pytest.mark.parametrize("array", [np.array([{}]), np.array([1]), np.array(["a"])])
def test_arrays_of_other_types_are_refused(tmp_path, array):
    (tmp_path / "a.ckpt").write_bytes(pickle.dumps({"x": array}))
    with pytest.raises(ValueError, match="is not a floating point type"):
        read_arrays(given_file(tmp_path / "a.ckpt"))
