import subprocess
import sys

import pytest
import torch
from omegaconf import OmegaConf
from safetensors import safe_open

from stitching.models.flow import Glow
from stitching.tracking import NoTracker
from stitching.train import __main__ as command
from stitching.train.__main__ import load_pixels, make_trainer, train
from stitching.train.files import TrainingFiles
from stitching.train.trainer import Recipe, Trainer
from tests.small import Pixels, small_vae, small_vae_options

RECIPE = {"n_images": 160, "batch_size": 8, "lr": 1e-2, "ema": 0.9}


@pytest.fixture(scope="module")
def pixels():
    # One of four flat colours each: something that a few steps can learn.
    colours = torch.randint(0, 256, (4, 3, 1, 1), generator=torch.Generator().manual_seed(0))
    return colours.repeat(16, 1, 32, 32).to(torch.uint8)


def trainer(**recipe):
    model = small_vae().requires_grad_(True)
    return Trainer(model, Recipe(**(RECIPE | recipe)), seed=0)


def weights(t):
    return torch.cat([p.detach().flatten() for p in t.average.parameters()])


def run(t, pixels, steps):
    for _ in range(steps):
        figures = t.advance(pixels)
    return figures


def test_training_lowers_the_error(pixels):
    t = trainer()
    first = run(t, pixels, 1)["rmse"]
    assert run(t, pixels, 19)["rmse"] < first / 2


def test_two_runs_are_bit_equal(pixels):
    a, b = trainer(), trainer()
    run(a, pixels, 4)
    run(b, pixels, 4)
    assert torch.equal(weights(a), weights(b))


def test_a_stopped_run_goes_on_as_if_it_had_not_been(pixels, tmp_path):
    whole, first, second = trainer(), trainer(), trainer()
    run(whole, pixels, 6)
    run(first, pixels, 3)
    first.write(tmp_path / "state")
    second.load(tmp_path / "state")
    run(second, pixels, 3)
    assert torch.equal(weights(whole), weights(second))


def test_the_saved_weights_are_the_average(pixels):
    t = trainer()
    before = weights(t).clone()
    run(t, pixels, 1)
    after = torch.cat([p.detach().flatten() for p in t.model.parameters()])
    decay = 2 / 11  # (1 + step) / (10 + step) after the first step
    torch.testing.assert_close(weights(t), decay * before + (1 - decay) * after)


def test_without_an_average_the_raw_weights_are_saved():
    t = trainer(ema=None)
    assert t.average is t.model


def test_every_image_is_seen_once_an_epoch(pixels):
    t = trainer()
    seen = []
    for _ in range(8):
        seen += t._indices(len(pixels)).tolist()
        t.step += 1
    assert sorted(seen) == list(range(64))


def test_a_run_ends_with_a_checkpoint_and_a_cold_learning_rate(pixels, tmp_path):
    t = trainer()
    files = TrainingFiles(tmp_path, "vae", {}, {})
    train(t, pixels, Quiet(), files)
    assert t.step == 20
    assert t.optimizer.param_groups[0]["lr"] < 1e-3
    assert files.state.is_file()


class Quiet(NoTracker):
    def log(self, scalars):
        self.last = scalars


def test_a_state_of_another_model_is_refused(pixels, tmp_path):
    trainer().write(tmp_path / "state")
    model = small_vae(latent_dim=8).requires_grad_(True)
    with pytest.raises(ValueError, match="resume=false"):
        Trainer(model, Recipe(**RECIPE), 0).load(tmp_path / "state")


def test_a_state_of_other_options_is_refused_even_where_the_shapes_fit(tmp_path):
    model = small_vae().requires_grad_(True)
    options = small_vae_options()
    Trainer(model, Recipe(**RECIPE), seed=0, options=options).write(tmp_path / "state")
    other = Trainer(model, Recipe(**RECIPE), seed=0, options=options | {"value_range": [-1, 1]})
    with pytest.raises(ValueError, match="other options"):
        other.load(tmp_path / "state")


def test_a_run_from_weights_does_not_warm_the_objective_up_again(pixels):
    stages = []
    for warm in (False, True):
        t = Trainer(small_vae().requires_grad_(True), Recipe(**RECIPE), seed=0, warm=warm)
        loss = t.model.training_loss
        t.model.training_loss = lambda x, progress, loss=loss: (
            stages.append(progress) or loss(x, progress)
        )
        run(t, pixels, 1)
    assert stages == [0.0, 0.3]


