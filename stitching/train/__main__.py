"""Train a model of the zoo: `python -m stitching.train model=nf data=faces`."""

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from torch import Tensor

from stitching import __version__, config
from stitching.compute import devices, progress
from stitching.compute.images import to_uint8
from stitching.compute.interrupts import stopping
from stitching.config.labels import check_name
from stitching.data.base import ImageData, ImageSet, assert_disjoint
from stitching.models.base import GenerativeModel
from stitching.models.gan import GAN
from stitching.models.trainable import Trainable
from stitching.pipeline.cache import Cache
from stitching.records.program import command_line
from stitching.status.texts import duration
from stitching.tracking import Tracker
from stitching.train.adversarial import AdversarialRecipe, AdversarialTrainer
from stitching.train.files import TrainingFiles
from stitching.train.review import N_MEASURED, Review
from stitching.train.trainer import Recipe, Trainer
from stitching.weights.checkpoints import check_checkpoints
from stitching.weights.containers import read_weights
from stitching.weights.loading import load_weights
from stitching.weights.locations import resolve
from stitching.weights.roles import naming_role

log = logging.getLogger(__name__)

UNTRAINABLE = (
    "model {} has no training objective in this project: choose one of conf/model with a section "
    "`training`"
)

#: Percent between lines of a log file, which stand in for the progress bar of a terminal.
_LOGGED_PERCENT = 5
#: Seconds to the first training state; the interval doubles up to `checkpoint_every_s`.
_FIRST_STATE_S = 10.0
#: Exit code of a training that was interrupted: that of a shell after Ctrl-C.
_INTERRUPTED = 130


def load_pixels(images: ImageSet, cache: Cache) -> Tensor:
    """Return all images of a set as bytes, (N, 3, S, S) uint8, cached on disk."""

    def compute() -> dict[str, Tensor]:
        pixels = []
        with progress.bar(len(images), f"reads images of {images.name}", "image") as bar:
            for x in images.batches(256):
                pixels.append(to_uint8(x))
                bar.update(len(x))
        return {"pixels": torch.cat(pixels)}

    return cache.tensors("pixels", {"images": images.fingerprint}, compute)["pixels"]


def train(
    trainer: Trainer,
    pixels: Tensor,
    tracker: Tracker,
    files: TrainingFiles,
    log_every_s: float = 10.0,
    checkpoint_every_s: float = 120.0,
    checkpoints_at: Sequence[int] = (),
) -> None:
    """Train to the end of the schedule, with checkpoints and a progress bar or log lines.

    Args:
        trainer: At the start, or with a loaded training state.
        pixels: Training images, (N, 3, S, S) uint8.
        tracker: Receives losses and other values.
        files: Training states are written early, at intervals, and at the end; weights at
            `checkpoints_at`.
        log_every_s: Seconds between calls of the tracker.
        checkpoint_every_s: Seconds between training states, at most.
        checkpoints_at: Numbers of images seen, ascending.

    Raises:
        KeyboardInterrupt: On SIGINT or SIGTERM, after the state was saved.
    """
    due = files.due(trainer, checkpoints_at)

    def write_due() -> None:
        while due and trainer.images_seen >= due[0]:
            show(files, files.write(trainer, pixels, due.pop(0)), tracker)

    write_due()
    save_every = min(_FIRST_STATE_S, checkpoint_every_s)
    started = last_log = last_save = time.monotonic()
    text, logged = f"train {trainer.model.name}", 0
    begun = min(100 * trainer.progress, 100.0)
    with stopping() as stop, progress.bar(100, text, "%", begun=begun) as bar:
        while trainer.progress < 1 and not stop.requested:
            figures = trainer.advance(pixels)
            write_due()
            percent = min(100 * trainer.progress, 100.0)
            bar.update(percent - bar.done)
            now = time.monotonic()
            if now - last_log > log_every_s or trainer.progress >= 1:
                last_log = now
                figures["images_seen"] = trainer.images_seen
                shown = ", ".join(f"{k} {v:.4g}" for k, v in figures.items() if k != "lr")
                bar.describe(f"{text}: {shown}")
                passed = int(percent / _LOGGED_PERCENT + 1e-6)  # but for rounding
                if (passed > logged or not logged) and not progress.shown():
                    left = (now - started) * (100 - percent) / max(percent - begun, 1e-9)
                    log.info("%s: %.0f %%, %s left, %s", text, percent, duration(left), shown)
                    logged = max(passed, 1)
                tracker.log({f"train/{key}": value for key, value in figures.items()})
            if now - last_save > save_every:
                last_save = now
                save_every = min(2 * save_every, checkpoint_every_s)
                files.save_state(trainer)
        files.save_state(trainer)
    if trainer.progress < 1:
        raise KeyboardInterrupt
    if due:
        log.warning(
            "checkpoints_at=%s were not reached: the run ended after %d images, since minutes=%s",
            *(due, trainer.images_seen, trainer.minutes),
        )


