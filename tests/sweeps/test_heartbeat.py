"""What cells and trainings show while they run."""

import logging

import pytest
import torch

from stitching.compute import progress
from stitching.data.faces import Faces
from stitching.metrics.pixel import PSNR, RMSE
from stitching.pipeline.cache import Cache
from stitching.pipeline.encoding import FrozenModel
from stitching.tracking import NoTracker
from stitching.train.__main__ import train
from stitching.train.trainer import Recipe, Trainer
from tests.small import Pixels, small_cell, small_vae, small_vae_options


@pytest.fixture
def closed(monkeypatch):
    """Every bar once it is closed, as (text, unit, done, total)."""
    found = []

    class Bars(list):
        def remove(self, bar):
            found.append((bar.text, bar.unit, bar.done, bar.total))
            super().remove(bar)

    monkeypatch.setattr(progress._now, "bars", Bars())
    return found


@pytest.mark.filterwarnings("ignore::stitching.maps.PenaltyEdgeWarning")
@pytest.mark.filterwarnings("ignore::stitching.maps.InterpolationWarning")
def test_every_long_stage_of_a_cell_has_a_bar_that_reaches_its_end(tmp_path, closed):
    pixels = FrozenModel(Pixels().freeze(), {"name": "pixels"}, "float32")
    vae = FrozenModel(small_vae(), small_vae_options(), "float32")
    data = Faces("faces", 40, 9, 32, 0, 1)
    metrics = {"rmse": RMSE(), "psnr": PSNR()}
    small_cell(vae, pixels, data, Cache(tmp_path), metrics=metrics).run()
    shown = {text: (unit, done, total) for text, unit, done, total in closed}
    assert shown["vae encodes train"] == ("image", 40, 40)
    assert shown["vae encodes test"] == ("image", 9, 9)
    assert shown["fits ridge from vae to pixels"] == ("step", 2, 2)
    assert shown["pixels decodes mapped latents"] == ("image", 9, 9)
    assert shown["features of pixels"] == ("image", 9, 9)
    assert shown["scores images by psnr"] == ("measure", 2, 2)
    assert shown["fits control logistic probes of pixels"] == ("probe", 4, 4)
    assert shown["predicts attributes"] == ("label", 2, 2)
    assert "compares the two latent spaces" in shown


class Quiet(NoTracker):
    def log(self, scalars):
        """Do without a run."""


def trained(caplog):
    pixels = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8)
    recipe = Recipe(n_images=320, batch_size=16, lr=1e-3)
    trainer = Trainer(small_vae().requires_grad_(True), recipe, seed=0)
    with caplog.at_level(logging.INFO, "stitching.train"):
        train(trainer, pixels, Quiet(), None, log_every_s=0)
    return [record.message for record in caplog.records]


def test_a_training_without_a_terminal_says_how_far_it_is(caplog):
    lines = trained(caplog)
    assert lines[0].startswith("train vae: 5 %, loss ")
    assert lines[-1].startswith("train vae: 100 %, loss ")
    assert len(lines) == 20


def test_a_training_in_a_terminal_logs_no_lines(caplog, monkeypatch):
    monkeypatch.setattr(progress, "shown", lambda: True)
    assert trained(caplog) == []
