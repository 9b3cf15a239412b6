"""Weights at several points of a training, and how a model's configuration chooses them."""

import json
import logging
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from stitching import config
from stitching.tracking import NoTracker
from stitching.train.__main__ import make_trainer, train
from stitching.train.files import TrainingFiles
from stitching.weights.checkpoints import at_checkpoint, check_checkpoints, checkpoints_in
from tests.gans import small_gan, small_gan_options
from tests.small import small_vae, small_vae_options

RECIPE = {"n_images": 32, "batch_size": 8, "lr": 1e-2}
ADVERSARIAL = {
    "ema_images": 100.0, "r1_gamma": 1.0, "r1_every": 2, "noise": "none", "redraw": 1.0,
    "discriminator": {"channel_base": 64, "channel_max": 8, "patch_size": 2, "group_size": 4},
}  # fmt: skip
GAN_16 = {"image_size": 16, "channel_base": 128, "channel_max": 8}
FAMILIES = {
    "vae": (small_vae, small_vae_options(), RECIPE | {"ema": 0.9}),
    "gan": (lambda: small_gan(**GAN_16), small_gan_options(**GAN_16), RECIPE | ADVERSARIAL),
}


class Quiet(NoTracker):
    def log(self, scalars):
        pass


def images(size):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (24, 3, size, size), generator=generator, dtype=torch.uint8)


class Run:
    """A training of a small model into a folder."""

    def __init__(self, folder, family="vae", **settings):
        build, options, recipe = FAMILIES[family]
        model = build().requires_grad_(True)
        self.trainer = make_trainer(model, recipe, seed=0, options=options, **settings)
        self.files = TrainingFiles(folder, family, options, {"model": family})
        self.pixels = images(model.image_size)
        self.folder = folder

    def train(self, *at):
        train(self.trainer, self.pixels, Quiet(), self.files, checkpoints_at=at)
        return self

    def names(self):
        return sorted(path.name for path in self.folder.glob("*.safetensors"))


def card(path):
    with safe_open(path, "pt") as file:
        return file.metadata()


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpoints_are_written_once_so_many_images_are_seen(family, tmp_path):
    run = Run(tmp_path, family).train(0, 12, 32)
    assert run.names() == [f"{family}-{n}.safetensors" for n in (0, 12, 32)]
    seen = [card(tmp_path / name)["images_seen"] for name in run.names()]
    assert seen == ["0", "16", "32"]  # after steps of 8


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_checkpoint_is_the_end_of_the_run(family, tmp_path):
    run = Run(tmp_path, family).train(32)
    end = load_file(run.files.write(run.trainer, run.pixels))
    for key, value in load_file(tmp_path / f"{family}-32.safetensors").items():
        assert torch.equal(value, end[key]), key


def test_the_checkpoint_at_0_is_the_initialisation(tmp_path):
    Run(tmp_path).train(0)
    own = small_vae().state_dict()
    for key, value in load_file(tmp_path / "vae-0.safetensors").items():
        if not key.startswith(
            "fitted_prior."
        ):  # fitted to the training images, whatever the weights
            assert torch.equal(value, own[key].half()), key


def test_a_checkpoint_holds_the_averaged_weights(tmp_path):
    run = Run(tmp_path).train(32)
    saved = load_file(tmp_path / "vae-32.safetensors")
    key = "encoder.1.weight"
    assert torch.equal(saved[key], run.trainer.average.state_dict()[key].half())
    assert not torch.equal(saved[key], run.trainer.model.state_dict()[key].half())


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpoints_do_not_change_the_training(family, tmp_path):
    plain = Run(tmp_path / "a", family).train()
    with_checkpoints = Run(tmp_path / "b", family).train(0, 8, 24)
    for key, value in plain.trainer.model.state_dict().items():
        assert torch.equal(value, with_checkpoints.trainer.model.state_dict()[key]), key


@pytest.fixture
def stopped(tmp_path):
    """A run stopped after 16 images, whose state was written then."""
    run = Run(tmp_path)
    advance, state = run.trainer.advance, tmp_path / "state"

    def until_16(pixels):
        if run.trainer.images_seen == 16:
            run.trainer.write(state)
            raise KeyboardInterrupt
        return advance(pixels)

    run.trainer.advance = until_16
    with pytest.raises(KeyboardInterrupt):
        run.train(0, 16, 24)
    assert run.names() == ["vae-0.safetensors", "vae-16.safetensors"]
    return state


