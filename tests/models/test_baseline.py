import pytest
import torch

from stitching.models.baseline import MeanEncoder, Pixels, RandomEncoder


def images(n=40):
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def encoder(seed=0):
    return RandomEncoder("random", 8, 64, seed).freeze()


def test_the_latent_of_an_image_is_the_same_in_every_batch():
    x = images()
    z = encoder().encode(x)
    assert torch.equal(encoder().encode(x[3:4])[0], z[3])
    assert torch.equal(encoder().encode(x.flip(0)), z.flip(0))


def test_latents_know_nothing_of_the_content():
    # One byte of one pixel more, and the latent has nothing to do with the old one.
    x = images(1).expand(40, -1, -1, -1).clone()
    x[:, 0, 0, 0] = torch.linspace(0, 1, 40)
    z = encoder().encode(x)
    off_diagonal = torch.corrcoef(z).fill_diagonal_(0)
    assert off_diagonal.abs().max() < 0.6  # 64 values: standard deviation 0.125, 780 pairs
    assert abs(float(off_diagonal.mean())) < 0.02


def test_another_seed_gives_other_latents():
    assert not torch.equal(encoder().encode(images()), encoder(1).encode(images()))


def test_it_cannot_decode():
    assert not RandomEncoder.can_decode
    with pytest.raises(TypeError, match="encoder only"):
        encoder().decode(torch.zeros(1, 64))


def test_the_mean_encoder_gives_every_image_the_same_latent():
    z = MeanEncoder("mean", 8).freeze().encode(images())
    assert z.shape == (40, 1)
    assert bool((z == z[0]).all())


def test_the_mean_encoder_cannot_decode():
    assert not MeanEncoder.can_decode
    with pytest.raises(TypeError, match="encoder only"):
        MeanEncoder("mean", 8).decode(torch.zeros(1, 1))


def test_pixels_are_their_own_latent():
    model, x = Pixels("pixels", 8).freeze(), images()
    z = model.encode(x)
    assert torch.equal(z, x.flatten(1))
    assert torch.equal(model.decode(z), x)


def test_pixels_have_no_prior():
    with pytest.raises(TypeError, match="no prior"):
        Pixels("pixels", 8).sample(1)
