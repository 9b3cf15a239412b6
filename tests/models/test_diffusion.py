"""DDIM with analytic networks, whose gains have closed forms."""

import math
from types import SimpleNamespace

import pytest
import torch

from stitching.models.diffusion import DDIM, Diffusion

BETAS = (1e-4, 0.02)


def ddim(n, prediction="epsilon", iterations=1):
    return DDIM(1000, *BETAS, n, prediction, iterations)


def image():
    return torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def zero(x, t):
    return torch.zeros_like(x)


def optimal(schedule):
    """The best noise prediction for standard normal data."""

    def network(x, t):
        level = schedule.alphas_cumprod[t][:, None, None, None]
        return (1 - level).sqrt() * x

    return network


def optimal_v(schedule):
    """The same as a v-prediction: sqrt(a) e - sqrt(1-a) x0 with x0 = sqrt(a) x, which is 0."""
    return zero


def gain(after, before):
    ratio = after / before
    assert float(ratio.std()) < 1e-9
    return float(ratio.mean())


@pytest.mark.parametrize(
    ("n", "expected"), [(10, 0.01643911), (50, 0.00768359), (100, 0.00695489)]
)
def test_a_network_without_noise_scales_by_the_last_level(n, expected):
    x = image()
    z = ddim(n).invert(zero, x)
    assert gain(z, x) == pytest.approx(expected, abs=1e-8)
    torch.testing.assert_close(ddim(n).generate(zero, z), x, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("n", "one_way", "round_trip"),
    [
        (10, 1.1542552, 0.9599895),
        (50, 1.0355541, 0.9983563),
        (100, 1.0180656, 0.9995885),
    ],
)
def test_the_optimal_network_for_gaussian_data_has_the_closed_form_gains(n, one_way, round_trip):
    schedule, x = ddim(n), image()
    z = schedule.invert(optimal(schedule), x)
    back = schedule.generate(optimal(schedule), z)
    assert gain(z, x) == pytest.approx(one_way, abs=1e-6)
    assert gain(back, x) == pytest.approx(round_trip, abs=1e-6)


def test_v_prediction_gives_the_same_numbers_as_noise_prediction():
    x = image()
    noise, v = ddim(10), ddim(10, "v")
    z = noise.invert(optimal(noise), x)
    torch.testing.assert_close(v.invert(optimal_v(v), x), z)
    torch.testing.assert_close(v.generate(optimal_v(v), z), noise.generate(optimal(noise), z))


