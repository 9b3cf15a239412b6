"""Splits of several sizes: a smaller `train` is the beginning of a larger one, `test` stays."""

import pytest
import torch
from PIL import Image

from stitching.data.celeba import CelebA
from stitching.data.drawn import Drawn
from stitching.data.faces import Faces
from stitching.data.folder import Folder
from stitching.pipeline import encoding
from stitching.pipeline.cache import Cache
from stitching.pipeline.encoding import FrozenModel, encode_split
from tests.gans import small_gan, small_gan_options
from tests.small import Pixels, small_vae, small_vae_options

SMALL, LARGE = 4, 9
SIZE = 32


@pytest.fixture(scope="module")
def celeba_root(tmp_path_factory):
    """Twelve images before the border of the paper's split and six behind it."""
    root = tmp_path_factory.mktemp("celeba")
    (root / "img_align_celeba").mkdir()
    rows, parts = [], []
    for number in [*range(1, 13), *range(9001, 9007)]:
        name = f"{number:06d}.jpg"
        image = Image.new("RGB", (89, 109), (number % 256, 50, 90))
        image.save(root / "img_align_celeba" / name)
        rows.append(f"{name} {1 if number % 2 else -1}")
        parts.append(f"{name} {0 if number % 3 else 2}")
    (root / "list_attr_celeba.txt").write_text("\n".join([str(len(rows)), "Odd", *rows]))
    (root / "list_eval_partition.txt").write_text("\n".join(parts))
    return root


@pytest.fixture(scope="module")
def images_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    for number in range(24):
        Image.new("RGB", (40, 36), (number, 100, 200)).save(root / f"{number:02d}.png")
    return root


@pytest.fixture(params=["faces", "paper", "partition", "folder", "drawn"])
def data(request, celeba_root, images_root):
    """A function from n_train to a data set made anew."""

    def make(n_train):
        if request.param == "faces":
            return Faces("faces", n_train, 3, SIZE, 0, 20)
        if request.param == "folder":
            return Folder(images_root, n_train, 3, SIZE, None, 0.3)
        if request.param == "drawn":
            return Drawn("drawn", n_train, 3, SIZE, 0, 20, small_gan())
        return CelebA(celeba_root, n_train, 3, SIZE, "square", request.param)

    return make


# Small images are enlarged, which is not what is looked at here.
pytestmark = pytest.mark.filterwarnings("ignore:.*crops are smaller")


def test_a_smaller_train_split_is_the_beginning_of_a_larger_one(data):
    small, large = data(SMALL).split("train"), data(LARGE).split("train")
    assert small.ids == large.ids[:SMALL]
    assert torch.equal(small.images(slice(None)), large.images(slice(0, SMALL)))
    for name, values in small.attributes.items():
        assert values.tolist() == large.attributes[name][:SMALL].tolist()


@pytest.mark.parametrize("split", ["test", "pretrain"])
def test_other_splits_do_not_depend_on_the_size_of_train(data, split):
    assert data(SMALL).split(split).fingerprint == data(LARGE).split(split).fingerprint


def test_a_part_of_a_split_has_the_fingerprint_of_a_set_of_its_own(data):
    small, large = data(SMALL).split("train"), data(LARGE).split("train")
    assert large.fingerprint_of(slice(0, SMALL)) == small.fingerprint
    assert large.fingerprint_of(slice(1, SMALL + 1)) != small.fingerprint


def encoded(model, options, data, n_train, tmp_path):
    frozen = FrozenModel(model, options, "float32")
    return encode_split(frozen, data(n_train).split("train"), Cache(tmp_path), 4)


def test_a_smaller_train_split_needs_no_encoding_after_a_larger_one(data, tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "BLOCK_IMAGES", 2)
    pixels = Pixels().freeze(), {"name": "pixels"}
    large, n = encoded(*pixels, data, LARGE, tmp_path)
    small, again = encoded(*pixels, data, SMALL, tmp_path)
    assert (n, again) == (LARGE, 0)
    assert torch.equal(small, large[:SMALL])


def test_a_larger_train_split_encodes_only_what_is_new(data, tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "BLOCK_IMAGES", 2)
    vae = small_vae(), small_vae_options()
    small, n = encoded(*vae, data, SMALL, tmp_path)
    large, more = encoded(*vae, data, LARGE, tmp_path)
    assert (n, more) == (SMALL, LARGE - SMALL)
    assert torch.equal(large[:SMALL], small)


def test_known_latents_are_shared_between_sizes_and_count_as_not_encoded(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "BLOCK_IMAGES", 2)
    gan = small_gan(space="w"), small_gan_options(space="w")

    def data(n_train):
        return Drawn("drawn", n_train, 3, SIZE, 0, 1, small_gan())

    small, n = encoded(*gan, data, SMALL, tmp_path)
    large, more = encoded(*gan, data, LARGE, tmp_path)
    assert (n, more) == (0, 0)
    assert torch.equal(large, small_gan(space="w").known_latents(0, range(LARGE)))
    assert torch.equal(large[:SMALL], small)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 5