def go_on(state):
    run = Run(state.parent)
    run.trainer.load(state)
    return run


def test_a_run_that_goes_on_writes_what_is_missing_and_nothing_twice(stopped):
    before = {path: path.stat().st_mtime_ns for path in stopped.parent.glob("*.safetensors")}
    run = go_on(stopped).train(0, 16, 24)
    assert run.names() == [f"vae-{n}.safetensors" for n in (0, 16, 24)]
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_run_that_goes_on_writes_the_same_weights_as_one_that_was_not_stopped(stopped, tmp_path):
    go_on(stopped).train(0, 16, 24)
    Run(tmp_path / "whole").train(24)
    whole = load_file(tmp_path / "whole" / "vae-24.safetensors")
    for key, value in load_file(tmp_path / "vae-24.safetensors").items():
        assert torch.equal(value, whole[key]), key


def test_a_checkpoint_asked_for_too_late_is_named(stopped, caplog):
    with caplog.at_level(logging.WARNING):
        run = go_on(stopped).train(0, 8, 16, 24)
    assert "checkpoints_at=[8] is before the 16 images" in caplog.text
    assert "resume=false" in caplog.text
    assert "vae-8.safetensors" not in run.names()


def test_checkpoints_of_an_earlier_run_are_named(tmp_path, caplog):
    Run(tmp_path).train(0, 8)
    with caplog.at_level(logging.WARNING):
        Run(tmp_path).train(16)
    assert "earlier training of vae, after [0, 8] images" in caplog.text


def test_a_run_that_time_cut_short_names_what_it_did_not_reach(tmp_path, caplog):
    run = Run(tmp_path, minutes=1e-9)
    with caplog.at_level(logging.WARNING):
        run.train(0, 32)
    assert "checkpoints_at=[32] were not reached" in caplog.text
    assert run.names() == ["vae-0.safetensors"]


def test_a_failed_write_leaves_no_half_file(tmp_path, monkeypatch):
    run = Run(tmp_path)
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        run.train(0)
    assert run.names() == []


def test_no_checkpoints_are_the_default():
    settings = config.compose_config(["model=vae"], "train").settings
    assert settings["checkpoints_at"] == []


@pytest.mark.parametrize(
    ("at", "message"),
    [
        (1000, r"must be a list of whole numbers, got 1000: write checkpoints_at=\[0,1000,5000\]"),
        (["many"], "list of whole numbers"),
        ([0.5], "list of whole numbers"),
        ([True], "list of whole numbers"),
        (None, "list of whole numbers"),
        ([5, 1], "ascend from 0 on"),
        ([1, 1], "no number twice"),
        ([-1, 5], "ascend from 0 on"),
        ([1, 101], r"goes beyond training.n_images=100"),
    ],
)
def test_impossible_checkpoints_are_refused(at, message):
    with pytest.raises(ValueError, match=message):
        check_checkpoints(at, 100)


@pytest.mark.parametrize("at", [[], [0], [0, 1, 100]])
def test_ascending_checkpoints_are_accepted(at):
    assert check_checkpoints(at, 100) == at


