import math

import pytest
import torch

from stitching.models.trainable import WARMUP_END
from stitching.train.__main__ import make_trainer
from stitching.train.adversarial import (
    AdversarialRecipe,
    AdversarialTrainer,
    Components,
    gradient_penalty,
)
from stitching.train.discriminator import Discriminator, minibatch_deviation
from tests.gans import small_gan

WIDTHS = {"channel_base": 64, "channel_max": 16, "patch_size": 2, "group_size": 4}
RECIPE = {
    "n_images": 1600, "batch_size": 8, "lr": 5e-3, "ema_images": 40.0, "r1_gamma": 0.1,
    "r1_every": 4, "noise": "random", "redraw": 0.0, "discriminator": WIDTHS,
}  # fmt: skip


@pytest.fixture(scope="module")
def pixels():
    # Light disks on a dark ground, of three colours: brighter than what a new generator draws.
    place = torch.arange(16) - 7.5
    disk = (place.square()[:, None] + place.square() < 25).float()
    colours = torch.tensor([[250.0, 200, 200], [200, 250, 200], [200, 200, 250]])
    return (colours[:, :, None, None] * disk + 20 * (1 - disk)).to(torch.uint8)


def tiny_gan():
    return small_gan(image_size=16, channel_base=128, channel_max=8).requires_grad_(True)


def trainer(seed=0, dtype="float32", **recipe):
    recipe = AdversarialRecipe(**(RECIPE | recipe))
    return AdversarialTrainer(tiny_gan(), recipe, seed=seed, dtype=dtype)


def advance(t, pixels, steps):
    for _ in range(steps):
        figures = t.advance(pixels)
    return figures


def values(module):
    return torch.cat([v.detach().flatten().float() for v in module.state_dict().values()])


@pytest.fixture(scope="module")
def trained(pixels, one_thread):
    """A trainer after 24 steps, and what it logged at each."""
    t = trainer()
    return t, [t.advance(pixels) for _ in range(24)]


def test_the_discriminator_learns_to_tell_real_from_generated(trained):
    _, log = trained
    assert log[-1]["loss_d"] < log[0]["loss_d"]
    assert log[-1]["on_real"] > 0 > log[-1]["on_fake"]


def test_against_a_fixed_discriminator_the_generators_loss_falls():
    t, x = trainer(), torch.zeros(4, 3, 16, 16)
    losses = [t._update_generator(8, x, x, 5e-3)[1]["loss"] for _ in range(12)]
    assert min(losses[-3:]) < losses[0]


def test_training_moves_the_images_towards_the_data(trained, pixels):
    data = pixels.float().div(255).mean(0)

    def distance(model):
        return float((model.sample(32, seed=1).mean(0) - data).square().mean().sqrt())

    assert distance(trained[0].average) < 0.8 * distance(tiny_gan())


def test_codes_of_the_images_they_come_from_are_centred_white_and_padded_with_zeros():
    x = torch.randint(0, 256, (20, 3, 4, 4), dtype=torch.uint8)
    codes = Components.of(x, 30).codes(x.float() / 255)
    torch.testing.assert_close(codes[:, :19].mean(0), torch.zeros(19), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        codes[:, :19].T @ codes[:, :19] / 20, torch.eye(19), atol=1e-3, rtol=0
    )
    assert not codes[:, 19:].any()


def test_the_generator_first_redraws_training_images_and_the_discriminator_waits(pixels):
    t = trainer(redraw=1.0)
    before = values(t.discriminator)
    errors = [t.advance(pixels)["redraw_mse"] for _ in range(30)]
    assert errors[-1] < errors[0] / 2
    assert torch.equal(values(t.discriminator), before)


def test_after_the_warm_up_redrawing_is_one_loss_of_two(pixels):
    t = trainer(redraw=1.0)
    t.step = math.ceil(WARMUP_END * RECIPE["n_images"] / RECIPE["batch_size"])
    before = values(t.discriminator)
    assert t.advance(pixels).keys() >= {"redraw_mse", "loss", "loss_d"}
    assert not torch.equal(values(t.discriminator), before)


