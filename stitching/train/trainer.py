"""The steps of a training, and the state from which a stopped one is resumed.

The order of images, the noise and the schedule depend on the seed and the step alone, so a resumed
run ends with the weights of one that was not stopped.
"""

import copy
import dataclasses
import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Self

import torch
from torch import Tensor, nn

from stitching.models.flow import Glow
from stitching.models.trainable import WARMUP_END, Trainable
from stitching.train.perceptual import PerceptualLoss
from stitching.weights.loading import architecture, load_strictly

#: Remedy for a training state that does not fit.
_REMEDY = "train with out=ANOTHER_FOLDER, or start anew in its place with resume=false"


@dataclass(frozen=True)
class Recipe:
    """Options of a training.

    Attributes:
        n_images: Images seen in total, with repeats.
        batch_size: Images per step.
        lr: Peak learning rate of Adam; warmed up over 2 % of the run, then a cosine to zero.
        ema: Decay per step of the averaged weights that are saved, or None.
        ema_images: The same as a half-life in images. With neither, raw weights are saved.
        lpips: Weight of `PerceptualLoss` beside the objective; 0: without.
        inverse: Weight of `Glow.inverse_gain` beside the objective; 0: without.
        epochs: How often each image is seen at most: shortens the training on few images, which
            would be learned by heart. None: no limit.
    """

    n_images: int
    batch_size: int
    lr: float
    ema: float | None = None
    ema_images: float | None = None
    lpips: float = 0.0
    inverse: float = 0.0
    epochs: int | None = 400

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
        if self.ema_images is not None and self.ema_images <= 0:
            raise ValueError(f"training.ema_images must be > 0, got {self.ema_images}")
        for name, weight in (("lpips", self.lpips), ("inverse", self.inverse)):
            if weight < 0:
                raise ValueError(f"training.{name} must be >= 0, got {weight}")
        if self.epochs is not None and self.epochs < 1:
            raise ValueError(f"training.epochs must be >= 1, or null, got {self.epochs}")
        if self.ema is not None and self.ema_images is not None:
            raise ValueError(
                f"training.ema={self.ema} and training.ema_images={self.ema_images} both say how "
                "long weights are averaged: set one of them to null"
            )

    def limited_to(self, n: int | None) -> Self:
        """Return the recipe for a training on n images, seen at most `epochs` times each.

        None stands for any number of images.
        """
        if n is None or self.epochs is None:
            return self
        n_images = min(self.n_images, max(self.epochs * n, self.batch_size))
        return dataclasses.replace(self, n_images=n_images)

    @property
    def decay(self) -> float | None:
        """Decay per step of the averaged weights, None without an average."""
        if self.ema_images is not None:
            return float(0.5 ** (self.batch_size / self.ema_images))
        return self.ema

    @property
    def objective(self) -> str:
        """The objective as text."""
        terms = {"LPIPS (VGG)": self.lpips, "gain of the inverse": self.inverse}
        return " + ".join(
            ["own", *(f"{weight:g} {name}" for name, weight in terms.items() if weight)]
        )

    @property
    def averaging(self) -> str:
        """The kind of the saved weights as text."""
        if self.ema_images is not None:
            return f"average, half-life {self.ema_images:g} images"
        return "raw" if self.ema is None else f"average {self.ema}"