def test_checkpoints_are_listed_by_number_without_those_of_other_models(tmp_path):
    for name in ("nf-5", "nf-20000", "nf-100", "nf", "nf-new-7", "vae-3", "nf-x"):
        (tmp_path / f"{name}.safetensors").touch()
    assert checkpoints_in(tmp_path, "nf") == [5, 100, 20000]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of checkpoints 0 and 16 of a small VAE; the run has not ended yet."""
    path = tmp_path_factory.mktemp("zoo")
    Run(path).train(0, 16)
    return path


def node(folder, **keys):
    weights = f"{folder}/vae.safetensors"
    return {**small_vae_options(), "weights": weights, "training": {}, **keys}


@pytest.mark.parametrize("images", [0, 16])
def test_a_configuration_chooses_a_checkpoint(folder, images):
    model = config.build_model(node(folder, checkpoint=images), "cpu")
    assert model.card["images_seen"] == str(images)
    saved = load_file(folder / f"vae-{images}.safetensors")
    for key, value in model.state_dict().items():
        assert torch.equal(value, saved[key].float()), key


def test_checkpoints_have_weights_of_their_own_in_every_cache_key(folder):
    hashes = {config.build_model(node(folder, checkpoint=n), "cpu").weights_hash for n in (0, 16)}
    assert len(hashes) == 2


def test_a_relative_folder_is_taken_from_where_the_command_started(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    model = config.build_model(node(folder.name, checkpoint=16), "cpu")
    assert model.card["images_seen"] == "16"


def test_a_checkpoint_of_other_options_is_refused(folder):
    with pytest.raises(ValueError, match="latent_dim=24 but trained with 16"):
        config.build_model(node(folder, checkpoint=16, latent_dim=24), "cpu")


def test_the_checkpoint_is_no_option_of_the_class(folder):
    assert "checkpoint" not in config.model_options(node(folder, checkpoint=16))


def test_a_missing_checkpoint_names_those_that_are_there(folder):
    with pytest.raises(FileNotFoundError, match=r"vae-7.*checkpoints of vae in .* are 0, 16; "):
        config.build_model(node(folder, checkpoint=7), "cpu")


def test_a_packaged_model_without_checkpoints_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="in zoo:faces are none"):
        at_checkpoint("zoo:faces/vae.safetensors", 5, tmp_path)


@pytest.mark.parametrize("images", [-1, 1.5, "last", True])
def test_a_checkpoint_that_is_no_number_is_refused(folder, images):
    with pytest.raises(ValueError, match="checkpoint must be a number of images seen"):
        config.build_model(node(folder, checkpoint=images), "cpu")


@pytest.mark.parametrize(
    "weights",
    [None, "checkpoints:nf.pt", "hf:org/name/a.safetensors", "https://host/a.safetensors"],
)
def test_weights_that_this_project_did_not_train_have_no_checkpoints(weights, tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint=5 goes .*set <role>\.checkpoint"):
        at_checkpoint(weights, 5, tmp_path)


def test_an_untrained_model_has_no_checkpoint(folder):
    with pytest.raises(ValueError, match="left untrained, so checkpoint=16 has no meaning"):
        config.build_model(node(folder, checkpoint=16, init_seed=0), "cpu")


@pytest.mark.parametrize("name", ["vae", "vqvae", "nf", "dm", "gan"])
def test_every_model_of_the_zoo_takes_a_checkpoint(name):
    composed = config.compose_config([f"encoder={name}", "encoder.checkpoint=20000"])
    with pytest.raises(FileNotFoundError, match=f"{name}-20000.safetensors"):
        config.weight_file(composed.models["encoder"].node)


@pytest.mark.slow
def test_the_commands_train_and_compare_checkpoints(tmp_path):
    small = ["data.image_size=32", "tracker=none", "device=cpu", f"cache={tmp_path}/cache"]
    shape = ["channels=[8,8]", "latent_dim=16"]
    done = subprocess.run(
        [
            sys.executable, "-m", "stitching.train", "model=vae", *small, "data.n_pretrain=32",
            *(f"model.{option}" for option in shape), "model.training.n_images=64",
            "model.training.batch_size=8", "checkpoints_at=[0,16]", f"out={tmp_path}/zoo",
            f"hydra.run.dir={tmp_path}/run",
        ],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert checkpoints_in(tmp_path / "zoo", "vae") == [0, 16]
    done = subprocess.run(
        [
            sys.executable, "launch.py", "-m", "encoder=vae", "decoder=vae", *small,
            f"zoo={tmp_path}/zoo", *(f"{r}.{option}" for r in config.ROLES for option in shape),
            "encoder.checkpoint=0,16", "encoder.name=vae-${.checkpoint}", "data.n_train=12",
            "data.n_test=4", "metric=[rmse]", "probe=none", f"hydra.sweep.dir={tmp_path}/sweep",
        ],
        capture_output=True, text=True, timeout=240, cwd=config.conf_dir().parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = {}
    for path in (tmp_path / "sweep").glob("*/metrics.json"):
        metrics = json.loads(path.read_text())
        seen[metrics["encoder"]] = metrics["weights/encoder_images_seen"]
        assert metrics["weights/decoder_images_seen"] == 64
    assert seen == {"vae-0": 0, "vae-16": 16}