def test_the_gradient_penalty_of_a_linear_discriminator_is_the_squared_norm_of_its_weights():
    w = torch.randn(3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = torch.rand(5, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(gradient_penalty((x * w).sum((1, 2, 3)), x), w.square().sum())


def test_the_gradient_penalty_is_averaged_over_images_and_can_be_differentiated():
    scale = torch.tensor(3.0, requires_grad=True)
    x = torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1).requires_grad_(True)
    # d/dx scale x^2 = 2 scale x, so the penalty is 4 scale^2 mean(x^2).
    penalty = gradient_penalty(scale * x.square().flatten(), x)
    penalty.backward()
    assert float(penalty.detach()) == pytest.approx(4 * 9 * 2.5)
    assert float(scale.grad) == pytest.approx(4 * 2 * 3 * 2.5)


def discriminator_gradient(pixels, step, **recipe):
    """Gradient of the discriminator's loss at a step, on the same images and weights."""
    t = trainer(**recipe)
    t.step = step
    real = pixels[[0, 1, 2, 0]].float() / 127.5 - 1
    fake = torch.zeros_like(real)
    t._update_discriminator(real, fake, 1e-9)
    return torch.cat([p.grad.flatten() for p in t.discriminator.parameters()])


def test_a_lazy_penalty_weighs_as_much_over_its_period_as_one_in_every_step(pixels):
    plain = discriminator_gradient(pixels, 0, r1_gamma=0.0)
    every = discriminator_gradient(pixels, 0, r1_every=1) - plain
    lazy = discriminator_gradient(pixels, 0, r1_every=4) - plain
    assert every.norm() > 0
    torch.testing.assert_close(lazy, 4 * every, rtol=1e-3, atol=1e-5)


def test_between_lazy_penalties_there_is_none(pixels):
    plain = discriminator_gradient(pixels, 3, r1_gamma=0.0)
    assert torch.equal(discriminator_gradient(pixels, 3, r1_every=4), plain)


def test_a_stopped_run_goes_on_as_if_it_had_not_been(pixels, tmp_path):
    whole, first, second = trainer(), trainer(), trainer(seed=0)
    advance(whole, pixels, 6)
    advance(first, pixels, 3)
    first.write(tmp_path / "state")
    torch.manual_seed(99)
    second.load(tmp_path / "state")
    advance(second, pixels, 3)
    assert torch.equal(values(whole.average), values(second.average))
    assert torch.equal(values(whole.discriminator), values(second.discriminator))


def test_another_seed_is_another_discriminator():
    a, b = trainer(seed=0), trainer(seed=1)
    assert not torch.equal(values(a.discriminator), values(b.discriminator))


def test_a_state_without_a_discriminator_is_refused(tmp_path):
    t = trainer()
    t.write(tmp_path / "state")
    state = torch.load(tmp_path / "state", weights_only=True)
    del state["discriminator"]
    torch.save(state, tmp_path / "state")
    with pytest.raises(ValueError, match="resume=false"):
        t.load(tmp_path / "state")


def test_a_state_with_other_tensors_names_them(tmp_path):
    t = trainer()
    t.write(tmp_path / "state")
    state = torch.load(tmp_path / "state", weights_only=True)
    state["discriminator"]["more"] = torch.zeros(1)
    torch.save(state, tmp_path / "state")
    with pytest.raises(ValueError, match=r"discriminator of gan: .*\['more'\].*resume"):
        t.load(tmp_path / "state")


def test_a_state_of_another_discriminator_is_refused(tmp_path):
    trainer().write(tmp_path / "state")
    other = trainer(discriminator=WIDTHS | {"channel_max": 8})
    with pytest.raises(ValueError, match="resume=false"):
        other.load(tmp_path / "state")


def test_the_mean_of_w_is_tracked_and_saved_with_the_average(trained):
    t, _ = trained
    mapping = t.model.generator.mapping
    with torch.no_grad():
        mean = mapping(torch.randn(4096, 16, generator=torch.Generator().manual_seed(0)))[:, 0]
    mean = mean.mean(0)
    # The mean of few w lies a fraction of their spread away from that of many.
    assert (mapping.w_avg - mean).norm() < 0.5 * mean.norm()
    assert torch.equal(t.average.generator.mapping.w_avg, mapping.w_avg)


def test_the_average_forgets_half_in_so_many_images():
    recipe = AdversarialRecipe(**(RECIPE | {"ema_images": 40.0}))
    assert recipe.decay ** (40 / recipe.batch_size) == pytest.approx(0.5)


def test_the_generators_average_follows_its_weights_at_that_pace(pixels):
    t = trainer(ema_images=1.0)
    t.step = 1000  # past the short memory of the beginning
    before = t.average.generator.synthesis.b8.conv1.weight.clone()
    t.advance(pixels)
    now = t.model.generator.synthesis.b8.conv1.weight
    decay = 0.5**8
    expected = decay * before + (1 - decay) * now
    torch.testing.assert_close(t.average.generator.synthesis.b8.conv1.weight, expected)


def test_the_stored_noise_is_not_trained_and_stays(trained):
    t, _ = trained
    key = "generator.synthesis.b8.conv1.noise_const"
    assert torch.equal(t.average.state_dict()[key], tiny_gan().state_dict()[key])


def test_both_optimisers_have_no_momentum():
    t = trainer()
    for optimizer in (t.optimizer, t.discriminator_optimizer):
        assert optimizer.param_groups[0]["betas"] == (0.0, 0.99)


def test_divergence_stops_with_a_message(pixels):
    t = trainer()
    t.discriminator.out.weight.data.fill_(float("inf"))
    with pytest.raises(FloatingPointError, match="diverged at step 0"):
        t.advance(pixels)


def test_real_images_reach_the_discriminator_in_the_generators_range(pixels):
    t = trainer()
    seen = []
    t.discriminator.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    t.advance(pixels)
    real = seen[-1]
    real = real.detach()
    assert float(real.min()) == pytest.approx(20 / 127.5 - 1, abs=1e-6)
    assert float(real.max()) == pytest.approx(250 / 127.5 - 1, abs=1e-6)


def test_a_gan_is_trained_adversarially():
    assert isinstance(make_trainer(tiny_gan(), RECIPE, seed=0), AdversarialTrainer)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"redraw": -1.0}, "training.redraw must be >= 0, got -1.0"),
        ({"r1_gamma": -1.0}, "training.r1_gamma must be >= 0, got -1.0"),
        ({"r1_every": 0}, "training.r1_every must be >= 1, got 0"),
        ({"noise": "const"}, "training.noise='const': use random or none"),
        ({"ema_images": 0.0}, "training.ema_images must be > 0"),
        ({"ema": 0.9}, "set one of them to null"),
        ({"discriminator": WIDTHS | {"patch_size": 3}}, "patch_size must divide"),
        ({"discriminator": WIDTHS | {"patch_size": 8}}, "at least 4, got 8"),
        ({"discriminator": WIDTHS | {"channel_base": 4}}, "channel_base >= 8"),
        ({"discriminator": WIDTHS | {"group_size": 0}}, "group_size >= 1"),
    ],
)
def test_impossible_recipes_are_refused(recipe, message):
    with pytest.raises(ValueError, match=message):
        trainer(**recipe)


