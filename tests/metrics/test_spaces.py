import pytest
import torch
from torch import nn

from stitching.metrics.frechet import FrechetDistance
from stitching.metrics.resampling import Resamples
from stitching.metrics.spaces import TorchModule, code_hash
from tests.metrics.sets import byte_images, noisy


class Small(nn.Module):
    """Two convolutions with a running mean between them, and a head."""

    def __init__(self, channels=4, scale=1.0):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.conv = nn.Conv2d(3, channels, 3)
        self.norm = nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, 2)
        for parameter in self.parameters():
            parameter.data = scale * torch.randn(parameter.shape, generator=g)
        self.drop = nn.Dropout()

    def forward(self, x):
        return self.head(self.drop(self.norm(self.conv(x)).mean(dim=(2, 3))))


def space(module=None, **options) -> TorchModule:
    defaults = {"name": "small", "size": 8, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.3, 0.4]}
    return TorchModule(module or Small(), **(defaults | options))


def test_features_are_what_the_module_returns_for_normalised_images():
    x = byte_images(3, 0, side=8)
    module = Small()
    mean, std = torch.tensor([0.5, 0.5, 0.5]), torch.tensor([0.2, 0.3, 0.4])
    pixels = (x / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    expected = module.eval()(pixels).detach()
    torch.testing.assert_close(space(module).features(x), expected, rtol=1e-5, atol=1e-6)


def test_images_are_resized_without_aliasing():
    x = byte_images(1, 0, side=64)
    checks = torch.zeros_like(x)
    checks[..., ::2, ::2] = checks[..., 1::2, 1::2] = 255
    flat = torch.full_like(x, 127)
    mine = space(nn.Flatten(), mean=[0.0] * 3, std=[1.0] * 3)
    torch.testing.assert_close(mine.features(checks)[0], mine.features(flat)[0], atol=0.05, rtol=0)


def test_feature_maps_are_averaged_over_positions():
    x = byte_images(2, 0, side=8)
    maps = nn.Identity()
    mine = space(maps, mean=[0.0] * 3, std=[1.0] * 3)
    expected = (x / 255).mean(dim=(2, 3))
    torch.testing.assert_close(mine.features(x), expected)


def test_a_layer_inside_the_module_can_be_taken():
    x = byte_images(2, 0, side=8)
    module = Small()
    layer = space(module, layer="norm").features(x)
    assert layer.shape == (2, 4)
    torch.testing.assert_close(module.head(layer), space(module).features(x))


@pytest.mark.parametrize("batch", [1, 7])
def test_features_do_not_depend_on_the_batch_size(batch):
    x = byte_images(9, 0, side=8)
    mine = space()
    apart = torch.cat([mine.features(part) for part in x.split(batch)])
    torch.testing.assert_close(apart, mine.features(x), rtol=1e-5, atol=1e-6)


def test_a_metric_in_a_space_of_ones_own_has_its_own_keys():
    metric = FrechetDistance(space(), "fd_small")
    x = byte_images(20, 0, side=8)
    sides = metric.space.features(x), metric.space.features(noisy(x, 0.2))
    result = metric.compute(*sides, Resamples(20))
    assert result["image/fd_small"].value > 0
    assert result["image/fd_small_dim"] == 2


def test_weights_come_from_a_file(tmp_path):
    torch.save(Small(scale=2.0).state_dict(), tmp_path / "w.pth")
    mine = space(weights=tmp_path / "w.pth")
    x = byte_images(2, 0, side=8)
    assert torch.equal(mine.features(x), space(Small(scale=2.0)).features(x))
    assert mine.provenance["image/small_weights"] == "w.pth (given path)"


def test_a_file_without_the_counter_of_batches_will_do(tmp_path):
    state = Small().state_dict()
    del state["norm.num_batches_tracked"]
    torch.save(state, tmp_path / "w.pth")
    assert space(weights=tmp_path / "w.pth").unavailable is None


def test_a_file_of_another_module_is_refused(tmp_path):
    torch.save(Small(channels=5).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth does not fit Small: .*shape \['conv\.bias \("):
        space(weights=tmp_path / "w.pth")


@pytest.mark.parametrize(
    "options",
    [
        {"size": 9}, {"mean": [0.4, 0.5, 0.5]}, {"std": [0.2, 0.3, 0.5]}, {"layer": "conv"},
        {"module": Small(scale=1.1)}, {"name": "other"},
    ],
)  # fmt: skip
def test_all_that_changes_features_is_part_of_the_cache_key(options):
    assert space(**options).identity != space().identity


def test_the_same_settings_have_the_same_cache_key():
    assert space().identity == space().identity


def test_the_module_and_the_hash_of_its_values_are_recorded():
    facts = space(layer="norm").provenance
    assert facts["image/small_module"] == "Small, layer norm"
    assert len(facts["image/small_module_sha256"]) == 64
    assert facts["image/small_module_sha256"] in space(layer="norm").identity


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "my space"}, "letters, digits and underscores, got 'my space'"),
        ({"size": 0}, "small.size must be >= 1, got 0"),
        ({"mean": [0.5]}, "one number for each of 3 channels"),
        ({"std": [0.5, 0.0, 0.5]}, "std > 0, got"),
        ({"layer": "body"}, "layer='body' is no submodule of Small: use one of conv, norm, head"),
        ({"module": nn.Linear(5, 2)}, r"Linear does not take images \(n, 3, 8, 8\)"),
        ({"module": nn.Flatten(2)}, r"got \(32, 3, 64\): name a `layer`"),
    ],
)
def test_wrong_options_are_refused_when_built(options, message):
    with pytest.raises(ValueError, match=message):
        space(**options)


def test_a_module_that_returns_no_tensor_is_refused():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    with pytest.raises(ValueError, match=r"got tuple: name a `layer`"):
        space(Pair())


def test_code_hash_changes_with_a_class_from_another_file():
    assert code_hash(Small) == code_hash(Small)
    assert code_hash(Small) != code_hash(TorchModule)


def test_a_class_without_a_file_does_not_end_the_hash():
    typed_in = type("TypedIn", (), {"__module__": "builtins_of_a_prompt"})
    assert len(code_hash(typed_in)) == 64
