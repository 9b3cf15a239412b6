"""A training replaces only files that trainings wrote, and keeps its state when interrupted."""

import os
import shlex
import signal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from stitching.data.folder import Folder
from stitching.train import __main__ as command
from stitching.train.files import TrainingFiles
from stitching.weights.containers import read_weights
from stitching.weights.loading import load_weights
from tests.data.test_base import Levels
from tests.small import small_vae, small_vae_options
from tests.train.test_checkpoints import RECIPE, Quiet, Run


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def finished(folder, *at):
    run = Run(folder)
    run.files.require_free(at)
    command.train(run.trainer, run.pixels, Quiet(), run.files, checkpoints_at=at)
    run.files.write(run.trainer, run.pixels)
    return run


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["vae.safetensors", "vae.checkpoint", "vae-8.safetensors",
                          "vae.training.json"]),
    kind=st.sampled_from(["bytes", "folder", "link", "broken link", "empty"]),
)  # fmt: skip
def test_files_of_other_origin_stop_a_training_before_any_work(tmp_path_factory, name, kind):
    folder = tmp_path_factory.mktemp("out")
    path = folder / name
    if kind == "folder":
        path.mkdir()
    elif kind.endswith("link"):
        (folder / "aim").write_bytes(b"mine")
        path.symlink_to(folder / ("aim" if kind == "link" else "nowhere"))
    else:
        path.write_bytes(b"" if kind == "empty" else b'{"mine": 1}')
    before = sorted(os.listdir(folder))
    with pytest.raises(FileExistsError, match=f"{name}.*out=ANOTHER_FOLDER"):
        Run(folder).files.require_free([8])
    assert sorted(os.listdir(folder)) == before


@given(name=st.from_regex(r"[a-z]{1,6}(\.[a-z]{1,11}|-[0-9]{1,3}\.safetensors)", fullmatch=True))
@settings(max_examples=15, deadline=None)
def test_a_training_leaves_other_files_alone(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("out")
    (folder / name).write_bytes(b"mine")
    files = Run(folder).files
    own = {files.state.name, "vae.safetensors", "vae.training.json"}
    if name not in own:
        files.require_free([])
        files.save_state(Run(folder).trainer)
        assert (folder / name).read_bytes() == b"mine"


def test_weights_that_lie_there_from_elsewhere_are_not_replaced(tmp_path):
    """A file of this project, but not written there by a training."""
    finished(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "vae.safetensors").rename(tmp_path / "b" / "vae.safetensors")
    with pytest.raises(FileExistsError, match=r"vae\.safetensors"):
        finished(tmp_path / "b")


def test_a_finished_training_can_be_repeated_to_the_same_files(tmp_path):
    finished(tmp_path, 8)
    before = contents(tmp_path)
    del before["vae.training.json"]
    again = Run(tmp_path)
    again.files.require_free([8])
    assert again.files.load_state(again.trainer)
    again.files.write(again.trainer, again.pixels)
    assert before.items() <= contents(tmp_path).items()


def test_a_file_that_was_changed_since_is_kept_beside(tmp_path, caplog):
    finished(tmp_path)
    (tmp_path / "vae.safetensors").write_bytes(b"mine")
    finished(tmp_path)
    assert (tmp_path / "vae.safetensors.kept-1").read_bytes() == b"mine"
    assert "vae.safetensors.kept-1" in caplog.text


@pytest.mark.parametrize("damage", ["flip", "cut", "zeros"])
def test_a_damaged_state_is_named(tmp_path, damage):
    finished(tmp_path)
    path = tmp_path / "vae.checkpoint"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes({"flip": data, "cut": data[:-99], "zeros": bytes(len(data))}[damage])
    run = Run(tmp_path)
    with pytest.raises(ValueError, match=r"vae\.checkpoint is damaged.*resume=false"):
        run.files.load_state(run.trainer)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"mine"])