def test_a_recipe_without_a_discriminator_is_refused():
    with pytest.raises(ValueError, match=r"needs model\.training\.r1_gamma"):
        make_trainer(tiny_gan(), {"n_images": 16, "batch_size": 8, "lr": 1e-3}, seed=0)


def test_the_deviation_within_a_minibatch_is_that_of_its_groups():
    x = torch.randn(6, 4, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = minibatch_deviation(x, 4)
    assert found.shape == (6, 1, 2, 2)
    for group in (slice(0, 4), slice(4, 6)):
        expected = x[group].std(0, unbiased=False).mean()
        wanted = expected.expand_as(found[group])
        torch.testing.assert_close(found[group], wanted, rtol=1e-5, atol=1e-6)


def test_equal_images_have_no_deviation_and_a_finite_gradient():
    x = torch.ones(4, 3, 2, 2, requires_grad=True)
    deviation = minibatch_deviation(x, 4)
    deviation.sum().backward()
    assert float(deviation.detach().max()) < 1e-3
    assert bool(x.grad.isfinite().all())


def test_a_new_discriminator_keeps_the_size_of_activations():
    torch.manual_seed(0)
    network = Discriminator(32, **WIDTHS)
    x = torch.randn(64, 3, 32, 32)
    seen = {}
    for name, module in network.named_modules():
        module.register_forward_hook(lambda m, i, out, name=name: seen.update({name: out}))
    with torch.no_grad():
        network(x)
    for name in ("from_rgb", "blocks", "conv", "dense"):
        assert 0.3 < float(seen[name].square().mean().sqrt()) < 3, name


def test_bfloat16_trains_too(pixels):
    figures = trainer(dtype="bfloat16").advance(pixels)
    assert all(math.isfinite(value) for value in figures.values())
