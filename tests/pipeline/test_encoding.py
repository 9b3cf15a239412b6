import itertools
import threading
from dataclasses import replace

import pytest
import torch

from stitching.compute.batching import images_per_call
from stitching.compute.source import code_version
from stitching.data.base import ImageSet
from stitching.data.faces import Faces
from stitching.pipeline import encoding
from stitching.pipeline.cache import Cache
from stitching.pipeline.encoding import (
    BLOCK_IMAGES,
    FrozenModel,
    encode_split,
    latent_rows,
    reconstruct_split,
)
from tests.small import Pixels, small_vae, small_vae_options


@pytest.fixture
def images():
    return Faces("faces", 6, 4, 32, 0, 1).split("train")


def frozen(model=None, **options):
    return FrozenModel(model or small_vae(), small_vae_options(**options), "float32")


class Shifted(Pixels):
    """A model whose options determine its images, as those from YAML do."""


def shifted(shift):
    return FrozenModel(Shifted(shift=shift).freeze(), {"name": "s", "shift": shift}, "float32")


def test_a_split_is_encoded_once(images, tmp_path):
    first, n = encode_split(frozen(), images, Cache(tmp_path), 4)
    second, again = encode_split(frozen(), images, Cache(tmp_path), 3)
    assert (n, again) == (6, 0)
    assert torch.equal(first, second)
    assert first.shape == (6, 16)


def test_other_weights_options_images_or_precision_are_encoded_again(images, tmp_path):
    cache = Cache(tmp_path)
    encode_split(frozen(), images, cache, 4)
    weights = small_vae()
    weights.weights_hash = "other"
    for other in (
        frozen(weights),
        frozen(latent_dim=17),
        FrozenModel(small_vae(), small_vae_options(), "bfloat16"),
    ):
        assert encode_split(other, images, cache, 4)[1] == 6
    assert encode_split(frozen(), Faces("faces", 6, 4, 32, 1, 1).split("train"), cache, 4)[1] == 6


def test_the_name_of_a_model_does_not_enter(images, tmp_path):
    cache = Cache(tmp_path)
    encode_split(frozen(), images, cache, 4)
    assert encode_split(frozen(name="alias"), images, cache, 4)[1] == 0


def test_options_of_decoding_share_latents_but_not_pictures(images, tmp_path):
    cache = Cache(tmp_path)
    z, _ = encode_split(shifted(0.0), images, cache, 4)
    assert encode_split(shifted(0.2), images, cache, 4)[1] == 0
    plain = reconstruct_split(shifted(0.0), images, z, cache, 4)
    moved = reconstruct_split(shifted(0.2), images, z, cache, 4)
    torch.testing.assert_close(moved, plain + 0.2)


def test_drawn_latents_scatter_about_the_means_by_the_deviation_of_the_posterior(images, tmp_path):
    cache, model = Cache(tmp_path), small_vae()
    with torch.no_grad():
        model.encoder[-1].bias[model.latent_dim :].fill_(-2.0)  # far from no noise at all
    model.weights_hash = "changed"
    means, _ = encode_split(FrozenModel(model, {"name": "vae"}, "float32"), images, cache, 4)
    draws = torch.stack(
        [
            encode_split(FrozenModel(model, {"name": "vae"}, "float32", seed), images, cache, 4)[0]
            for seed in range(40)
        ]
    )
    x = images.images(slice(None))
    deviation = model.posterior(x)[1].div(2).exp()
    standard = (draws - means) / deviation
    assert abs(float(standard.mean())) < 0.1
    assert float(standard.std()) == pytest.approx(1, abs=0.1)


def test_a_drawn_latent_depends_on_seed_and_image_alone(tmp_path):
    frozen_ = FrozenModel(small_vae(), {"name": "vae"}, "float32", drawn_with=3)
    whole, _ = encode_split(
        frozen_, Faces("faces", 6, 4, 32, 0, 1).split("train"), Cache(tmp_path / "a"), 4
    )
    part, _ = encode_split(
        frozen_, Faces("faces", 3, 4, 32, 0, 1).split("train"), Cache(tmp_path / "b"), 2
    )
    assert torch.equal(whole[:3], part)


def test_a_model_without_a_posterior_has_no_draws(images, tmp_path):
    plain, seeded = (FrozenModel(Pixels().freeze(), {}, "float32", seed) for seed in (None, 1))
    assert seeded.identity() == plain.identity()
    with pytest.raises(ValueError, match="no distribution to draw from"):
        plain.model.encode(images.images([0]), torch.zeros(1, *plain.model.latent_shape))


