"""Train a model of the zoo: `python -m stitching.train model=nf data=faces`.

The order of images, the noise and the schedule depend on the seed and the step alone, so a run
that was stopped goes on as if it had not been.
"""

import copy
import json
import logging
import math
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from torch import Tensor

from stitching import __version__, config
from stitching.cache import Cache
from stitching.data.base import ImageSet
from stitching.models.base import WARMUP_END, GenerativeModel
from stitching.models.containers import read_weights
from stitching.models.weights import architecture, load_weights, resolve, save_weights
from stitching.tracking import Tracker

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        n_images: Images seen in all, repeats counted.
        batch_size: Images per step.
        lr: Peak learning rate of Adam; warmed up over 2 % of the run, then a cosine to zero.
        ema: Decay of the averaged weights that are saved, or None for the raw ones.
    """

    n_images: int
    batch_size: int
    lr: float
    ema: float | None

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: A value is out of range.
        """
        if self.n_images < self.batch_size or self.batch_size < 1:
            raise ValueError(
                f"training needs n_images >= batch_size >= 1, got {self.n_images} and "
                f"{self.batch_size}"
            )
        if self.lr <= 0:
            raise ValueError(f"training.lr must be > 0, got {self.lr}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"training.ema must lie between 0 and 1, got {self.ema}")


class Trainer:
    """Model, averaged model, optimiser and position of one training run.

    Args:
        model: The model to train, on its device.
        recipe: How.
        seed: Of image order and noise.
        dtype: `float32`, or `bfloat16` for autocast.
        minutes: Time to fit the schedule into, or None.
        options: Of the model: a training state of other options is refused.
        warm: The model starts from trained weights: its objective is not warmed up again.
    """

    def __init__(
        self,
        model: GenerativeModel,
        recipe: Recipe,
        seed: int,
        dtype: str = "float32",
        minutes: float | None = None,
        options: Mapping[str, Any] | None = None,
        warm: bool = False,
    ) -> None:
        if dtype not in ("float32", "bfloat16"):
            raise ValueError(f"training dtype must be float32 or bfloat16, got {dtype!r}")
        self.model, self.recipe, self.seed, self.minutes = model, recipe, seed, minutes
        self.autocast, self.warm = dtype == "bfloat16", warm
        self.average = copy.deepcopy(model) if recipe.ema is not None else model
        self.optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr)
        # Options such as the prediction of a diffusion model leave no trace in tensors' shapes.
        self.architecture = json.dumps(architecture(options or {}), sort_keys=True)
        self.step = 0
        self.seconds = 0.0

    @property
    def progress(self) -> float:
        """Share of the run done, by images or by time, whichever is further."""
        by_images = self.step * self.recipe.batch_size / self.recipe.n_images
        by_time = self.seconds / (self.minutes * 60) if self.minutes else 0.0
        return max(by_images, by_time)

    def advance(self, pixels: Tensor) -> dict[str, float]:
        """Do one step on images drawn from `pixels` (N, 3, S, S) uint8; return what to log."""
        started = time.monotonic()
        device = next(self.model.parameters()).device
        # Position in the stream of epochs, each a fresh permutation: independent of restarts.
        torch.manual_seed(self.seed * 1_000_003 + self.step)
        x = pixels[self._indices(len(pixels))].to(device).float() / 255
        progress = self.progress
        warmup = min(1.0, (progress + 1e-4) / 0.02)
        rate = self.recipe.lr * warmup * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.autocast):
            stage = max(progress, WARMUP_END) if self.warm else progress
            loss, figures = self.model.training_loss(x, stage)
        self.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        if not torch.isfinite(norm):
            raise FloatingPointError(
                f"training diverged at step {self.step}: gradient norm {float(norm)}; "
                "lower training.lr"
            )
        self.optimizer.step()
        self.step += 1
        self._update_average()
        self.seconds += time.monotonic() - started
        return {"loss": float(loss.detach()), "lr": rate, **figures}

    def _indices(self, n: int) -> Tensor:
        first = self.step * self.recipe.batch_size
        picks = []
        for position in range(first, first + self.recipe.batch_size):
            epoch, place = divmod(position, n)
            picks.append(int(self._permutation(epoch, n)[place]))
        return torch.tensor(picks)

    def _permutation(self, epoch: int, n: int) -> Tensor:
        if getattr(self, "_epoch", None) != (epoch, n):
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._order = torch.randperm(n, generator=generator)
            self._epoch = (epoch, n)
        return self._order

    @torch.no_grad()
    def _update_average(self) -> None:
        if self.recipe.ema is None:
            return
        # A short memory at first, so that the average forgets the start of a short run.
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        own = dict(self.model.named_parameters())
        for key, value in self.average.named_parameters():
            value.lerp_(own[key], 1 - decay)
        for ours, theirs in zip(self.average.buffers(), self.model.buffers(), strict=True):
            ours.copy_(theirs)

    def save(self, path: Path) -> None:
        """Write the training state, atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        torch.save(
            {
                "model": self.model.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
                "seconds": self.seconds,
                "architecture": self.architecture,
            },
            partial,
        )
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a training state.

        Raises:
            ValueError: It belongs to a model with other options.
        """
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state.get("architecture", self.architecture) != self.architecture:
            raise ValueError(
                f"{path} belongs to a model with other options, {state['architecture']} instead "
                f"of {self.architecture}: remove it, train with resume=false, or change out="
            )
        try:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise ValueError(
                f"{path} does not fit this model: remove it, or train with resume=false ({error})"
            ) from error
        self.step, self.seconds = state["step"], state["seconds"]


