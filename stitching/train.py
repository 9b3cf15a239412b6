"""Train a model of the zoo: `python -m stitching.train model=nf data=faces`."""

import copy
import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from torch import Tensor

from stitching import __version__, config, progress
from stitching.cache import Cache
from stitching.data.base import ImageSet
from stitching.models.base import GenerativeModel
from stitching.models.checkpoints import check_checkpoints, checkpoint_name, checkpoints_in
from stitching.models.containers import read_weights
from stitching.models.gan import GAN
from stitching.models.weights import load_weights, resolve, save_weights
from stitching.tracking import Tracker
from stitching.train_gan import AdversarialRecipe, AdversarialTrainer
from stitching.trainer import Recipe, Trainer

log = logging.getLogger(__name__)

#: A log file gets a line whenever so many percent more are done; a terminal has a bar.
_TOLD_PERCENT = 5


def load_pixels(images: ImageSet, cache: Cache) -> Tensor:
    """Return all images of a set as bytes, (N, 3, S, S) uint8, kept on disk once made."""
    from stitching.images import to_uint8

    def compute() -> dict[str, Tensor]:
        pixels = []
        with progress.bar(len(images), f"reads images of {images.name}", "image") as bar:
            for x in images.batches(256):
                pixels.append(to_uint8(x))
                bar.update(len(x))
        return {"pixels": torch.cat(pixels)}

    return cache.tensors("pixels", {"images": images.fingerprint}, compute)["pixels"]


@dataclass(frozen=True)
class Weights:
    """Where a training writes weights, and with which card.

    Attributes:
        folder: Of the files.
        options: Of the model.
        card: Entries of the card, without the images seen.
    """

    folder: Path
    options: Mapping[str, Any]
    card: Mapping[str, str]

    def write(self, trainer: Trainer, pixels: Tensor, checkpoint: int | None = None) -> Path:
        """Write the averaged weights as they are now, finished, and return the file.

        Args:
            trainer: The training, which goes on as if nothing had been written.
            pixels: Training images, (N, 3, S, S) uint8.
            checkpoint: The number of images in the file's name; None at the end of the run.
        """
        name, size = trainer.model.name, trainer.recipe.batch_size
        file = f"{name}.safetensors" if checkpoint is None else checkpoint_name(name, checkpoint)
        # What a run that started from weights has seen includes what those had seen.
        seen = trainer.images_seen + int(trainer.model.card.get("images_seen", 0))
        model = copy.deepcopy(trainer.average)
        model.finish_training(part.float() / 255 for part in pixels[: size * 400].split(size))
        path = self.folder / file
        save_weights(model, path, self.options, {**self.card, "images_seen": str(seen)})
        log.info("weights after %d images: %s", seen, path)
        return path

    def due(self, trainer: Trainer, at: Sequence[int]) -> Iterator[int]:
        """Return the checkpoints still to be written, and say which never will be."""
        name = trainer.model.name
        here = checkpoints_in(self.folder, name)
        if trainer.step == 0 and here:
            log.warning(
                "%s holds checkpoints of an earlier training of %s, after %s images: those that "
                "are not among checkpoints_at=%s stay as they are",
                *(self.folder, name, here, list(at)),
            )
        # Files are written before the state that comes after them, so what a state has passed
        # is there; what came after it is written again, from the same weights.
        passed = [n for n in at if trainer.step > 0 and n <= trainer.images_seen]
        lost = [n for n in passed if n not in here]
        if lost:
            log.warning(
                "checkpoints_at=%s lies behind the %d images of the state that training goes on "
                "from: to have them too, train with resume=false",
                *(lost, trainer.images_seen),
            )
        return iter(at[len(passed) :])


