import hashlib
import threading

import pytest
import torch

from stitching.metrics import inception as module
from stitching.metrics.base import MetricUnavailable
from stitching.metrics.frechet import FrechetDistance, SmallSampleWarning
from stitching.metrics.inception import INCEPTION, Inception
from stitching.metrics.kernel import KernelDistance, kernel_distance
from stitching.weights import pretrained
from stitching.weights.pretrained import PublishedFile, given_file, read_state
from tests.metrics.sets import byte_images, no_resamples, normal


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
def space(inception_file):
    return Inception(64, str(inception_file))


@pytest.fixture
def network(monkeypatch, tmp_path):
    """An empty torch hub cache and a process that has not tried the network yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(pretrained, "_network", pretrained.Network())
    return monkeypatch


def test_fid_equals_torchmetrics_on_the_same_bytes(space, inception_file):
    from torchmetrics.image.fid import FrechetInceptionDistance

    theirs = FrechetInceptionDistance(64, feature_extractor_weights_path=str(inception_file))
    x, y = byte_images(4, 0), byte_images(4, 1, high=128)
    theirs.update(x, real=True)
    theirs.update(y, real=False)
    sides = space.features(x), space.features(y)
    with pytest.warns(SmallSampleWarning):
        ours = FrechetDistance(space, "fid").compute(*sides, no_resamples(4))["image/fid"]
    assert ours.value == pytest.approx(float(theirs.compute()), rel=1e-4)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save:UserWarning")
def test_kid_equals_torchmetrics_on_the_same_bytes(space):
    from torchmetrics.image.kid import KernelInceptionDistance

    theirs = KernelInceptionDistance(space._network, subsets=1, subset_size=4)
    x, y = byte_images(4, 0), byte_images(4, 1, high=128)
    theirs.update(x, real=True)
    theirs.update(y, real=False)
    sides = space.features(x), space.features(y)
    expected = pytest.approx(float(theirs.compute()[0]), rel=1e-3)
    assert kernel_distance(*sides) == expected
    result = KernelDistance(space, "kid").compute(*sides, no_resamples(4))
    assert result["image/kid"].value - result["image/kid_pairing"] == expected


def test_floats_have_the_features_of_the_same_pixels_as_bytes(space):
    x = byte_images(2, 0)
    assert torch.equal(space.features(x.float() / 255), space.features(x))


@pytest.mark.parametrize("batch", [1, 7])
def test_features_do_not_depend_on_the_batch_size(space, batch):
    x = byte_images(7, 2)
    apart = torch.cat([space.features(part) for part in x.split(batch)])
    torch.testing.assert_close(apart, space.features(x), rtol=1e-5, atol=1e-6)


def test_images_in_minus_one_to_one_are_refused(space):
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        space.features(2 * torch.rand(2, 3, 32, 32) - 1)


def test_the_file_and_its_checksum_are_recorded(space, inception_file):
    digest = hashlib.sha256(inception_file.read_bytes()).hexdigest()
    assert space.provenance == {
        "image/inception_weights": "random.pth (given path)",
        "image/inception_weights_sha256": digest,
    }
    assert digest[:16] in space.identity


def test_the_layer_is_part_of_the_cache_key(space, inception_file):
    assert Inception(192, inception_file).identity != space.identity


def test_two_metrics_of_one_layer_share_the_network(space, inception_file):
    fid = FrechetDistance(Inception(64, str(inception_file)), "fid")
    kid = KernelDistance(Inception(64, str(inception_file)), "kid")
    assert fid.space._network is kid.space._network
    assert fid.space.identity == kid.space.identity


def test_construction_leaves_the_global_random_state_alone(inception_file):
    module._network.cache_clear()
    before = torch.random.get_rng_state()
    Inception(192, inception_file)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_partial_weight_file_is_refused(inception_file, tmp_path):
    state = read_state(given_file(inception_file))
    torch.save({k: v for k, v in state.items() if k.startswith("Mixed_7c")}, tmp_path / "part.pth")
    with pytest.raises(
        ValueError, match=r"part\.pth does not fit torchmetrics' Inception.*Missing"
    ):
        Inception(64, tmp_path / "part.pth")


def test_a_file_that_holds_more_than_tensors_is_refused(tmp_path):
    torch.save({"w": threading.Thread}, tmp_path / "code.pth")
    with pytest.raises(ValueError, match="would run code"):
        Inception(64, tmp_path / "code.pth")


def test_a_path_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weight file"):
        Inception(64, tmp_path / "none.pth")


def test_a_layer_that_inception_does_not_offer_is_refused(inception_file):
    with pytest.raises(ValueError, match="must be 64, 192, 768 or 2048, got 100"):
        Inception(100, inception_file)


def test_without_network_it_is_unavailable_and_names_file_and_folder(network, tmp_path):
    def refuse(url, timeout):
        raise OSError("Name or service not known")

    network.setattr("urllib.request.urlopen", refuse)
    reason = Inception(64, None).unavailable
    assert INCEPTION.names[0] in reason
    assert str(tmp_path / "hub" / "checkpoints") in reason
    assert "Name or service not known" in reason


def test_metrics_of_an_unavailable_network_say_why_on_use(network):
    network.setattr(pretrained, "NETWORK_BUDGET_S", 0.0)
    for metric in (
        FrechetDistance(Inception(64, None), "fid"),
        KernelDistance(Inception(64, None), "kid"),
    ):
        for use in (
            lambda metric=metric: metric.space.identity,
            lambda metric=metric: metric.space.features(byte_images(1, 0)),
            lambda metric=metric: metric.compute(normal(3, 4), normal(3, 4), no_resamples(3)),
        ):
            with pytest.raises(MetricUnavailable, match="put the file there"):
                use()


@pytest.mark.parametrize("name", INCEPTION.names)
def test_both_public_names_are_found_in_the_cache(network, tmp_path, name, inception_file):
    network.setattr(module, "INCEPTION", PublishedFile(INCEPTION.names, "", ""))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / name).symlink_to(inception_file)
    found = Inception(64, None).provenance["image/inception_weights"]
    assert found == f"{name} (torch hub cache)"


def test_network_and_resizing_are_recorded_beside_each_metric(inception_file, caplog):
    fid = FrechetDistance(Inception(64, inception_file), "fid")
    kid = KernelDistance(Inception(192, inception_file), "kid")
    facts = fid.facts(64) | kid.facts(64)
    network = "Inception-v3 (TensorFlow, 2015), layer of"
    assert facts["image/fid_network"] == f"{network} 64 features"
    assert facts["image/kid_network"] == f"{network} 192 features"
    assert facts["image/fid_resize"] == "bilinear, antialiased, half-pixel centres, to 299 x 299"
    assert "smaller than the 75" in facts["image/fid_note"]
    assert "image/fid_note" not in fid.facts(75)
    assert not caplog.messages  # recorded alone: a network that resizes sees no small image


def test_the_recorded_resizing_is_the_one_of_the_network(space):
    seen = []
    handle = space.network.Conv2d_1a_3x3.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0])
    )
    x = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    space.features(x)
    handle.remove()
    expected = torch.nn.functional.interpolate(
        x.float(), (299, 299), mode="bilinear", align_corners=False, antialias=True
    )
    torch.testing.assert_close(seen[0][:1], (expected - 128) / 128)
