import pytest
import torch

from stitching.cache import Cache
from stitching.data.faces import Faces
from stitching.latents import Subject, code_version, encode_split, reconstruct_split
from tests.small import Pixels, small_vae, small_vae_options


@pytest.fixture
def images():
    return Faces("faces", 6, 4, 32, 0, 1).split("train")


def subject(model=None, **options):
    return Subject(model or small_vae(), small_vae_options(**options), "float32")


class Shifted(Pixels):
    """Its options say what it does, as those of a model from YAML do."""


def shifted(shift):
    return Subject(Shifted(shift=shift).freeze(), {"name": "s", "shift": shift}, "float32")


def test_a_split_is_encoded_once(images, tmp_path):
    first, n = encode_split(subject(), images, Cache(tmp_path), 4)
    second, again = encode_split(subject(), images, Cache(tmp_path), 3)
    assert (n, again) == (6, 0)
    assert torch.equal(first, second)
    assert first.shape == (6, 16)


def test_other_weights_options_images_or_precision_are_encoded_again(images, tmp_path):
    cache = Cache(tmp_path)
    encode_split(subject(), images, cache, 4)
    weights = small_vae()
    weights.weights_hash = "other"
    for other in (
        subject(weights),
        subject(latent_dim=17),
        Subject(small_vae(), small_vae_options(), "bfloat16"),
    ):
        assert encode_split(other, images, cache, 4)[1] == 6
    assert encode_split(subject(), Faces("faces", 6, 4, 32, 1, 1).split("train"), cache, 4)[1] == 6


def test_the_name_of_a_model_does_not_enter(images, tmp_path):
    cache = Cache(tmp_path)
    encode_split(subject(), images, cache, 4)
    assert encode_split(subject(name="alias"), images, cache, 4)[1] == 0


def test_options_of_decoding_share_latents_but_not_pictures(images, tmp_path):
    cache = Cache(tmp_path)
    z, _ = encode_split(shifted(0.0), images, cache, 4)
    assert encode_split(shifted(0.2), images, cache, 4)[1] == 0
    plain = reconstruct_split(shifted(0.0), images, z, cache, 4)
    moved = reconstruct_split(shifted(0.2), images, z, cache, 4)
    torch.testing.assert_close(moved, (plain + 0.2).clamp(0, 1))


def test_the_code_of_a_users_class_is_part_of_the_key():
    assert code_version(Shifted) != code_version(type(small_vae()))


def test_latents_that_are_not_finite_name_the_images(images, tmp_path):
    class Broken(Pixels):
        def _encode(self, x):
            z = x.clone()
            z[x.mean((1, 2, 3)) == means[2]] = float("nan")
            return z

    means = images.images(slice(None)).mean((1, 2, 3))
    broken = Subject(Broken().freeze(), {"name": "broken"}, "float32")
    with pytest.raises(ValueError, match=f"1 of 6 images \\(ids {images.ids[2]}\\)"):
        encode_split(broken, images, Cache(tmp_path), 6)
