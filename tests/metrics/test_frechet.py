import hashlib
import threading
import time
import warnings

import numpy as np
import pytest
import scipy.linalg
import torch

from stitching.metrics import pretrained
from stitching.metrics.base import MetricUnavailable
from stitching.metrics.frechet import (
    FID,
    INCEPTION,
    FDEffNet,
    SmallSampleWarning,
    frechet_distance,
    frechet_from_moments,
)
from stitching.metrics.pretrained import PublishedFile, downloaded_file, given_file, read_state


def normal(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def correlated(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return normal(n, d, seed) @ normal(d, d, seed + 100) + normal(1, d, seed + 200)


def byte_images(n: int, seed: int, low: int = 0, high: int = 256) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, (n, 3, 32, 32), dtype=torch.uint8, generator=g)


def test_shifted_and_scaled_gaussians_are_at_distance_20():
    eye = torch.eye(16)
    distance = frechet_from_moments(torch.zeros(16), eye, torch.full((16,), 0.5), 4 * eye)
    assert distance == pytest.approx(20, rel=1e-10)


@pytest.mark.parametrize(("a", "b"), [(1.0, 3.0), (0.2, 0.2), (0.0, 2.0)])
def test_spherical_gaussians_follow_the_closed_form(a, b):
    d, eye = 7, torch.eye(7, dtype=torch.float64)
    mu = normal(1, d)[0]
    distance = frechet_from_moments(mu, a**2 * eye, torch.zeros(d), b**2 * eye)
    assert distance == pytest.approx(float(mu.square().sum()) + d * (a - b) ** 2, rel=1e-10)


def by_matrix_root(x: torch.Tensor, y: torch.Tensor) -> float:
    mu1, mu2 = x.numpy().mean(axis=0), y.numpy().mean(axis=0)
    s1, s2 = np.cov(x.numpy(), rowvar=False), np.cov(y.numpy(), rowvar=False)
    root = scipy.linalg.sqrtm(s1 @ s2).real
    return float(((mu1 - mu2) ** 2).sum() + np.trace(s1 + s2 - 2 * root))


@pytest.mark.parametrize(("n1", "n2"), [(100, 500), (500, 100), (20, 17)])
def test_unequal_counts_agree_with_numpys_covariance_and_scipys_matrix_root(n1, n2):
    x, y = correlated(n1, 12), correlated(n2, 12, seed=1)
    assert frechet_distance(x, y) == pytest.approx(by_matrix_root(x, y), rel=1e-8)


@pytest.mark.parametrize(("n1", "n2"), [(20, 30), (20, 200), (100, 200), (64, 65)])
def test_features_and_their_moments_give_the_same_distance(n1, n2):
    x, y = correlated(n1, 64), correlated(n2, 64, seed=1)
    from_moments = frechet_from_moments(x.mean(0), x.T.cov(), y.mean(0), y.T.cov())
    # With fewer samples than dimensions the moments' eigenvalue noise costs half the digits.
    assert frechet_distance(x, y) == pytest.approx(from_moments, rel=1e-6)


@pytest.mark.parametrize(("n1", "n2"), [(30, 20), (200, 150)])
def test_distance_agrees_with_torchmetrics_on_the_same_features(n1, n2):
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Same(torch.nn.Module):
        num_features = 64

        def forward(self, x):
            return x

    theirs = FrechetInceptionDistance(feature=Same(), normalize=True)
    x, y = correlated(n1, 64), correlated(n2, 64, seed=1)
    theirs.update(x, real=True)
    theirs.update(y, real=False)
    assert frechet_distance(x, y) == pytest.approx(float(theirs.compute()), rel=1e-4)


@pytest.mark.parametrize("n", [5, 300])
def test_self_distance_is_zero_and_not_negative(n):
    x = 10 * correlated(n, 40)
    assert 0 <= frechet_distance(x, x.clone()) < 1e-6


def test_distance_is_symmetric():
    x, y = correlated(30, 40), correlated(90, 40, seed=1)
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x), rel=1e-10)