def test_divergence_stops_with_a_message(pixels):
    t = trainer()
    t.model.encoder[1].weight.data.fill_(float("inf"))
    with pytest.raises(FloatingPointError, match="diverged at step 0"):
        t.advance(pixels)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"n_images": 1}, "n_images >= batch_size"),
        ({"lr": 0}, "training.lr must be > 0"),
        ({"ema": 1.0}, "training.ema"),
        ({"lpips": -1.0}, "training.lpips must be >= 0"),
        ({"inverse": -0.5}, "training.inverse must be >= 0, got -0.5"),
    ],
)
def test_impossible_recipes_are_refused(recipe, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**(RECIPE | recipe))


def test_a_model_that_is_not_trainable_is_refused():
    with pytest.raises(TypeError, match="model pixels has no training objective"):
        make_trainer(Pixels(), RECIPE, seed=0)
    with pytest.raises(ValueError, match="model pixels has no training objective"):
        command.run(
            OmegaConf.create({"model": {"name": "pixels"}, "training": "${model.training}"})
        )


def test_missing_and_unknown_options_of_a_recipe_are_named():
    with pytest.raises(ValueError, match=r"needs model\.training\.lr"):
        make_trainer(small_vae(), {"n_images": 8, "batch_size": 8}, seed=0)
    with pytest.raises(ValueError, match=r"model\.training\.rate is no option.*n_images, batch"):
        make_trainer(small_vae(), RECIPE | {"rate": 1}, seed=0)


def test_the_objective_is_described_in_words():
    assert Recipe(**RECIPE).objective == "own"
    both = Recipe(**RECIPE, lpips=0.5, inverse=50).objective
    assert both == "own + 0.5 LPIPS (VGG) + 50 gain of the inverse"


def test_a_flow_is_trained_with_the_gain_of_its_inverse(pixels):
    flow = Glow("nf", 32, 1, 2, False, 8, (-0.5, 0.5))
    t = Trainer(flow, Recipe(**RECIPE, inverse=2.0), seed=0)
    figures = t.advance(pixels)
    expected = figures["bits_per_dim"] + 2 * figures["inverse_gain"]
    assert figures["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_model_that_is_no_flow_has_no_inverse_to_train():
    with pytest.raises(ValueError, match="model vae is no flow"):
        Trainer(small_vae(), Recipe(**RECIPE, inverse=2.0), seed=0)


def test_training_images_are_bytes_and_made_once(tmp_path):
    from stitching.data.faces import Faces
    from stitching.pipeline.cache import Cache

    images = Faces("faces", 1, 1, 32, 0, 5).split("pretrain")
    first = load_pixels(images, Cache(tmp_path))
    assert first.dtype == torch.uint8
    assert first.shape == (5, 3, 32, 32)
    assert torch.equal(first, load_pixels(images, Cache(tmp_path)))
    assert torch.equal(first[2].float() / 255, images.images([2])[0])


def train_vae(tmp_path, *overrides):
    command = [
        sys.executable, "-m", "stitching.train", "model=vae", "tracker=none", "device=cpu",
        "data.image_size=32", "data.n_pretrain=32", "model.channels=[8,8]", "model.latent_dim=16",
        "model.training.n_images=64", "model.training.batch_size=8", f"out={tmp_path}",
        f"cache={tmp_path}/cache", f"hydra.run.dir={tmp_path}/run", *overrides,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


@pytest.mark.slow
def test_the_command_trains_and_goes_on_from_weights(tmp_path):
    done = train_vae(tmp_path / "first")
    assert done.returncode == 0, done.stderr
    weights = tmp_path / "first" / "vae.safetensors"
    again = train_vae(tmp_path / "second", f"init={weights}")
    assert again.returncode == 0, again.stderr
    with safe_open(tmp_path / "second" / "vae.safetensors", "pt") as file:
        card = file.metadata()
    # Eight steps of eight, twice: the second run counts what the first had seen.
    assert (card["images_seen"], card["data"], card["image_size"]) == ("128", "faces", "32")


@pytest.mark.slow
def test_weights_of_other_options_are_refused_before_training(tmp_path):
    assert train_vae(tmp_path / "first").returncode == 0
    weights = tmp_path / "first" / "vae.safetensors"
    refused = train_vae(tmp_path / "second", f"init={weights}", "model.latent_dim=24")
    assert refused.returncode == 1
    assert "latent_dim=24 but trained with 16" in refused.stderr + refused.stdout
    assert "Traceback" not in refused.stderr
