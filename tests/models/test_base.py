import threading

import pytest
import torch
from torch import nn

from stitching.models.base import GenerativeModel
from stitching.models.trainable import Trainable
from tests.small import Pixels, small_vae


def images(n=9, size=32):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_latents_do_not_depend_on_the_batch_size(batch_size):
    model, x = small_vae(), images()
    parts = torch.cat([model.encode(part) for part in x.split(batch_size)])
    torch.testing.assert_close(parts, model.encode(x), atol=1e-5, rtol=0)


def test_encoding_twice_gives_the_posterior_mean_both_times():
    model, x = small_vae(), images(4)
    torch.manual_seed(1)
    first = model.encode(x)
    torch.manual_seed(2)
    assert torch.equal(first, model.encode(x))
    torch.testing.assert_close(first, model.posterior(x)[0])


def test_bytes_and_floats_give_the_same_latents():
    model = small_vae()
    x = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(model.encode(x), model.encode(x.float() / 255))


def test_range_conversion_is_the_models_own_business():
    seen = []

    class Spy(Pixels):
        def _encode(self, x):
            seen.append((float(x.min()), float(x.max())))
            return x

    model = Spy()
    model.value_range = (-1.0, 1.0)
    x = images(1)
    torch.testing.assert_close(model.decode(model.encode(x)), x, atol=1e-6, rtol=0)
    assert seen[0][0] == pytest.approx(-1, abs=0.01)
    assert seen[0][1] == pytest.approx(1, abs=0.01)


def test_images_in_another_range_are_refused():
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        small_vae().encode(images() * 2 - 1)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match="takes 32 x 32 images, got 16 x 16"):
        small_vae().encode(images(1, 16))


def test_latents_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"decodes latents of shape \(N, 16\), got \(2, 15\)"):
        small_vae().decode(torch.zeros(2, 15))


def test_decoded_images_are_clamped_and_nan_stays_visible():
    model = Pixels(shift=2.0)
    z = torch.zeros(1, model.latent_dim)
    assert float(model.decode(z).max()) == 1.0
    z[0, 0] = float("nan")
    assert bool(model.decode(z).isnan().any())


def test_float64_is_computed_in_float64():
    model, x = small_vae(), images(2)
    z = model.double().encode(x)
    assert z.dtype == torch.float64
    torch.testing.assert_close(z.float(), small_vae().encode(x), atol=1e-5, rtol=0)


def test_bfloat16_is_close_but_not_equal():
    model, x = small_vae(), images(2)
    exact = model.encode(x)
    model.autocast_dtype = torch.bfloat16
    rough = model.encode(x)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert float((rough - exact).norm() / exact.norm()) < 0.05


def test_samples_come_from_the_fitted_density_and_the_seed():
    model = small_vae(prior_rank=16)
    model.finish_training([images(64)])
    z = model.encode(images(64))
    prior = model.fitted_prior
    torch.testing.assert_close(prior.mean, z.mean(0), atol=1e-5, rtol=1e-4)
    factor = prior.factor.double()
    expected = torch.cov(z.double().T)
    torch.testing.assert_close(factor @ factor.T, expected, atol=1e-5, rtol=1e-3)
    few, many = model.sample(2, seed=3), model.sample(5, seed=3)
    torch.testing.assert_close(few, many[:2], atol=1e-5, rtol=0)
    assert not torch.equal(few, model.sample(2, seed=3, fitted=False))


def test_a_refinement_starts_as_nothing_and_corrects_what_was_decoded():
    plain, refined = small_vae(), small_vae(refine_channels=8)
    state = plain.state_dict()
    refined.load_state_dict({**refined.state_dict(), **state})
    z = plain.encode(images(2))
    assert torch.equal(refined.decode(z), plain.decode(z))
    refined.decoder[-1].net[-2].bias.data.fill_(0.125)
    torch.testing.assert_close(refined.decode_unclamped(z), plain.decode_unclamped(z) + 0.125)


def test_a_linear_path_starts_as_nothing_and_adds_linear_maps():
    plain, both = small_vae(), small_vae(linear_channels=4)
    both.load_state_dict({**both.state_dict(), **plain.state_dict()})
    x = images(3)
    z = plain.encode(x)
    assert torch.equal(both.encode(x), z)
    assert torch.equal(both.decode(z), plain.decode(z))
    for layer in (both.linear.encoder[3], both.linear.decoder[2]):
        torch.nn.init.normal_(layer.weight, std=0.1)
    assert both.latent_dim == z.shape[1]
    added = both.encode(x) - z
    torch.testing.assert_close(both.posterior(x)[0], both.encode(x))
    # Affine: the value of a mean of images is the mean of the values.
    middle = both.linear.encoder((x[:1] + x[1:2]) / 2)
    torch.testing.assert_close(middle, (added[:1] + added[1:2]) / 2, atol=1e-5, rtol=0)
    shift = both.decode_unclamped(z) - plain.decode_unclamped(z)
    assert float(shift.abs().max()) > 1e-3
    torch.testing.assert_close(shift, both.linear.decoder(z).detach(), atol=1e-5, rtol=0)


def test_a_linear_path_needs_whole_patches():
    with pytest.raises(ValueError, match="multiple of 8, got 12"):
        small_vae(image_size=12, linear_channels=4)


def test_a_model_inherits_nothing_of_training():
    own = Trainable.__dict__.keys() - GenerativeModel.__dict__.keys()
    assert {"training_loss", "finish_training", "perceptual", "prior_images"} <= own
    assert not [name for name in own if hasattr(Pixels(), name)]


def test_a_model_runs_in_several_threads_only_if_its_family_allows_it():
    threads = set()

    class Spy(Pixels):
        def _encode(self, x):
            threads.add(threading.get_ident())
            return x

    Spy().encode(images(64))
    assert threads == {threading.get_ident()}
    threads.clear()
    Spy.thread_safe = True
    Spy().encode(images(64))
    assert threading.get_ident() not in threads


def test_threads_compute_without_gradients_and_in_the_models_precision():
    seen = []

    class Spy(Pixels):
        thread_safe = True

        def _encode(self, x):
            seen.append((torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")))
            return x

    model = Spy()
    model.autocast_dtype = torch.bfloat16
    model.encode(images(20))
    assert seen == [(True, True)] * 2


class Brain(GenerativeModel):
    """A user's class around a bfloat16 network."""

    def __init__(self, first=torch.bfloat16):
        super().__init__("brain", 8, (3, 8, 8))
        self.first = nn.Conv2d(3, 3, 1).to(first)
        self.net = nn.Conv2d(3, 3, 1).to(torch.bfloat16)

    def _encode(self, x):
        return self.net(x)

    def _decode(self, z):
        return self.net(z)


def test_a_network_in_bfloat16_gives_latents_and_images_in_float32():
    model, x = Brain().freeze(), images(2, 8)
    z = model.encode(x)
    assert z.dtype == torch.float32
    assert model.decode(z).dtype == torch.float32
    expected = model.net.float()(x.bfloat16().float()).flatten(1)
    torch.testing.assert_close(z, expected, atol=0.02, rtol=0.02)


def test_weights_of_two_dtypes_are_answered_with_model_and_remedy():
    with pytest.raises(ValueError, match=r"model brain holds weights in bfloat16 and fails on"):
        Brain(torch.float32).freeze().encode(images(2, 8))


def test_other_errors_of_a_model_are_its_own():
    class Broken(Brain):
        def _encode(self, x):
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match=r"^boom$"):
        Broken().encode(images(2, 8))