def test_what_is_no_training_state_is_answered_in_one_message(tmp_path, content):
    (tmp_path / "state").write_bytes(content)
    with pytest.raises(ValueError, match=r"state is damaged, or no training state"):
        Run(tmp_path).trainer.load(tmp_path / "state")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed=1 but there 0"),
        ({"recipe": RECIPE | {"ema": 0.9, "lr": 1e-3}}, r"lr=0\.001 but there 0\.01"),
        ({"origin": {"data": "b"}}, "data='b' but there 'a'"),
        ({"dtype": "bfloat16"}, "dtype='bfloat16' but there 'float32'"),
    ],
)
def test_a_state_of_another_training_is_refused(tmp_path, change, message):
    arguments = {"recipe": RECIPE | {"ema": 0.9}, "seed": 0, "dtype": "float32"}
    arguments |= {"origin": {"data": "a"}}

    def trainer(recipe, origin, **rest):
        made = command.make_trainer(small_vae().requires_grad_(True), recipe, **rest)
        made.origin = origin
        return made

    trainer(**arguments).write(tmp_path / "state")
    trainer(**arguments).load(tmp_path / "state")
    with pytest.raises(ValueError, match=f"another training, {message}.*out=ANOTHER"):
        trainer(**(arguments | change)).load(tmp_path / "state")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("family", ["vae", "gan"])
def test_an_interrupted_training_goes_on_where_it_was(tmp_path, family, number):
    run, handlers = Run(tmp_path, family), signal.getsignal(number)
    advance = run.trainer.advance

    def interrupted(pixels):
        os.kill(os.getpid(), number)  # amid the step, which is done to its end
        return advance(pixels)

    run.trainer.advance = interrupted
    with pytest.raises(KeyboardInterrupt):
        command.train(run.trainer, run.pixels, Quiet(), run.files)
    assert signal.getsignal(number) is handlers
    again = Run(tmp_path, family)
    assert again.files.load_state(again.trainer)
    assert again.trainer.step == 1


def test_states_come_early_and_then_more_rarely(tmp_path, monkeypatch):
    clock, saved = [0.0], []
    run = Run(tmp_path)
    run.trainer = command.make_trainer(run.trainer.model, RECIPE | {"n_images": 8 * 400}, seed=0)

    def advance(pixels):
        clock[0] += 1
        run.trainer.step += 1
        return {"loss": 0.0}

    run.trainer.advance = advance
    monkeypatch.setattr(command.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(TrainingFiles, "save_state", lambda *_: saved.append(clock[0]))
    command.train(run.trainer, run.pixels, Quiet(), run.files)
    assert saved == [11, 32, 73, 154, 275, 396, 400]


def test_the_line_after_an_interruption_is_the_command_that_goes_on(tmp_path, monkeypatch):
    words = ["model=vae", "model.channels=[8,8]", f"out={tmp_path}"]
    monkeypatch.setattr("sys.argv", ["train.py", *words, "resume=false"])
    cfg = OmegaConf.create({"out": str(tmp_path), "model": {"name": "vae"}})
    assert "before there was a training state" in command.going_on(cfg)
    (tmp_path / "vae.checkpoint").touch()
    line = command.going_on(cfg)
    assert str(tmp_path / "vae.checkpoint") in line
    shown = shlex.split(line.split("`")[1])
    assert shown == ["python", "-m", "stitching.train", *words]


def test_training_on_a_folder_needs_no_test_images(tmp_path):
    from PIL import Image

    for number in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    data = Folder(tmp_path, 2000, 500, 8, None, 1e-9)
    assert len(command.training_images(data)) == 3


def test_test_images_are_never_trained_on():
    with pytest.raises(ValueError, match="must be disjoint"):
        command.training_images(Levels(["1", "2"], ["2", "3"]))


@pytest.mark.parametrize("place", [0.5, 0.99])
def test_a_flipped_bit_in_weights_of_a_training_is_noticed(tmp_path, place):
    finished(tmp_path)
    path = tmp_path / "vae.safetensors"
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"vae\.safetensors is damaged"):
        load_weights(small_vae(), read_weights(path), small_vae_options())
