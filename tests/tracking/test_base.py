from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from stitching.tracking import NoTracker, Tracker, environment
from tests.tracking.offline import make

CONF = Path(__file__).parent.parent.parent / "conf" / "tracker"


@pytest.mark.parametrize("mode", ["Online", "dry", ""])
def test_an_unknown_mode_is_refused(mode):
    with pytest.raises(
        ValueError, match=r"online, offline, disabled, shared, dryrun, run, got.*WANDB_MODE"
    ):
        make(mode)


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan")])
def test_a_wait_that_is_not_positive_is_refused(timeout_s):
    with pytest.raises(ValueError, match=r"timeout_s must be > 0"):
        make(timeout_s=timeout_s)


@pytest.mark.parametrize("tracker", [NoTracker(), make()], ids=["none", "wandb"])
@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (OmegaConf.create({"a": 1}), TypeError, "config must be a plain.*DictConfig"),
        ({"a": OmegaConf.create([1])}, TypeError, r"config\.a must be a plain.*ListConfig"),
        ({"a": [{"b": np.float32(1)}]}, TypeError, r"config\.a\[0\]\.b must be a plain.*float32"),
        ({"a": {1: 2}}, TypeError, r"keys of config\.a must be str, got 1"),
        ({"a": {"root": "???"}}, ValueError, r"config\.a\.root has no value"),
    ],
)
def test_a_config_that_is_not_plain_is_refused(tmp_path, tracker, config, error, message):
    with pytest.raises(error, match=message):
        tracker.start(config, "n", "g", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def running(tmp_path):
    with NoTracker() as tracker:
        tracker.start({}, "n", "g", tmp_path)
        yield tracker


@pytest.mark.parametrize("value", [np.zeros(2), np.float32(1), [1.0], {"a": 1}])
def test_a_scalar_that_is_not_plain_is_refused(running, value):
    with pytest.raises(TypeError, match="image/rmse must be a plain number"):
        running.log({"image/rmse": value})


@pytest.mark.parametrize(
    "picture",
    [np.zeros((2, 2, 3)), np.zeros((2, 2), np.uint8), np.zeros((3, 2, 2), np.uint8)],
    ids=["float", "grey", "channels first"],
)
def test_a_picture_that_is_not_uint8_rgb_is_refused(running, picture):
    with pytest.raises(ValueError, match=r"must be uint8 of shape \(H, W, 3\), got"):
        running.image("i", picture)


def test_a_picture_file_that_does_not_exist_is_refused(running, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.png"):
        running.image("i", tmp_path / "no.png")


def test_a_ragged_table_is_refused(running):
    with pytest.raises(ValueError, match="has 2 columns, row 1 has 1"):
        running.table("t", ["a", "b"], [[1, 2], [3]])


def test_a_second_start_without_finish_is_refused(running, tmp_path):
    with pytest.raises(RuntimeError, match="call finish"):
        running.start({}, "n", "g", tmp_path)


def test_logging_without_a_run_is_refused():
    with pytest.raises(RuntimeError, match=r"call start\(\) first"):
        NoTracker().log({"x": 1})


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="the folder of run 'n' does not exist"):
        NoTracker().start({}, "n", "g", tmp_path / "no")


def test_an_interrupt_marks_the_run_as_failed(tmp_path):
    class Spy(Tracker):
        def _finish(self, ok, error):
            self.ok, self.error = ok, error

    def interrupted(tracker):
        with tracker:
            tracker.start({}, "n", "g", tmp_path)
            raise KeyboardInterrupt

    spy = Spy()
    with pytest.raises(KeyboardInterrupt):
        interrupted(spy)
    assert (spy.ok, spy.error) == (False, "KeyboardInterrupt: KeyboardInterrupt")


@pytest.mark.parametrize(
    ("environment", "mode"),
    [
        ("", "offline"),
        ("WANDB_MODE=", "offline"),
        ("WANDB_MODE=dryrun", "offline"),
        ("WANDB_MODE=run", "online"),
        ("WANDB_MODE=shared", "shared"),
        ("WANDB_MODE=disabled", "disabled"),
        ("WANDB_MODE=online", "online"),
        ("WANDB_MODE=online WANDB_DISABLED=true", "disabled"),
        ("WANDB_DISABLED=false", "offline"),
    ],
)
def test_modes_of_the_environment_replace_the_default_of_the_yaml(monkeypatch, environment, mode):
    for name in ("WANDB_MODE", "WANDB_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    for text in environment.split():
        monkeypatch.setenv(*text.split("="))
    assert instantiate(OmegaConf.load(CONF / "wandb.yaml")).mode == mode


def test_project_entity_and_tags_of_the_environment_are_defaults(monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("WANDB_ENTITY", "lab")
    monkeypatch.setenv("WANDB_TAGS", "one,two")
    found = instantiate(OmegaConf.load(CONF / "wandb.yaml"))
    assert (found.project, found.entity, found.tags) == ("theirs", "lab", ["one", "two"])
    config = OmegaConf.merge(OmegaConf.load(CONF / "wandb.yaml"), {"project": "ours"})
    assert instantiate(config).project == "ours"


def test_tags_of_the_environment_that_no_run_can_have_are_refused(monkeypatch):
    monkeypatch.setenv("WANDB_TAGS", "x" * 65)
    with pytest.raises(ValueError, match="environment variable WANDB_TAGS must have 1 to 64"):
        make()


def test_a_long_name_keeps_its_beginning_and_its_end():
    name = environment.shortened("a" * 100 + "b" * 100)
    assert len(name) == 128
    assert name.startswith("a" * 60)
    assert name.endswith("b" * 60)
    assert environment.shortened("a" * 128) == "a" * 128


def test_an_override_beats_wandb_mode(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    config = OmegaConf.merge(OmegaConf.load(CONF / "wandb.yaml"), {"mode": "offline"})
    assert instantiate(config).mode == "offline"


def test_the_yaml_without_a_tracker_builds():
    assert isinstance(instantiate(OmegaConf.load(CONF / "none.yaml")), NoTracker)


@pytest.mark.parametrize("tags", [[""], ["x" * 65]])
def test_a_tag_out_of_the_limits_of_wandb_is_refused_up_front(tmp_path, tags):
    with pytest.raises(ValueError, match=r"tracker\.tags must have 1 to 64 characters each"):
        make(tags=tags)
    with pytest.raises(ValueError, match=r"tags of run 'n' must have 1 to 64 characters each"):
        NoTracker().start({}, "n", "g", tmp_path, tags=tags)


def test_more_than_twenty_tags_are_refused():
    make(tags=[str(i) for i in range(20)])
    with pytest.raises(ValueError, match=r"tracker\.tags must be 20 at most, got 21"):
        make(tags=[str(i) for i in range(21)])


def test_a_word_is_no_list_of_tags(tmp_path):
    with pytest.raises(TypeError, match="must be a list of str, got 'mine'"):
        NoTracker().start({}, "n", "g", tmp_path, tags="mine")


def test_a_file_that_is_no_png_is_refused(running, tmp_path):
    (tmp_path / "photo.png").write_bytes(b"\xff\xd8\xff" + bytes(100))
    with pytest.raises(ValueError, match=r"must be a PNG file: .*photo\.png"):
        running.image("i", tmp_path / "photo.png")