def test_rotating_both_sides_changes_nothing():
    x, y = correlated(50, 20), correlated(60, 20, seed=1)
    q = torch.linalg.qr(normal(20, 20, seed=2)).Q
    assert frechet_distance(x @ q, y @ q) == pytest.approx(frechet_distance(x, y), rel=1e-9)


def test_float32_features_are_summed_in_float64():
    x, y = normal(200, 8) + 1000, normal(200, 8, seed=1) + 1000
    x, y = x.float(), y.float()
    assert frechet_distance(x, y) == pytest.approx(
        by_matrix_root(x.double(), y.double()), rel=1e-6
    )


@pytest.mark.parametrize(("n", "bias"), [(50, 45.4), (100, 22.6), (500, 4.31)])
def test_two_draws_of_one_gaussian_show_the_estimators_known_bias(n, bias):
    draws = [frechet_distance(normal(n, 64, 2 * i), normal(n, 64, 2 * i + 1)) for i in range(3)]
    assert np.mean(draws) == pytest.approx(bias, rel=0.1)


@pytest.mark.parametrize("counts", [(1, 5), (5, 1), (0, 5)])
def test_fewer_than_two_rows_are_refused_with_the_counts(counts):
    with pytest.raises(
        ValueError, match=rf"at least 2 rows .*\({counts[0]}, 3\).*\({counts[1]}, 3"
    ):
        frechet_distance(torch.zeros(counts[0], 3), torch.zeros(counts[1], 3))


def test_rows_that_are_not_finite_are_named():
    x = normal(5, 3)
    x[3, 0] = torch.nan
    with pytest.raises(ValueError, match=r"the features must be finite.*rows 3"):
        frechet_distance(normal(5, 3), x)


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        (torch.tensor([[1.0, 2.0], [2.0, 1.0]]), "semi-definite, got the eigenvalue -1"),
        (torch.tensor([[1.0, 0.5], [0.0, 1.0]]), "must be symmetric"),
        (torch.eye(3), r"shapes .*\(3, 3\)"),
    ],
)
def test_matrices_that_are_no_covariance_are_refused(covariance, message):
    with pytest.raises(ValueError, match=message):
        frechet_from_moments(torch.zeros(2), torch.eye(2), torch.zeros(2), covariance)


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory):
    """A randomly initialised Inception in the layout of the public weight file."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Random(FeatureExtractorInceptionV3):
        def load_state_dict(self, state_dict):
            """Keep the initial values."""

    folder = tmp_path_factory.mktemp("inception")
    torch.save({}, folder / "none.pth")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Random("inception-v3-compat", ["64"], str(folder / "none.pth"))
    torch.save(network.state_dict(), folder / "random.pth")
    return folder / "random.pth"


@pytest.fixture(scope="session")
def fid(inception_file):
    return FID(str(inception_file), 64)


@pytest.fixture
def network(monkeypatch, tmp_path):
    """An empty torch hub cache and a process that knows nothing of the network yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(pretrained, "_network", pretrained._Network())
    return monkeypatch


def test_fid_equals_torchmetrics_on_the_same_bytes(fid, inception_file):
    from torchmetrics.image.fid import FrechetInceptionDistance

    theirs = FrechetInceptionDistance(64, feature_extractor_weights_path=str(inception_file))
    x, y = byte_images(4, 0), byte_images(4, 1, high=128)
    theirs.update(x, real=True)
    theirs.update(y, real=False)
    with pytest.warns(SmallSampleWarning):
        ours = fid.compute(fid.features(x), fid.features(y))["image/fid"]
    assert ours == pytest.approx(float(theirs.compute()), rel=1e-4)


def test_fid_of_floats_equals_that_of_the_same_pixels_as_bytes(fid):
    x = byte_images(2, 0)
    torch.testing.assert_close(fid.features(x.float() / 255), fid.features(x), rtol=0, atol=0)


def test_fid_rounds_floats_half_up_where_a_cast_would_truncate(fid):
    almost = torch.full((1, 3, 32, 32), 99.6 / 255)
    rounded = torch.full((1, 3, 32, 32), 100, dtype=torch.uint8)
    assert torch.equal(fid.features(almost), fid.features(rounded))


