"""The files of a training: its state, its weights, and the record that lists them."""

import copy
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from stitching.models.trainable import Trainable
from stitching.records.files import sha256_of
from stitching.records.ledger import Ledger
from stitching.train.review import Errors, Review
from stitching.train.trainer import Trainer
from stitching.weights.checkpoints import checkpoint_name, checkpoints_in
from stitching.weights.loading import weights_bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingFiles:
    """State and weights of a training in a folder.

    `NAME.training.json` lists the files that trainings of the model wrote to the folder. Other
    files are never overwritten.

    Attributes:
        folder: Of the files.
        name: Of the model, and of the files.
        options: Of the model.
        card: Entries of the card of weights, without the images seen.
        review: Of every file of weights: a sheet of pictures beside it, and in the card of the
            last one errors of reconstructions; None for neither.
    """

    folder: Path
    name: str
    options: Mapping[str, Any]
    card: Mapping[str, str]
    review: Review | None = None

    @property
    def state(self) -> Path:
        """Path of the training state."""
        return self.folder / f"{self.name}.checkpoint"

    def require_free(self, checkpoints_at: Sequence[int]) -> None:
        """Check that no file of other origin has a name that the training needs.

        Raises:
            FileExistsError: There are such files; the message names them.
        """
        weights = [self._weights(each) for each in (None, *checkpoints_at)]
        names = [self.state.name, *weights, *map(_sheet_name, weights)]
        self._ledger.require_free(names, "train with out=ANOTHER_FOLDER")

    def load_state(self, trainer: Trainer) -> bool:
        """Load the training state, if there is one; return whether there is.

        Raises:
            ValueError: It is damaged, or belongs to another training.
        """
        if not self.state.is_file():
            return False
        written = self._ledger.listed().get(self.state.name)
        if written is not None and sha256_of(self.state) not in written:
            raise ValueError(
                f"{self.state} is damaged: it is not what the training wrote. Start anew with "
                "resume=false, or restore it from a copy"
            )
        trainer.load(self.state)
        return True

    def save_state(self, trainer: Trainer) -> Path:
        """Write the training state atomically, and return the file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f".{self.state.name}.{os.getpid()}.partial"
        try:
            trainer.write(partial)
            return self._ledger.adopt(self.state.name, partial)
        finally:
            partial.unlink(missing_ok=True)

    def write(self, trainer: Trainer, pixels: Tensor, checkpoint: int | None = None) -> Path:
        """Write the averaged weights, with a prior fitted to pixels, and return the file.

        The trainer is not changed. Without a `checkpoint`, the file is that of the run's end. A
        sheet of pictures is written beside it, `sheet_of` names it.
        """
        size = trainer.recipe.batch_size
        # Including the images seen by the weights that the run started from.
        seen = trainer.images_seen + int(trainer.model.card.get("images_seen", 0))
        model = copy.deepcopy(trainer.average)
        model.finish_training(part.float() / 255 for part in pixels[: size * 400].split(size))
        model.freeze()
        card = {**self.card, "images_seen": str(seen)}
        errors = self._errors(model) if checkpoint is None else None
        data = weights_bytes(model, self.options, card | (errors.card if errors else {}))
        path = self._ledger.write(self._weights(checkpoint), data)
        log.info("weights after %d images: %s", seen, path)
        self._write_sheet(model, path)
        if errors:
            log.info("%s", errors)
        return path

    def sheet_of(self, weights: Path) -> Path | None:
        """Return the sheet of pictures beside a file of weights, None if there is none."""
        path = weights.with_name(_sheet_name(weights.name))
        return path if path.name in self._ledger.listed() and path.is_file() else None

    def _errors(self, model: Trainable) -> Errors | None:
        if self.review is None:
            return None
        try:
            return self.review.errors(model)
        except ValueError as error:
            log.warning("errors of reconstructions are not known: %s", error)
            return None

    def _write_sheet(self, model: Trainable, weights: Path) -> None:
        if self.review is None:
            return
        try:
            self._ledger.write(_sheet_name(weights.name), self.review.sheet(model))
        except ValueError as error:  # of images that are not finite: weights are what counts
            log.warning("no pictures beside %s: %s", weights.name, error)

    def due(self, trainer: Trainer, at: Sequence[int]) -> list[int]:
        """Return the checkpoints still to be written; warn of those that never will be."""
        here = checkpoints_in(self.folder, self.name)
        if trainer.step == 0 and here:
            log.warning(
                "%s holds checkpoints of an earlier training of %s, after %s images: those that "
                "are not among checkpoints_at=%s stay as they are",
                *(self.folder, self.name, here, list(at)),
            )
        # Checkpoints are written before the next state: those a state has passed exist, later ones
        # are written again, from the same weights.
        passed = [n for n in at if trainer.step > 0 and n <= trainer.images_seen]
        lost = [n for n in passed if n not in here]
        if lost:
            log.warning(
                "checkpoints_at=%s is before the %d images of the resumed state: to write these "
                "checkpoints too, train with resume=false",
                *(lost, trainer.images_seen),
            )
        return list(at[len(passed) :])

    @property
    def _ledger(self) -> Ledger:
        return Ledger(self.folder, f"{self.name}.training.json")

    def _weights(self, checkpoint: int | None) -> str:
        last = f"{self.name}.safetensors"
        return last if checkpoint is None else checkpoint_name(self.name, checkpoint)


def _sheet_name(weights: str) -> str:
    return weights.removesuffix(".safetensors") + ".png"