def train(
    trainer: Trainer,
    pixels: Tensor,
    tracker: Tracker,
    checkpoint: Path | None,
    log_every_s: float = 10.0,
    checkpoint_every_s: float = 120.0,
    weights: Weights | None = None,
    checkpoints_at: Sequence[int] = (),
) -> None:
    """Run to the end of the schedule, with figures, checkpoints, and a progress bar or log lines.

    Args:
        trainer: At its beginning, or where a training state left it.
        pixels: Training images, (N, 3, S, S) uint8.
        tracker: Receives figures.
        checkpoint: File of the training state, or None.
        log_every_s: Seconds between figures.
        checkpoint_every_s: Seconds between training states.
        weights: Where weights are written at `checkpoints_at`.
        checkpoints_at: Numbers of images seen, ascending.
    """
    due = list(weights.due(trainer, checkpoints_at)) if weights is not None else []

    def write_due() -> None:
        while weights is not None and due and trainer.images_seen >= due[0]:
            weights.write(trainer, pixels, due.pop(0))

    write_due()
    last_log = last_save = time.monotonic()
    text, told = f"train {trainer.model.name}", 0
    with progress.bar(100, text, "%", begun=min(100 * trainer.progress, 100.0)) as bar:
        while trainer.progress < 1:
            figures = trainer.advance(pixels)
            write_due()
            percent = min(100 * trainer.progress, 100.0)
            bar.update(percent - bar.done)
            now = time.monotonic()
            if now - last_log > log_every_s or trainer.progress >= 1:
                last_log = now
                figures["images_seen"] = trainer.images_seen
                shown = ", ".join(f"{k} {v:.4g}" for k, v in figures.items() if k != "lr")
                bar.say(f"{text}: {shown}")
                passed = int(percent / _TOLD_PERCENT + 1e-6)  # but for rounding
                if passed > told and not progress.shown():
                    log.info("%s: %.0f %%, %s", text, percent, shown)
                    told = passed
                tracker.log({f"train/{key}": value for key, value in figures.items()})
            if checkpoint is not None and now - last_save > checkpoint_every_s:
                last_save = now
                trainer.save(checkpoint)
    if checkpoint is not None:
        trainer.save(checkpoint)
    if due:
        log.warning(
            "checkpoints_at=%s were not reached: the run ended after %d images, since minutes=%s",
            *(due, trainer.images_seen, trainer.minutes),
        )


def make_trainer(model: GenerativeModel, training: Mapping[str, Any], **settings: Any) -> Trainer:
    """Return the trainer for a model.

    Args:
        model: What to train.
        training: Options of the recipe.
        settings: Further arguments of `Trainer`.

    Raises:
        TypeError: An option is missing or unknown.
        ValueError: One is out of range.
    """
    if isinstance(model, GAN):
        return AdversarialTrainer(model, AdversarialRecipe(**training), **settings)
    return Trainer(model, Recipe(**training), **settings)


def run(cfg: DictConfig) -> Path:
    """Train as configured and return the path of the weights."""
    config.check_keys(cfg, "train")
    plain: Mapping[str, Any] = config.to_plain(cfg)
    if plain["threads"]:
        torch.set_num_threads(plain["threads"])
    data = config.build_data(cfg.data)
    data.check(["pretrain"])
    options = config.model_options(cfg.model)
    out = Path(config.absolute(plain["out"]))
    tracker: Tracker = config.build(cfg.tracker, "tracker")
    torch.manual_seed(plain["seed"])
    model: GenerativeModel = config.build(options, "model")
    if plain["init"] is not None:
        load_weights(model, read_weights(resolve(config.absolute(plain["init"]))), options)
    model.to(config.pick_device(plain["device"]))
    trainer = make_trainer(
        model,
        plain["training"],
        seed=plain["seed"],
        dtype=plain["dtype"],
        minutes=plain["minutes"],
        options=options,
        warm=plain["init"] is not None,
    )
    checkpoints_at = check_checkpoints(plain["checkpoints_at"], trainer.recipe.n_images)
    state = out / f"{model.name}.checkpoint"
    if plain["resume"] and state.is_file():
        trainer.load(state)
        log.info("going on from %s at step %d", state, trainer.step)
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
    weights = Weights(out, options, card)
    pixels = load_pixels(data.split("pretrain"), Cache(config.cache_root(plain["cache"])))
    folder = Path(HydraConfig.get().runtime.output_dir)
    with tracker:
        group = f"train-{data.name}"
        tracker.start(plain, f"train-{model.name}", group, folder, job_type="train")
        train(
            trainer,
            pixels,
            tracker,
            state,
            plain["log_every_s"],
            plain["checkpoint_every_s"],
            weights,
            checkpoints_at,
        )
    return weights.write(trainer, pixels)


@hydra.main(version_base="1.3", config_path=str(config.conf_dir()), config_name="train")
def main(cfg: DictConfig) -> None:
    """Train the model that Hydra composed."""
    try:
        run(cfg)
    except config.USER_ERRORS as error:
        log.error("%s", error)
        sys.exit(1)


if __name__ == "__main__":
    config.register_roles()
    main()