def test_a_model_that_claims_a_posterior_must_define_it(images):
    class Claims(Pixels):
        has_posterior = True

    model = Claims().freeze()
    with pytest.raises(TypeError, match="defines no _posterior"):
        model.encode(images.images([0]), torch.zeros(1, *model.latent_shape))


def test_the_code_of_a_users_class_is_part_of_the_key():
    assert code_version(Shifted) != code_version(type(small_vae()))


def test_latents_that_are_not_finite_name_the_images(images, tmp_path):
    class Broken(Pixels):
        def _encode(self, x):
            z = x.clone()
            z[x.mean((1, 2, 3)) == means[2]] = float("nan")
            return z

    means = images.images(slice(None)).mean((1, 2, 3))
    broken = FrozenModel(Broken().freeze(), {"name": "broken"}, "float32")
    with pytest.raises(ValueError, match=f"1 of 6 images \\(ids {images.ids[2]}\\)"):
        encode_split(broken, images, Cache(tmp_path), 6)


class Counting(Pixels):
    """Counts the images it encodes, and stops where it would exceed a limit."""

    def __init__(self, limit=None):
        super().__init__("counting", 4)
        self.sizes = []
        self.limit = limit
        self.before = lambda: None

    def encode(self, x):
        self.before()
        if self.limit is not None and sum(self.sizes) + len(x) > self.limit:
            raise RuntimeError("stopped")
        self.sizes.append(len(x))
        return super().encode(x)


def counting(limit=None):
    return FrozenModel(Counting(limit).freeze(), {"name": "counting"}, "float32")


def dots(n, **changes):
    """Images whose every pixel is their own level, loaded at most one pass at a time."""

    def load(ids):
        assert len(ids) <= images_per_call(4, torch.device("cpu"))
        return (
            torch.tensor([int(item) / 1024 for item in ids]).view(-1, 1, 1, 1).repeat(1, 3, 4, 4)
        )

    whole = ImageSet(
        name="dots",
        split="train",
        ids=tuple(f"{i:04d}" for i in range(1000)),
        image_size=4,
        recipe="level",
        load=load,
        stamps=tuple("first" for _ in range(1000)),
    )
    return replace(whole.subset(n), **changes)


def levels(z):
    return (z[:, 0] * 1024).int().tolist()


def block_files(root):
    return sorted(root.rglob("latents/*.safetensors"))


def test_a_smaller_split_finds_the_latents_of_a_larger_one(tmp_path):
    large, n = encode_split(counting(), dots(1000), Cache(tmp_path), 4)
    small, again = encode_split(counting(), dots(300), Cache(tmp_path), 4)
    assert (n, again) == (1000, 0)
    assert torch.equal(small, large[:300])


def test_a_larger_split_encodes_what_a_smaller_one_lacks(tmp_path):
    small, n = encode_split(counting(), dots(300), Cache(tmp_path), 4)
    large, more = encode_split(counting(), dots(1000), Cache(tmp_path), 4)
    assert (n, more) == (300, 700)
    assert torch.equal(large[:300], small)
    assert levels(large) == list(range(1000))


def test_a_last_block_that_is_not_full_is_encoded_again_in_a_larger_split(tmp_path):
    encode_split(counting(), dots(130), Cache(tmp_path), 4)
    z, more = encode_split(counting(), dots(150), Cache(tmp_path), 4)
    assert more == 50
    assert levels(z) == list(range(150))


