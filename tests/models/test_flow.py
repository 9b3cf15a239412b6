import math

import pytest
import torch

from stitching.models.flow import ActNorm, Glow


def glow(affine=False, **options):
    torch.manual_seed(0)
    defaults = {"name": "nf", "image_size": 16, "n_flow": 2, "n_block": 2, "hidden_channels": 8}
    model = Glow(**(defaults | options), affine=affine, value_range=(-0.5, 0.5))
    # A zero-initialised coupling would make every test trivial.
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "coupling" in name or "prior" in name:
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.data += 0.05 * noise
    for module in model.modules():
        if hasattr(module, "initialized"):
            module.initialized.fill_(1)
    return model.freeze()


def image(n=4, size=16):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("affine", [False, True])
def test_decoding_its_own_latents_returns_the_picture(affine):
    model, x = glow(affine), image()
    z = model.encode(x)
    assert z.shape == (4, 3 * 16 * 16)
    assert float((model.decode(z) - x).abs().max()) < 1e-3


@pytest.mark.parametrize("affine", [False, True])
def test_the_inverse_is_exact_in_float64(affine):
    model, x = glow(affine).double(), image().double() - 0.5
    with torch.no_grad():
        latents, _, _ = model.transform(x)
        back = model.invert(latents)
    assert float((back - x).abs().max()) < 1e-6


def test_taking_features_for_noise_misses_by_far_more():
    model, x = glow(), image() - 0.5
    with torch.no_grad():
        latents, _, _ = model.transform(x)
        wrong = model.invert(latents, noise=True)
    assert float((wrong - x).abs().max()) > 0.05


@pytest.mark.parametrize("affine", [False, True])
def test_the_log_determinant_is_that_of_the_jacobian(affine):
    model = glow(affine, image_size=4, n_block=1).double()
    x = image(1, 4).double() - 0.5

    def flat(pixels):
        return torch.cat([z.flatten(1) for z in model.transform(pixels.view(1, 3, 4, 4))[0]], 1)[0]

    jacobian = torch.autograd.functional.jacobian(flat, x.flatten())
    _, _, log_det = model.transform(x)
    expected = torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(log_det.sum(), expected)


def test_the_density_of_the_latents_integrates_the_prior():
    # With a standard normal prior (zero prior nets) log p is that of the normal distribution.
    model = glow()
    for block in model.blocks:
        for parameter in block.prior.parameters():
            parameter.data.zero_()
    with torch.no_grad():
        latents, log_p, _ = model.transform(image() - 0.5)
    z = torch.cat([part.flatten(1) for part in latents], 1).double()
    expected = -0.5 * (z.square() + math.log(2 * math.pi)).sum(1)
    torch.testing.assert_close(log_p.double(), expected, rtol=1e-5, atol=1e-3)


def test_samples_go_through_the_prior_and_come_back_by_the_exact_inverse():
    model = glow()
    x = model.sample(3, seed=0)
    assert x.shape == (3, 3, 16, 16)
    assert torch.equal(x, model.sample(3, seed=0))
    torch.testing.assert_close(x[:2], model.sample(2, seed=0), atol=1e-4, rtol=0)


def test_the_noise_of_an_image_is_what_the_prior_makes_it_from():
    model = glow()
    x = image(4) - 0.5
    with torch.no_grad():
        noise = model._noise_of(x)
        back = model._decode(model._prior(noise))
    torch.testing.assert_close(back, x, atol=1e-5, rtol=0)
    assert not torch.allclose(noise, model._encode(x), atol=1e-2)


def test_a_fitted_prior_draws_from_the_noise_of_training_images():
    model = Glow("nf", 16, 1, 2, False, 8, (-0.5, 0.5), prior_rank=2).freeze()
    x = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    model.finish_training(x.split(8))
    with torch.no_grad():
        expected = model._noise_of(x - 0.5).mean(0)
    torch.testing.assert_close(model.fitted_prior.mean, expected, atol=1e-5, rtol=1e-4)
    drawn, own = model.sample(3, seed=0), model.sample(3, seed=0, fitted=False)
    assert not torch.allclose(drawn, own, atol=1e-3)
    assert "fitted_prior.factor" in model.state_dict()
    assert not any("fitted" in key for key in glow().state_dict())


def test_an_untrained_model_does_not_adapt_to_what_it_encodes():
    model = Glow("nf", 16, 1, 2, False, 8, (-0.5, 0.5)).freeze()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.encode(image())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_training_starts_from_normalised_activations():
    model = Glow("nf", 16, 2, 2, False, 8, (-0.5, 0.5)).train()
    loss, figures = model.training_loss(image(8), 0.0)
    assert torch.isfinite(loss)
    assert figures["bits_per_dim"] == pytest.approx(float(loss.detach()))
    assert all(int(m.initialized) for m in model.modules() if hasattr(m, "initialized"))


def test_the_gain_of_the_inverse_of_a_linear_flow_is_that_of_its_matrix():
    # Couplings that are zero leave a linear map, whose inverse has the mean square of its entries.
    model = Glow("nf", 4, 1, 1, False, 8, (-0.5, 0.5)).double().freeze()
    for module in model.modules():
        if isinstance(module, ActNorm):
            module.scale.data = torch.linspace(0.5, 3, module.scale.numel()).view_as(module.scale)
    x = image(1, 4).double() - 0.5
    flat = torch.eye(48, dtype=torch.float64)
    zero = model.invert(model._split(torch.zeros(1, 48, dtype=torch.float64)))
    rows = (model.invert(model._split(flat)) - zero).flatten(1)
    expected = rows.square().sum(0).mean()
    many = x.expand(20000, 3, 4, 4)
    torch.manual_seed(0)
    gain = model.inverse_gain(many, model.transform(many)[0])
    torch.testing.assert_close(gain, expected, rtol=0.02, atol=0)


def test_training_lowers_the_gain_of_the_inverse_where_it_is_asked_to():
    gains = []
    for weight in (0.0, 100.0):
        torch.manual_seed(0)
        model = Glow("nf", 16, 2, 2, True, 8, (-0.5, 0.5)).train()
        model.inverse_weight = weight
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(30):
            loss, figures = model.training_loss(image(8), 0.0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert ("inverse_gain" in figures) == (weight > 0)
        x = image(8) - 0.5
        with torch.no_grad():
            gains.append(float(model.inverse_gain(x, model.transform(x)[0])))
    assert gains[1] < 0.8 * gains[0]


def test_a_size_that_cannot_be_squeezed_is_refused():
    with pytest.raises(ValueError, match="multiple of 4, got 10"):
        glow(image_size=10)