class Trainer:
    """Model, averaged model, optimiser and position of one training run.

    Args:
        model: The model to train, on its device.
        recipe: Options of the training.
        seed: Of image order and noise.
        dtype: `float32`, or `bfloat16` for autocast.
        minutes: Duration of the schedule if it ends before `n_images`, or None.
        options: Of the model: a training state of other options is refused.
        warm: Whether the model starts from trained weights, which skips the warm-up.
    """

    #: Of Adam.
    betas = (0.9, 0.999)

    def __init__(
        self,
        model: Trainable,
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
        self.average = copy.deepcopy(model) if recipe.decay is not None else model
        if recipe.lpips > 0:
            if not model.learns_perceptually:
                raise ValueError(
                    f"training.lpips={recipe.lpips}: the objective of model {model.name} makes no "
                    "images that could be compared; set training.lpips=0"
                )
            model.perceptual = PerceptualLoss(recipe.lpips, model.device)
        if recipe.inverse > 0:
            if not isinstance(model, Glow):
                raise ValueError(
                    f"training.inverse={recipe.inverse}: model {model.name} is no flow, it has no "
                    "exact inverse; set training.inverse=0"
                )
            model.inverse_weight = recipe.inverse
        self.optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr, betas=self.betas)
        # Shapes do not depend on options such as the prediction of a diffusion model.
        self.architecture = json.dumps(architecture(options or {}), sort_keys=True)
        #: Of images and starting weights, by name: a training state of others is refused.
        self.origin: dict[str, str] = {}
        self.step = 0
        self.seconds = 0.0

    @property
    def images_seen(self) -> int:
        """Images seen so far, with repeats."""
        return self.step * self.recipe.batch_size

    @property
    def progress(self) -> float:
        """Share of the run done, by images or by time, whichever is larger."""
        by_images = self.images_seen / self.recipe.n_images
        by_time = self.seconds / (self.minutes * 60) if self.minutes else 0.0
        return max(by_images, by_time)

    def advance(self, pixels: Tensor) -> dict[str, float]:
        """Do one step on images drawn from `pixels` (N, 3, S, S) uint8; return values to log."""
        started = time.monotonic()
        torch.manual_seed(self.seed * 1_000_003 + self.step)
        x = pixels[self._indices(len(pixels))].to(self.model.device).float() / 255
        progress = self.progress
        warmup = min(1.0, (progress + 1e-4) / 0.02)
        rate = self.recipe.lr * warmup * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        self.model.train()
        figures = self._update(x, progress, rate)
        self.step += 1
        self._update_average()
        self.seconds += time.monotonic() - started
        return {**figures, "lr": rate}

    def _update(self, x: Tensor, progress: float, rate: float) -> dict[str, float]:
        """Update the weights by images (N, 3, S, S) in [0, 1]; return values to log."""
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            stage = max(progress, WARMUP_END) if self.warm else progress
            loss, figures = self.model.training_loss(x, stage)
        self._descend(loss, self.model.parameters(), self.optimizer, rate, max_norm=1.0)
        return {"loss": float(loss.detach()), **figures}

    def _descend(
        self,
        loss: Tensor,
        parameters: Iterable[nn.Parameter],
        optimizer: torch.optim.Optimizer,
        rate: float,
        max_norm: float,
    ) -> None:
        """Do one step of an optimiser, with the gradient's norm limited to `max_norm`."""
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("pace", 1.0)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        if not torch.isfinite(norm):
            raise FloatingPointError(
                f"training diverged at step {self.step}: gradient norm {float(norm)}; "
                "lower training.lr"
            )
        optimizer.step()

    def _indices(self, n: int) -> Tensor:
        """The next images of n, in a stream of epochs, each a permutation of its own."""
        positions = range(self.images_seen, self.images_seen + self.recipe.batch_size)
        return torch.stack([self._permutation(p // n, n)[p % n] for p in positions])

    def _permutation(self, epoch: int, n: int) -> Tensor:
        if getattr(self, "_epoch", None) != (epoch, n):
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._order = torch.randperm(n, generator=generator)
            self._epoch = (epoch, n)
        return self._order

    @torch.no_grad()
    def _update_average(self) -> None:
        if self.recipe.decay is None:
            return
        # A smaller decay at first, so that the average forgets the start of a short run.
        decay = min(self.recipe.decay, (1 + self.step) / (10 + self.step))
        own = dict(self.model.named_parameters())
        for key, value in self.average.named_parameters():
            value.lerp_(own[key], 1 - decay)
        for ours, theirs in zip(self.average.buffers(), self.model.buffers(), strict=True):
            ours.copy_(theirs)

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """Everything with a state, by its key in the state file."""
        return {"model": self.model, "average": self.average, "optimizer": self.optimizer}

    def _described(self) -> str:
        """The identity of this training among those of the same model, as JSON."""
        dtype = "bfloat16" if self.autocast else "float32"
        settings = {**self.origin, "seed": self.seed, "dtype": dtype, **asdict(self.recipe)}
        return json.dumps(settings, sort_keys=True)

    def write(self, path: Path) -> None:
        """Write the training state."""
        state: dict[str, Any] = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {"step": self.step, "seconds": self.seconds, "architecture": self.architecture}
        torch.save(state | {"training": self._described()}, path)

    def load(self, path: Path) -> None:
        """Load a training state.

        Raises:
            ValueError: It is damaged, or belongs to a model with other options or to a training
                with another seed, recipe, precision, start, or other images.
        """
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            known = {"model", "step", "seconds"} <= state.keys()
        except (RuntimeError, EOFError, ValueError, AttributeError, UnpicklingError) as error:
            raise ValueError(
                f"{path} is damaged, or no training state ({str(error).partition('.')[0]}): "
                f"{_REMEDY}"
            ) from error
        if not known:
            raise ValueError(f"{path} is no training state: {_REMEDY}")
        other = architecture(json.loads(state.get("architecture", self.architecture)))
        if other != json.loads(self.architecture):
            raise ValueError(
                f"{path} belongs to a model with other options, {state['architecture']} instead "
                f"of {self.architecture}: {_REMEDY}"
            )
        found, own = (json.loads(t) for t in (state.get("training", "{}"), self._described()))
        wrong = [
            f"{key}={own.get(key)!r} but there {value!r}"
            for key, value in found.items()
            if value != own.get(key)
        ]
        if wrong:
            raise ValueError(f"{path} belongs to another training, {'; '.join(wrong)}: {_REMEDY}")
        if lost := sorted(self._parts().keys() - state.keys()):
            raise ValueError(f"{path} does not fit this model, it has no {lost}: {_REMEDY}")
        for name, part in self._parts().items():
            if isinstance(part, nn.Module):
                load_strictly(part, state[name], path, f"{name} of {self.model.name}", _REMEDY)
                continue
            try:
                part.load_state_dict(state[name])
            except (RuntimeError, ValueError) as error:
                raise ValueError(f"{path} does not fit this model: {_REMEDY} ({error})") from error
        self.step, self.seconds = state["step"], state["seconds"]
