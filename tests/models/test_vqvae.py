import pytest
import torch

from stitching.models.vqvae import VQVAE


def vqvae(space="quantized", patch=1):
    torch.manual_seed(0)
    model = VQVAE(
        "vqvae", 16, patch, [8] * (3 if patch == 1 else 2), 1, 3, 32, 4, space, (-1.0, 1.0)
    )
    # Codes as far apart as the latents of an untrained encoder.
    torch.nn.init.normal_(model.vq.quantize.embedding.weight, 0, 0.3)
    return model.freeze()


@pytest.fixture
def images():
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_quantising_quantised_latents_changes_nothing(images):
    model = vqvae()
    z = model.encode(images).view(4, 3, 4, 4)
    again, index = model.quantize(z)
    torch.testing.assert_close(again, z, atol=1e-6, rtol=0)
    assert len(index.unique()) > 1


def test_decoding_continuous_latents_is_quantise_then_decode(images):
    model = vqvae("continuous")
    z = model.encode(images)
    quantized = model.quantize(z.view(4, 3, 4, 4))[0]
    with torch.no_grad():
        theirs = model.vq.decode(z.view(4, 3, 4, 4)).sample
        direct = model.vq.decode(z.view(4, 3, 4, 4), force_not_quantize=True).sample
    ours = model.decode(z) * 2 - 1
    torch.testing.assert_close(ours, theirs.clamp(-1, 1), atol=1e-5, rtol=0)
    torch.testing.assert_close(model.decode(quantized.flatten(1)) * 2 - 1, ours, atol=1e-6, rtol=0)
    assert float((direct - theirs).abs().max()) > 1e-3


def test_the_two_spaces_differ_and_are_named(images):
    quantized, continuous = vqvae("quantized").encode(images), vqvae("continuous").encode(images)
    assert float((quantized - continuous).abs().max()) > 1e-3
    with pytest.raises(ValueError, match="quantized or continuous, got 'before'"):
        vqvae("before")


def test_quantisation_agrees_with_the_library(images):
    model = vqvae("continuous")
    z = model.encode(images).view(4, 3, 4, 4)
    theirs, _, (_, _, index) = model.vq.quantize(z)
    ours, our_index = model.quantize(z)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    assert torch.equal(our_index.flatten(), index.flatten())


def test_diagnostics_count_changed_codes(images):
    model = vqvae()
    z = model.encode(images)
    same = model.diagnostics(z, z + 1e-6)
    assert same["latent/codes_changed"] == 0.0
    assert same["latent/codes_used_true"] == same["latent/codes_used_mapped"]
    codebook = model.vq.quantize.embedding.weight
    one = codebook[0].view(3, 1, 1).expand(4, 3, 4, 4).flatten(1)
    other = model.diagnostics(one, codebook[1].view(3, 1, 1).expand(4, 3, 4, 4).flatten(1))
    assert other == {
        "latent/codes_changed": 1.0,
        "latent/codes_used_true": 1,
        "latent/codes_used_mapped": 1,
    }


def test_patches_keep_the_latent_grid(images):
    model = vqvae(patch=2)
    assert model.latent_shape == (3, 4, 4)
    assert model.decode(model.encode(images)).shape == images.shape