def test_fixed_point_iterations_approach_the_exact_inverse_of_decoding():
    x, errors = image(), []
    for iterations in (1, 2, 4, 40):
        schedule = ddim(10, iterations=iterations)
        z = schedule.invert(optimal(schedule), x)
        errors.append(float((schedule.generate(optimal(schedule), z) - x).abs().max()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-6


@pytest.mark.parametrize("n", [1, 3, 7, 10, 1000])
def test_both_directions_visit_the_same_steps_inside_the_schedule(n):
    seen = {"invert": [], "generate": []}
    for name in seen:

        def network(x, t, name=name):
            seen[name].append(int(t[0]))
            return zero(x, t)

        getattr(ddim(n), name)(network, image())
    assert seen["invert"] == seen["generate"][::-1]
    assert len(seen["invert"]) == n
    assert 0 <= min(seen["invert"])
    assert max(seen["invert"]) <= 999


def test_steps_agree_with_the_library_scheduler():
    from diffusers import DDIMScheduler

    schedule = ddim(20)
    theirs = DDIMScheduler(1000, *BETAS, clip_sample=False, set_alpha_to_one=True)
    theirs.set_timesteps(20)
    assert schedule.steps == theirs.timesteps.flip(0).tolist()
    x = image()
    ours = schedule.generate(optimal(schedule), x)
    for t in theirs.timesteps:
        x = theirs.step(optimal(schedule)(x, t.repeat(len(x))), int(t), x).prev_sample
    # The library keeps its levels in float32.
    torch.testing.assert_close(ours, x, atol=1e-4, rtol=0)


def test_clipping_keeps_predicted_images_inside_the_range():
    schedule = ddim(10)
    out = schedule.generate(zero, 100 * image(), clip_x0=True)
    assert float(out.abs().max()) <= 1


def test_clipping_changes_nothing_that_is_inside_the_range():
    schedule, x = ddim(10), image().clamp(-1, 1)
    z = schedule.invert(zero, x)
    torch.testing.assert_close(schedule.generate(zero, z, clip_x0=True), x, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n_steps must be in 1..1000, got 0"),
        ({"n": 1001}, "n_steps must be in"),
        ({"n": 5, "prediction": "x"}, "prediction must be epsilon or v"),
        ({"n": 5, "iterations": 0}, "inversion_iterations must be >= 1"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ddim(**options)


def model(**options):
    defaults = {
        "name": "dm", "image_size": 16, "patch_size": 2, "block_out_channels": [8, 8],
        "layers_per_block": 1, "norm_num_groups": 4, "n_train_steps": 1000, "beta_start": 1e-4,
        "beta_end": 0.02, "n_steps": 3, "prediction": "v", "inversion_iterations": 1,
        "clip_x0": False, "value_range": (-1.0, 1.0),
    }  # fmt: skip
    torch.manual_seed(0)
    return Diffusion(**(defaults | options)).freeze()


def test_a_size_that_the_levels_cannot_halve_is_refused_when_built():
    with pytest.raises(ValueError, match="multiple of 4, got 18"):
        model(image_size=18)


def test_the_latent_has_as_many_values_as_the_image():
    dm = model()
    z = dm.encode(torch.rand(2, 3, 16, 16))
    assert z.shape == (2, 3 * 16 * 16)
    assert math.prod(dm.latent_shape) == dm.latent_dim


def test_an_untrained_network_loses_little_with_more_steps():
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    errors = [
        float((dm.decode(dm.encode(x)) - x).square().mean().sqrt())
        for dm in (model(n_steps=5), model(n_steps=100))
    ]
    assert errors[1] < errors[0] / 2


@pytest.mark.parametrize("t", [0, 100, 900])
@pytest.mark.parametrize("sigma_data", [0.1, 0.5])
def test_a_network_that_knows_the_clean_image_gives_the_true_v(t, sigma_data):
    dm = model(sigma_data=sigma_data).double()
    generator = torch.Generator().manual_seed(2)
    clean, noise = torch.randn(2, 1, 3, 16, 16, generator=generator, dtype=torch.float64)
    a = float(dm.ddim.alphas_cumprod[t])
    noisy = a**0.5 * clean + (1 - a) ** 0.5 * noise
    # Karras et al. (2022), table 1, for x = sqrt(a) (x0 + s e): x0 = c_skip x + c_out F.
    total = a * sigma_data**2 + 1 - a
    c_skip, c_out = sigma_data**2 * a**0.5 / total, ((1 - a) / total) ** 0.5
    answer = torch.nn.functional.pixel_unshuffle((clean - c_skip * noisy) / c_out, 2)
    dm.unet.forward = lambda x, t: SimpleNamespace(sample=answer)
    v = dm.network(noisy, torch.tensor([t]))
    torch.testing.assert_close(v, a**0.5 * noise - (1 - a) ** 0.5 * clean, atol=1e-9, rtol=0)


def test_preconditioning_needs_the_v_parametrisation():
    with pytest.raises(ValueError, match="needs prediction=v, got sigma_data=0"):
        model(prediction="epsilon", sigma_data=0.1)


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_features_are_compared_of_the_predicted_clean_image_below_much_noise(prediction):
    x = torch.rand(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    knowing = model(prediction=prediction)

    def network(noisy, t):
        level = knowing.ddim.alphas_cumprod.float()[t][:, None, None, None]
        clean = 2 * x - 1
        noise = (noisy - level.sqrt() * clean) / (1 - level).sqrt()
        v = level.sqrt() * noise - (1 - level).sqrt() * clean
        return noise if prediction == "epsilon" else v

    compared = []
    knowing.network = network
    knowing.perceptual = lambda made, real: compared.append((made, real)) or made.mean()
    loss, figures = knowing.training_loss(x, 0.0)
    (made, real), share = compared[0], len(compared[0][0]) / 16
    torch.testing.assert_close(made, real, atol=1e-3, rtol=0)
    # Items come in the order of their noise, the least first.
    torch.testing.assert_close(real, x[: len(real)], atol=1e-6, rtol=0)
    assert 0.2 < share < 0.8
    assert figures["perceived"] == pytest.approx(share * float(made.mean()), rel=1e-5)
    assert float(loss) == pytest.approx(figures["mse"] + figures["perceived"], rel=1e-5)


def test_samples_come_from_a_density_fitted_to_inverted_images():
    fitted = model(prior_rank=2)
    x = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    fitted.finish_training(x.split(3))
    torch.testing.assert_close(fitted.fitted_prior.mean, fitted.encode(x).mean(0))
    assert not torch.equal(fitted.sample(1), fitted.sample(1, fitted=False))
    assert torch.equal(fitted.sample(1, fitted=False), model().sample(1))