@pytest.mark.parametrize("batch", [1, 7])
def test_fid_features_do_not_depend_on_the_batch_size(fid, batch):
    x = byte_images(7, 2)
    apart = torch.cat([fid.features(part) for part in x.split(batch)])
    torch.testing.assert_close(apart, fid.features(x), rtol=1e-5, atol=1e-6)


def test_fid_refuses_images_in_minus_one_to_one(fid):
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        fid.features(2 * torch.rand(2, 3, 32, 32) - 1)


def test_fid_reports_count_and_dimension_and_warns_of_a_small_sample(fid):
    x = normal(64, 64)
    with pytest.warns(SmallSampleWarning, match="64 images per side in 64 dimensions"):
        result = fid.compute(x, x)
    assert (result["image/fid_n"], result["image/fid_dim"]) == (64, 64)


def test_fid_of_a_large_sample_does_not_warn(fid):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = fid.compute(normal(65, 64), normal(65, 64))
    assert result["image/fid"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("n", [0, 1])
def test_fid_of_fewer_than_two_images_is_unavailable_with_the_reason(fid, n):
    with pytest.raises(MetricUnavailable, match=f"image/fid needs at least 2 .* got {n}"):
        fid.compute(torch.zeros(n, 64), torch.zeros(n, 64))


def test_fid_records_the_file_and_its_checksum(fid, inception_file):
    digest = hashlib.sha256(inception_file.read_bytes()).hexdigest()
    assert fid.provenance == {
        "image/fid_weights": "random.pth (given path)",
        "image/fid_weights_sha256": digest,
    }
    assert digest[:16] in fid.identity


def test_fid_construction_leaves_the_global_random_state_alone(inception_file):
    before = torch.random.get_rng_state()
    FID(inception_file, 192)
    assert torch.equal(before, torch.random.get_rng_state())


def test_fid_refuses_a_partial_weight_file(inception_file, tmp_path):
    state = read_state(given_file(inception_file))
    torch.save({k: v for k, v in state.items() if k.startswith("Mixed_7c")}, tmp_path / "part.pth")
    with pytest.raises(
        ValueError, match=r"part\.pth does not fit torchmetrics' Inception.*Missing"
    ):
        FID(tmp_path / "part.pth", 64)


def test_fid_refuses_a_file_that_holds_more_than_tensors(tmp_path):
    torch.save({"w": threading.Thread}, tmp_path / "code.pth")
    with pytest.raises(ValueError, match="no file of plain tensors"):
        FID(tmp_path / "code.pth", 64)


def test_fid_refuses_a_path_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weight file"):
        FID(tmp_path / "none.pth", 64)


def test_fid_refuses_a_layer_that_inception_does_not_offer(inception_file):
    with pytest.raises(ValueError, match="must be 64, 192, 768 or 2048, got 100"):
        FID(inception_file, 100)


def test_fid_without_network_is_unavailable_and_says_which_file_goes_where(network, tmp_path):
    def refuse(url, timeout):
        raise OSError("Name or service not known")

    network.setattr("urllib.request.urlopen", refuse)
    reason = FID(None, 64).unavailable
    assert INCEPTION.names[0] in reason
    assert str(tmp_path / "hub" / "checkpoints") in reason
    assert "Name or service not known" in reason


def test_unavailable_metric_says_why_on_use(network):
    network.setattr(pretrained, "NETWORK_BUDGET_S", 0.0)
    metric = FID(None, 64)
    for use in (
        lambda: metric.identity,
        lambda: metric.features(byte_images(1, 0)),
        lambda: metric.compute(normal(3, 4), normal(3, 4)),
    ):
        with pytest.raises(MetricUnavailable, match="put the file there"):
            use()


def test_name_lookup_that_hangs_is_given_up_and_not_tried_again(network):
    tried = []

    def hang(url, timeout):
        tried.append(url)
        threading.Event().wait(5)

    network.setattr("urllib.request.urlopen", hang)
    network.setattr(pretrained, "NETWORK_BUDGET_S", 0.2)
    start = time.monotonic()
    first, second = FID(None, 64).unavailable, FID(None, 2048).unavailable
    assert time.monotonic() - start < 2
    assert first == second
    assert len(tried) == 1


def test_attempts_at_several_addresses_share_one_time_budget(network):
    network.setattr("urllib.request.urlopen", lambda url, timeout: threading.Event().wait(5))
    network.setattr(pretrained, "NETWORK_BUDGET_S", 0.2)
    start = time.monotonic()
    for name in "abcdefghijkl":
        with pytest.raises(MetricUnavailable):
            downloaded_file(PublishedFile((name,), f"https://localhost/{name}", ""))
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("name", INCEPTION.names)
def test_both_public_names_are_found_in_the_cache(network, tmp_path, name, inception_file):
    network.setattr("stitching.metrics.frechet.INCEPTION", PublishedFile(INCEPTION.names, "", ""))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / name).symlink_to(inception_file)
    assert FID(None, 64).provenance["image/fid_weights"] == f"{name} (torch hub cache)"