def test_blocks_are_encoded_in_passes_across_their_borders(tmp_path):
    frozen = counting()
    encode_split(frozen, dots(250), Cache(tmp_path), 4)
    size = images_per_call(4, torch.device("cpu"))
    assert frozen.model.sizes == [size] * (250 // size) + [250 % size]
    assert len(block_files(tmp_path)) == 3


def test_a_stopped_encoding_goes_on_behind_the_last_full_block(tmp_path):
    with pytest.raises(RuntimeError, match="stopped"):
        encode_split(counting(limit=256), dots(400), Cache(tmp_path), 4)
    assert len(block_files(tmp_path)) == 2
    z, rest = encode_split(counting(), dots(400), Cache(tmp_path), 4)
    assert rest == 200
    assert levels(z) == list(range(400))


@pytest.mark.parametrize("lost", [(0,), (1, 3), (2, 3, 5), (0, 1, 4)])
def test_encoding_in_blocks_equals_encoding_in_one_go(tmp_path, monkeypatch, lost):
    monkeypatch.setattr(encoding, "BLOCK_IMAGES", 5)
    images = Faces("faces", 28, 4, 32, 0, 1).split("train")
    whole = small_vae().encode(images.images(slice(None)))
    encode_split(frozen(), images, Cache(tmp_path), 4)
    parts = {"model": frozen().identity()}
    for i in lost:
        fingerprint = images.fingerprint_of(slice(5 * i, min(5 * i + 5, 28)))
        Cache(tmp_path).entry("latents", {"images": fingerprint, **parts}).path.unlink()
    z, n = encode_split(frozen(), images, Cache(tmp_path), 4)
    assert n == sum(3 if i == 5 else 5 for i in lost)
    assert torch.equal(z, whole)


def test_another_recipe_shares_no_block(tmp_path):
    encode_split(counting(), dots(200), Cache(tmp_path), 4)
    assert encode_split(counting(), dots(200, recipe="other"), Cache(tmp_path), 4)[1] == 200


def test_one_changed_image_is_encoded_again_with_its_block_alone(tmp_path):
    encode_split(counting(), dots(300), Cache(tmp_path), 4)
    stamps = ["first"] * 300
    stamps[120] = "second"
    changed = dots(300, stamps=tuple(stamps))
    assert encode_split(counting(), changed, Cache(tmp_path), 4)[1] == BLOCK_IMAGES


def test_a_block_that_was_cut_off_is_encoded_again(tmp_path):
    encode_split(counting(), dots(300), Cache(tmp_path), 4)
    path = block_files(tmp_path)[1]
    path.write_bytes(path.read_bytes()[:-1])
    z, n = encode_split(counting(), dots(300), Cache(tmp_path), 4)
    assert n == BLOCK_IMAGES
    assert levels(z) == list(range(300))


def test_two_at_once_encode_each_block_once(tmp_path):
    together = threading.Barrier(2, timeout=10)
    found = {}

    def run(name):
        frozen = counting()
        first = itertools.chain([together.wait], itertools.repeat(lambda: None))
        frozen.model.before = lambda: next(first)()
        found[name] = encode_split(frozen, dots(900), Cache(tmp_path), 4)

    threads = [threading.Thread(target=run, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (a, n), (b, m) = found["a"], found["b"]
    assert n + m == 900
    assert min(n, m) > 0
    assert levels(a) == levels(b) == list(range(900))


def test_memory_keeps_a_split_once(tmp_path):
    cache = Cache(tmp_path)
    first, _ = encode_split(counting(), dots(300), cache, 4)
    second, _ = encode_split(counting(), dots(300), cache, 4)
    assert second is first
    assert cache._size() == first.nbytes


def test_rows_are_the_latents_and_leave_nothing_in_memory(tmp_path):
    cache = Cache(tmp_path)
    rows, n = latent_rows(counting(), dots(250), cache, 4)
    assert (n, cache._size()) == (250, 0)
    assert rows.shape == (250, 48)
    assert levels(rows[90:210]) == list(range(90, 210))
    z, again = encode_split(counting(), dots(250), cache, 4)
    assert again == 0
    assert torch.equal(rows[:], z)


def test_passes_on_other_devices_are_all_of_one_size(tmp_path):
    class Elsewhere(Counting):
        device = torch.device("cuda")  # only said to be there

        def encode(self, x):
            self.sizes.append(len(x))
            return x.flatten(1)

    frozen = FrozenModel(Elsewhere().freeze(), {"name": "elsewhere"}, "float32")
    z, n = encode_split(frozen, dots(130), Cache(tmp_path), 32)
    assert frozen.model.sizes == [32] * 5
    assert n == 130
    assert levels(z) == list(range(130))


def test_latents_that_are_not_finite_are_not_stored(tmp_path):
    class Late(Counting):
        def encode(self, x):
            z = super().encode(x)
            return torch.where(z[:, :1] < 150 / 1024, z, torch.inf)

    late = FrozenModel(Late().freeze(), {"name": "late"}, "float32")
    with pytest.raises(ValueError, match=r"for 50 of 100 images \(ids 0150, .* and 40 more"):
        encode_split(late, dots(300), Cache(tmp_path), 4)
    assert len(block_files(tmp_path)) == 1