def show(files: TrainingFiles, weights: Path, tracker: Tracker) -> None:
    """Give the sheet of pictures beside a file of weights to the tracker."""
    sheet = files.sheet_of(weights)
    if sheet is not None:
        tracker.image("train/images", sheet)


def make_trainer(
    model: GenerativeModel, training: Mapping[str, Any], n: int | None = None, **settings: Any
) -> Trainer:
    """Return the trainer for a model.

    Args:
        model: The model.
        training: Options of the recipe.
        n: Number of training images, which limits the length of a training on few.
        settings: Of `Trainer`.

    Raises:
        TypeError: The model is not `Trainable`.
        ValueError: An option is missing, unknown or out of range.
    """
    if not isinstance(model, Trainable):
        raise TypeError(UNTRAINABLE.format(model.name))
    known = fields(AdversarialRecipe if isinstance(model, GAN) else Recipe)
    names = [field.name for field in known]
    if unknown := [key for key in training if key not in names]:
        raise ValueError(
            f"model.training.{unknown[0]} is no option of a training of {model.name}: there are "
            f"{', '.join(names)}"
        )
    needed = [field.name for field in known if field.default is MISSING]
    if missing := [name for name in needed if name not in training]:
        raise ValueError(f"a training of {model.name} needs model.training.{missing[0]}: give it")
    if isinstance(model, GAN):
        return AdversarialTrainer(model, AdversarialRecipe(**training).limited_to(n), **settings)
    return Trainer(model, Recipe(**training).limited_to(n), **settings)


