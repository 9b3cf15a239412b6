"""What cells and trainings show while they run, and the heartbeat of a cell."""

import json
import logging
import os
import re
import threading
import time
import warnings
from pathlib import Path

import pytest
import torch

from stitching.compute import progress
from stitching.data.faces import Faces
from stitching.metrics.pixel import PSNR, RMSE
from stitching.pipeline.cache import Cache
from stitching.pipeline.encoding import FrozenModel
from stitching.sweeps import heartbeat
from stitching.tracking import NoTracker
from stitching.train.__main__ import train
from stitching.train.files import TrainingFiles
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
    assert shown["fits logistic probes of pixels on halves"] == ("probe", 6, 6)
    assert shown["predicts attributes"] == ("label", 2, 2)
    assert "compares the two latent spaces" in shown


class Quiet(NoTracker):
    def log(self, scalars):
        """Do without a run."""


def trained(caplog, folder):
    pixels = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8)
    recipe = Recipe(n_images=320, batch_size=16, lr=1e-3)
    trainer = Trainer(small_vae().requires_grad_(True), recipe, seed=0)
    with caplog.at_level(logging.INFO, "stitching.train"):
        train(trainer, pixels, Quiet(), TrainingFiles(folder, "vae", {}, {}), log_every_s=0)
    return [record.message for record in caplog.records]


def test_a_training_without_a_terminal_says_how_far_it_is(caplog, tmp_path):
    lines = trained(caplog, tmp_path)
    assert re.match(r"train vae: 5 %, \d+ s left, loss ", lines[0])
    assert lines[-1].startswith("train vae: 100 %, 0 s left, loss ")
    assert len(lines) == 20


def test_a_training_in_a_terminal_logs_no_lines(caplog, monkeypatch, tmp_path):
    monkeypatch.setattr(progress, "shown", lambda: True)
    assert trained(caplog, tmp_path) == []


def read(folder):
    return json.loads((folder / "progress.json").read_text())


def wait_for(condition, limit_s=5.0):
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def exists(folder):
    return (folder / "progress.json").exists()


def test_the_file_has_stage_text_and_rate(tmp_path):
    with progress.bar(1500, "vae encodes train", "image", begun=100) as bar:
        bar.update(300)
        time.sleep(0.05)
        with heartbeat.follow(tmp_path, begin="encode"):
            wait_for(lambda: exists(tmp_path))
            facts = read(tmp_path)
    now = time.time()
    assert {k: facts[k] for k in ("stage", "text", "unit", "done", "total")} == {
        "stage": "encode", "text": "vae encodes train", "unit": "image", "done": 400,
        "total": 1500,
    }  # fmt: skip
    assert facts["rate"] == pytest.approx(300 / (facts["written"] - bar.started))
    assert now - 5 < facts["started"] <= facts["written"] <= now


def test_the_file_is_gone_at_the_end(tmp_path):
    with heartbeat.follow(tmp_path):
        wait_for(lambda: exists(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_gone_when_the_cell_fails(tmp_path):
    def cell():
        with heartbeat.follow(tmp_path):
            wait_for(lambda: exists(tmp_path))
            raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        cell()
    assert list(tmp_path.iterdir()) == []
    assert not any(thread.name == "progress" for thread in threading.enumerate())


def test_a_new_stage_is_written_soon(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "LEAST_S", 0.1)
    with heartbeat.follow(tmp_path):
        wait_for(lambda: exists(tmp_path))
        with progress.stage("fit"):
            wait_for(lambda: read(tmp_path)["stage"] == "fit", limit_s=2)


def test_stages_in_quick_succession_are_written_once(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(heartbeat._Heart, "_write", lambda self: written.append(time.monotonic()))
    with heartbeat.follow(tmp_path):
        for _ in range(15):
            with progress.stage("fit"):
                time.sleep(0.02)
    assert len(written) == 1


def test_the_heart_beats_while_a_library_computes(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "EVERY_S", 0.02)
    monkeypatch.setattr(heartbeat, "_NAP_S", 0.01)
    x = torch.randn(700, 700, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    beats = []
    write = heartbeat._Heart._write
    monkeypatch.setattr(
        heartbeat._Heart, "_write", lambda self: (write(self), beats.append(time.monotonic()))
    )
    with heartbeat.follow(tmp_path):
        began = time.monotonic()
        torch.linalg.eigh(x + x.T)
        ended = time.monotonic()
    assert sum(began < beat < ended for beat in beats) >= 2


@pytest.mark.parametrize("trouble", ["no folder", "full disk"])
def test_a_file_that_cannot_be_written_leaves_the_cell_alone(tmp_path, monkeypatch, trouble):
    folder = tmp_path
    if trouble == "no folder":
        folder = tmp_path / "removed"
    else:

        def full(self, target):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", full)
    with heartbeat.follow(folder):
        time.sleep(0.05)
    assert not folder.exists() or list(folder.iterdir()) == []


def test_a_cell_goes_on_without_a_thread(tmp_path, monkeypatch):
    def none(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(heartbeat._Heart, "start", none)
    with heartbeat.follow(tmp_path):
        assert not exists(tmp_path)


def test_a_forked_process_leaves_its_parents_file_alone(tmp_path):
    with heartbeat.follow(tmp_path):
        wait_for(lambda: exists(tmp_path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
            child = os.fork()
        if child == 0:
            code = 1
            try:
                with progress.bar(2, "in the child", "image") as bar, progress.stage("child"):
                    bar.update()
                code = 0 if progress._now.silent else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert exists(tmp_path)
        assert progress._now.stage == "build"


def test_following_costs_less_than_five_milliseconds_of_the_processor(tmp_path):
    times = []
    for _ in range(20):
        began = time.process_time()
        with heartbeat.follow(tmp_path):
            for name in ("encode", "fit", "map", "decode", "score", "probe", "geometry"):
                with progress.stage(name), progress.bar(1, name, "image") as bar:
                    bar.update()
        times.append(time.process_time() - began)
    assert sorted(times)[10] < 0.005
