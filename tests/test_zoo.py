"""The packaged weights: small, loadable, and as good as the documentation says."""

import pytest
import torch

import stitching
from stitching.weights.locations import ZOO

#: Models that encode.
MODELS = ("vae", "vqvae", "nf", "dm")

#: Upper bounds of the own reconstruction's RMSE, 0-1 scale, on held-out faces.
BOUNDS = {"vae": 0.060, "vqvae": 0.045, "nf": 1e-3, "dm": 0.060}


@pytest.fixture(scope="module")
def faces():
    return stitching.load_images("faces", split="test", n=24)


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return stitching.load_model(request.param)


@pytest.fixture(scope="module")
def latents(model, faces):
    return model.encode(faces)


def test_the_zoo_is_small():
    assert sum(path.stat().st_size for path in ZOO.rglob("*")) <= 48 * 2**20


def test_latents_have_the_papers_sizes(model, latents):
    sizes = {"vae": 512, "vqvae": 768, "nf": 12288, "dm": 12288}
    assert latents.shape == (24, sizes[model.name])


def test_the_card_says_what_the_weights_were_trained_on(model):
    assert model.card["data"] == "faces"
    assert model.card["model"] == model.name
    assert int(model.card["images_seen"]) > 0


def test_own_reconstructions_are_good(model, faces, latents):
    rmse = (model.decode(latents) - faces).double().square().mean().sqrt()
    # A fifth more than the bound on 512 faces: these are 24.
    assert float(rmse) <= 1.2 * BOUNDS[model.name]


# Three passes at most: each is filled up to the fixed size.
@pytest.mark.parametrize(("batch_size", "n"), [(1, 3), (7, 8)])
def test_latents_do_not_depend_on_the_batch_size(model, faces, latents, batch_size, n):
    parts = torch.cat([model.encode(part) for part in faces[:n].split(batch_size)])
    torch.testing.assert_close(parts, latents[:n], atol=1e-5, rtol=1e-5)


def test_a_picture_is_the_same_alone_and_in_a_batch(model, latents):
    batch = model.decode(latents[:8])
    assert torch.equal(model.decode(latents[:8]), batch)
    torch.testing.assert_close(model.decode(latents[2:3])[0], batch[2], atol=1e-4, rtol=0)


def test_encoding_is_bit_equal_under_another_global_seed(model, faces, latents):
    torch.manual_seed(99)
    assert torch.equal(model.encode(faces), latents)


@pytest.mark.parametrize("name", ["vae", "nf", "dm"])
def test_samples_are_faces_and_other_ones_than_of_the_trained_prior(name, faces):
    model = stitching.load_model(name)
    fitted, own = model.sample(3, seed=0), model.sample(3, seed=0, fitted=False)
    assert not torch.allclose(fitted, own, atol=0.05)
    # The mean face lies where faces do: in the middle, not in the background.
    centre = (..., slice(24, 48), slice(24, 40))
    assert float((fitted.mean(0) - faces.mean(0))[centre].abs().mean()) < 0.2


@pytest.mark.parametrize("name", ["vae", "nf"])
def test_samples_are_the_same_in_double_precision(name):
    single, double = (
        stitching.load_model(name, dtype=d).sample(2) for d in ("float32", "float64")
    )
    torch.testing.assert_close(single, double.float(), atol=1e-3, rtol=0)


def test_the_flow_inverts_exactly_in_float64(faces):
    model = stitching.load_model("nf", dtype="float64")
    z = model.encode(faces[:2])
    assert float((model.decode(z).double() - faces[:2]).abs().max()) < 1e-6


@pytest.fixture(scope="module")
def gan():
    return stitching.load_model("gan")


def test_the_gan_is_small_and_says_what_it_was_trained_on(gan):
    assert (ZOO / "faces" / "gan.safetensors").stat().st_size <= 8 * 2**20
    assert gan.card["data"] == "faces"
    assert int(gan.card["images_seen"]) > 0


def test_the_gan_draws_many_faces_not_one(gan, faces):
    drawn = gan.sample(24, seed=0)
    spread = drawn.flatten(1).std(0).mean() / faces.flatten(1).std(0).mean()
    assert 0.5 < float(spread) < 1.5
    # What all faces have in common, to a tenth of the range.
    assert float((drawn.mean(0) - faces.mean(0)).abs().mean()) < 0.1