def run(cfg: DictConfig) -> Path:
    """Train as configured and return the path of the weights."""
    if isinstance(cfg.model, DictConfig) and "training" not in cfg.model:
        raise ValueError(UNTRAINABLE.format(cfg.model.get("name")))
    plain = config.resolve(cfg, "train").settings
    if plain["threads"]:
        torch.set_num_threads(plain["threads"])
    check_name("model", plain["model"]["name"])
    data = config.build_data(plain["data"], plain["cache"])
    options = config.model_options(plain["model"])
    tracker: Tracker = config.build(plain["tracker"], "tracker")
    torch.manual_seed(plain["seed"])
    with naming_role("model", options["name"]):
        model: GenerativeModel = config.build(options, "model")
    if plain["init"] is not None:
        with naming_role("init", plain["init"]):
            load_weights(model, read_weights(resolve(config.absolute(plain["init"]))), options)
    model.to(devices.pick_device(plain["device"]))
    images = training_images(data)
    trainer = make_trainer(
        model,
        plain["training"],
        len(images),
        seed=plain["seed"],
        dtype=plain["dtype"],
        minutes=plain["minutes"],
        options=options,
        warm=plain["init"] is not None,
    )
    checkpoints_at = check_checkpoints(plain["checkpoints_at"], trainer.recipe.n_images)
    card = {
        "model": model.name,
        "data": data.name,
        "image_size": str(data.image_size),
        "seed": str(plain["seed"]),
        "weights": trainer.recipe.averaging,
        "objective": trainer.recipe.objective,
        "stitching": __version__,
        "torch": torch.__version__,
    }
    files = TrainingFiles(_out(plain), model.name, options, card)
    files.require_free(checkpoints_at)
    trainer.origin = {"data": images.fingerprint, "init": model.weights_hash or "none"}
    if plain["resume"] and files.load_state(trainer):
        log.info("going on from %s at step %d", files.state, trainer.step)
    log.info("%s", plan_of(trainer, images, plain["training"]["n_images"]))
    cache = Cache(config.cache_root(plain["cache"]))
    pixels = load_pixels(images, cache)
    test = test_images(data)
    unseen = pixels[:0] if test is None else load_pixels(test, cache)
    files = replace(files, review=Review(pixels, unseen))
    folder = Path(HydraConfig.get().runtime.output_dir)
    with tracker:
        group = f"train-{data.name}"
        tracker.start(plain, f"train-{model.name}", group, folder, job_type="train")
        train(
            trainer,
            pixels,
            tracker,
            files,
            plain["log_every_s"],
            plain["checkpoint_every_s"],
            checkpoints_at,
        )
        weights = files.write(trainer, pixels)
        show(files, weights, tracker)
        written = read_weights(weights).card.items()
        errors = {f"train/{key}": float(x) for key, x in written if key.startswith("rmse_")}
        tracker.summarize(errors)
    return weights


def plan_of(trainer: Trainer, images: ImageSet, n_wanted: int) -> str:
    """Return the line at the start: how many images are seen how often."""
    n, seen = len(images), trainer.recipe.n_images
    text = (
        f"trains {trainer.model.name} on {n:,} images of {images.name}: {seen:,} in steps of "
        f"{trainer.recipe.batch_size}, each {seen / n:.3g} times"
    )
    if seen < n_wanted:
        text += (
            f"; not {n_wanted:,} (model.training.n_images): a model learns few images by heart. "
            "model.training.epochs=null lifts this limit"
        )
    return text


def training_images(data: ImageData) -> ImageSet:
    """Return the images to train on, the split `pretrain`; a test split need not exist.

    Raises:
        ValueError: A test image is among them, or there is no such split.
        FileNotFoundError: Files are missing.
    """
    images = data.split("pretrain")
    try:
        test = data.split("test")
    except (ValueError, OSError) as error:
        # `pretrain` excludes the test part by id, however small it is.
        reason = str(error).partition(": ")[0]
        log.info("trains without test images to compare ids with: %s", reason)
    else:
        assert_disjoint(images, test)
    return images


def test_images(data: ImageData) -> ImageSet | None:
    """Return test images to show and measure weights on; None where there are none."""
    try:
        return data.some_test(N_MEASURED)
    except (ValueError, OSError) as error:
        log.info("shows no test images: %s", str(error).partition(": ")[0])
        return None


def going_on(cfg: DictConfig) -> str:
    """Return the line shown after an interrupt: the training state, and how to continue."""
    plain = config.to_plain(cfg)
    words = [word for word in sys.argv[1:] if not word.startswith("resume=")]
    command = command_line("train", *words)
    state = _out(plain) / f"{plain['model']['name']}.checkpoint"
    if state.is_file():
        return f"interrupted: the training state is in {state}; go on with `{command}`"
    return f"interrupted before there was a training state; start again with `{command}`"


def _out(plain: Mapping[str, Any]) -> Path:
    return Path(config.absolute(plain["out"]))


@hydra.main(version_base="1.3", config_path=str(config.conf_dir()), config_name="train")
def main(cfg: DictConfig) -> None:
    """Train the model that Hydra composed."""
    try:
        run(cfg)
    except config.USER_ERRORS as error:
        log.error("%s", error)
        sys.exit(1)
    except KeyboardInterrupt:
        log.warning("%s", going_on(cfg))
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    config.register_roles()
    main()