@pytest.fixture(scope="session")
def effnet():
    return FDEffNet(64)


def test_effnet_recognises_photographs_as_its_training_classes():
    from sklearn.datasets import load_sample_images

    metric = FDEffNet(224)
    crops = [torch.from_numpy(i[:427, 106:533].copy()) for i in load_sample_images().images]
    features = metric.features(torch.stack(crops).permute(0, 3, 1, 2))
    classes = metric._network._fc(features).argmax(dim=1).tolist()
    assert classes == [698, 985]  # palace, daisy: weights, normalisation and pooling are right


def test_effnet_score_has_its_own_keys_with_count_and_dimension(effnet):
    x = effnet.features(byte_images(3, 0))
    with pytest.warns(SmallSampleWarning, match="3 images per side in 1280 dimensions"):
        result = effnet.compute(x, x)
    assert result == {
        "image/fd_effnet": pytest.approx(0, abs=1e-6),
        "image/fd_effnet_n": 3,
        "image/fd_effnet_dim": 1280,
    }


@pytest.mark.parametrize("batch", [1, 7])
def test_effnet_features_do_not_depend_on_the_batch_size(effnet, batch):
    x = byte_images(7, 0)
    apart = torch.cat([effnet.features(part) for part in x.split(batch)])
    torch.testing.assert_close(apart, effnet.features(x), rtol=1e-5, atol=1e-5)


def test_effnet_features_of_floats_equal_those_of_the_same_pixels_as_bytes(effnet):
    x = byte_images(2, 0)
    assert torch.equal(effnet.features(x.float() / 255), effnet.features(x))


def test_effnet_pads_as_tensorflow_does_at_sizes_that_are_no_multiple_of_32():
    from efficientnet_lite_pytorch import EfficientNet

    metric = FDEffNet(70)
    dynamic = EfficientNet.from_name("efficientnet-lite0", image_size=None)
    assert type(dynamic._conv_stem).__name__ == "Conv2dDynamicSamePadding"
    dynamic.load_state_dict(metric._network.state_dict())
    x = torch.randint(0, 256, (1, 3, 70, 70), dtype=torch.uint8)
    with torch.no_grad():
        expected = dynamic.eval().extract_features((x.float() - 127) / 128).mean(dim=(2, 3))
    torch.testing.assert_close(metric.features(x), expected, rtol=1e-4, atol=1e-5)


def test_effnet_size_is_part_of_the_cache_key(effnet):
    assert effnet.identity != FDEffNet(96).identity
    assert "579344248a93e230" in effnet.identity


def test_effnet_refuses_sizes_below_its_stride():
    with pytest.raises(ValueError, match="must be >= 32, got 16"):
        FDEffNet(16)


def test_effnet_without_its_package_is_unavailable(monkeypatch):
    find = pretrained.importlib.util.find_spec
    monkeypatch.setattr(
        pretrained.importlib.util,
        "find_spec",
        lambda name: None if name.startswith("efficientnet") else find(name),
    )
    assert "efficientnet-lite-pytorch is not installed" in FDEffNet(64).unavailable