def load_pixels(images: ImageSet, cache: Cache) -> Tensor:
    """Return all images of a set as bytes, (N, 3, S, S) uint8, kept on disk once made."""
    from tqdm import tqdm

    from stitching.images import to_uint8

    def compute() -> dict[str, Tensor]:
        size = 256
        batches = tqdm(
            images.batches(size), f"images of {images.name}", math.ceil(len(images) / size)
        )
        return {"pixels": torch.cat([to_uint8(x) for x in batches])}

    return cache.tensors("pixels", {"images": images.fingerprint}, compute)["pixels"]


def train(
    trainer: Trainer,
    pixels: Tensor,
    tracker: Tracker,
    checkpoint: Path | None,
    log_every_s: float = 10.0,
    checkpoint_every_s: float = 120.0,
) -> None:
    """Run to the end of the schedule, with a progress bar, figures and checkpoints."""
    from tqdm import tqdm

    last_log = last_save = time.monotonic()
    with tqdm(total=100.0, desc=f"train {trainer.model.name}", unit="%") as bar:
        bar.bar_format = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"
        while trainer.progress < 1:
            figures = trainer.advance(pixels)
            bar.update(min(100 * trainer.progress, 100.0) - bar.n)
            now = time.monotonic()
            if now - last_log > log_every_s or trainer.progress >= 1:
                last_log = now
                figures["images_seen"] = trainer.step * trainer.recipe.batch_size
                bar.set_postfix({k: f"{v:.4g}" for k, v in figures.items() if k != "lr"})
                tracker.log({f"train/{key}": value for key, value in figures.items()})
            if checkpoint is not None and now - last_save > checkpoint_every_s:
                last_save = now
                trainer.save(checkpoint)
    if checkpoint is not None:
        trainer.save(checkpoint)


def run(cfg: DictConfig) -> Path:
    """Train as configured and return the path of the weights."""
    plain: Mapping[str, Any] = config.to_plain(cfg)
    if plain["threads"]:
        torch.set_num_threads(plain["threads"])
    data = config.build_data(cfg.data)
    data.check(["pretrain"])
    recipe = Recipe(**plain["training"])
    options = config.model_options(cfg.model)
    out = Path(config.absolute(plain["out"]))
    tracker: Tracker = config.build(cfg.tracker)
    torch.manual_seed(plain["seed"])
    model: GenerativeModel = config.build(options)
    if plain["init"] is not None:
        load_weights(model, read_weights(resolve(config.absolute(plain["init"]))), options)
    model.to(config.pick_device(plain["device"]))
    trainer = Trainer(
        model,
        recipe,
        plain["seed"],
        plain["dtype"],
        plain["minutes"],
        options,
        warm=plain["init"] is not None,
    )
    checkpoint = out / f"{model.name}.checkpoint"
    if plain["resume"] and checkpoint.is_file():
        trainer.load(checkpoint)
        log.info("going on from %s at step %d", checkpoint, trainer.step)
    pixels = load_pixels(data.split("pretrain"), Cache(config.cache_root(plain["cache"])))
    folder = Path(HydraConfig.get().runtime.output_dir)
    with tracker:
        tracker.start(plain, f"train-{model.name}", f"train-{data.name}", folder)
        train(
            trainer,
            pixels,
            tracker,
            checkpoint,
            plain["log_every_s"],
            plain["checkpoint_every_s"],
        )
    # What a run that started from weights has seen includes what those had seen.
    seen = trainer.step * recipe.batch_size + int(model.card.get("images_seen", 0))
    some = pixels[: recipe.batch_size * 400].split(recipe.batch_size)
    trainer.average.finish_training(part.float() / 255 for part in some)
    path = out / f"{model.name}.safetensors"
    card = {
        "model": model.name,
        "data": data.name,
        "image_size": str(data.image_size),
        "images_seen": str(seen),
        "seed": str(plain["seed"]),
        "weights": "raw" if recipe.ema is None else f"average {recipe.ema}",
        "stitching": __version__,
        "torch": torch.__version__,
    }
    save_weights(trainer.average, path, options, card)
    log.info("weights: %s", path)
    return path


@hydra.main(version_base="1.3", config_path=str(config.conf_dir()), config_name="train")
def main(cfg: DictConfig) -> None:
    """Train the model that Hydra composed."""
    try:
        run(cfg)
    except config.USER_ERRORS as error:
        log.error("%s", error)
        sys.exit(1)


if __name__ == "__main__":
    main()
