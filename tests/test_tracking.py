import json
import logging
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from stitching.tracking import NoTracker, Tracker, WandbTracker

CONF = Path(__file__).parent.parent / "conf" / "tracker"

# From here on, wandb is the real one. Its first run of a process starts its service.
pytest.importorskip("wandb")


def make(mode="offline", timeout_s=5.0):
    return WandbTracker(project="test", entity=None, mode=mode, timeout_s=timeout_s, tags=["a"])


def records(run_dir):
    """Read the records of a run file: LevelDB's log format, one protobuf record each."""
    from wandb.proto import wandb_internal_pb2

    (path,) = run_dir.glob("*.wandb")
    data = path.read_bytes()
    position, parts, found = 7, b"", []  # 7 bytes: ":W&B", a magic number, a version
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:  # too short for a header: padding
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        if position + 7 + length > len(data):  # not written to its end yet
            break
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            found.append(wandb_internal_pb2.Record.FromString(parts))
            parts = b""
    return found


def read_run(folder):
    """Return what the one offline run below a cell's folder holds.

    wandb's service, another process, closes the file shortly after the run has ended.
    """
    (run_dir,) = (folder / "wandb").glob("offline-run-*")
    deadline = time.monotonic() + 10
    while not (found := records(run_dir)) or found[-1].WhichOneof("record_type") != "exit":
        assert time.monotonic() < deadline, "the run has no end"
        time.sleep(0.01)
    run = {"config": {}, "summary": {}, "history": [], "dir": run_dir}
    for record in found:
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run |= {"id": record.run.run_id, "group": record.run.run_group}
            run |= {"name": record.run.display_name, "tags": list(record.run.tags)}
            for item in record.run.config.update:
                run["config"][item.key] = json.loads(item.value_json)
        elif kind == "summary":
            for item in record.summary.update:
                key = item.key or "/".join(item.nested_key)
                run["summary"][key] = json.loads(item.value_json)
        elif kind == "history":
            row = {i.key or "/".join(i.nested_key): i.value_json for i in record.history.item}
            run["history"].append({key: json.loads(value) for key, value in row.items()})
        elif kind == "exit":
            run["exit"] = record.exit.exit_code
    return run


def cell(tmp_path, name="cell"):
    folder = tmp_path / name
    folder.mkdir()
    return folder


def run_cell(folder, encoder, rmse, error=None):
    folder.mkdir()
    with make() as tracker:
        tracker.start({"encoder": encoder}, f"{encoder}-to-vae", "sweep", folder)
        tracker.log({"image/rmse": rmse})
        if error:
            raise error


def test_three_runs_of_which_the_middle_one_raises_are_three_runs_with_their_own_contents(
    tmp_path,
):
    run_cell(tmp_path / "vae", "vae", 0.0)
    with pytest.raises(KeyError):
        run_cell(tmp_path / "nf", "nf", 1.0, KeyError("broken"))
    run_cell(tmp_path / "vqvae", "vqvae", 2.0)
    runs = [read_run(tmp_path / name) for name in ("vae", "nf", "vqvae")]
    assert [run["config"]["encoder"] for run in runs] == ["vae", "nf", "vqvae"]
    assert [run["summary"]["image/rmse"] for run in runs] == [0.0, 1.0, 2.0]
    assert [run["exit"] for run in runs] == [0, 1, 0]
    assert [run["group"] for run in runs] == ["sweep"] * 3
    assert [run["name"] for run in runs] == ["vae-to-vae", "nf-to-vae", "vqvae-to-vae"]
    assert len({run["id"] for run in runs}) == 3


def test_a_run_that_is_still_active_is_not_handed_back(tmp_path):
    first, second = make(), make()
    first.start({"encoder": "vae"}, "a", "g", cell(tmp_path, "a"))
    second.start({"encoder": "nf"}, "b", "g", cell(tmp_path, "b"))
    first.log({"x": 1})
    second.log({"x": 2})
    first.finish()
    second.finish()
    runs = [read_run(tmp_path / name) for name in ("a", "b")]
    assert [run["config"]["encoder"] for run in runs] == ["vae", "nf"]
    assert [run["summary"]["x"] for run in runs] == [1, 2]


def test_nested_config_arrives_as_containers(tmp_path):
    config = {"data": {"name": "faces", "crop": [1, 2]}, "alpha": None, "flag": True}
    folder = cell(tmp_path)
    with make() as tracker:
        tracker.start(config, "n", "g", folder)
    stored = read_run(folder)["config"]
    assert {key: stored[key] for key in config} == config


def test_scalars_go_to_history_and_summary(tmp_path):
    folder = cell(tmp_path)
    with make() as tracker:
        tracker.start({}, "n", "g", folder)
        tracker.log({"loss": 2.0, "images_seen": 32})
        tracker.log({"loss": 1.0, "images_seen": 64, "map": "ridge"})
    run = read_run(folder)
    assert [row["loss"] for row in run["history"]] == [2.0, 1.0]
    assert run["summary"]["loss"] == 1.0
    assert run["summary"]["map"] == "ridge"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_is_seen_as_invalid(tmp_path, value):
    folder = cell(tmp_path)
    with make() as tracker:
        tracker.start({}, "n", "g", folder)
        tracker.log({"image/rmse": value, "latent/r2": None})
    run = read_run(folder)
    assert run["summary"]["image/rmse"] == "invalid"
    assert run["summary"]["invalid/image/rmse"] == 1
    assert run["summary"]["latent/r2"] == "not available"


def test_a_picture_is_stored_pixel_by_pixel(tmp_path):
    folder = cell(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    dark = np.full((4, 4, 3), 1, np.uint8)  # would be bright, were it taken for 0..1
    Image.fromarray(pixels).save(folder / "own.png")
    with make() as tracker:
        tracker.start({}, "n", "g", folder)
        tracker.image("dark", dark)
        tracker.image("from_file", folder / "own.png")
    media = read_run(folder)["dir"] / "files" / "media" / "images"
    stored = {
        path.name.partition("_")[0]: np.asarray(Image.open(path)) for path in media.iterdir()
    }
    np.testing.assert_array_equal(stored["dark"], dark)
    np.testing.assert_array_equal(stored["from"], pixels)


def test_a_table_keeps_its_rows(tmp_path):
    folder = cell(tmp_path)
    rows = [["Bald", "accuracy", 0.5], ["Young", "accuracy", "one class only"]]
    with make() as tracker:
        tracker.start({}, "n", "g", folder)
        tracker.table("probe/attributes", ["attribute", "measure", "value"], rows)
    (path,) = read_run(folder)["dir"].rglob("*.table.json")
    table = json.loads(path.read_text())
    assert table["columns"] == ["attribute", "measure", "value"]
    assert table["data"] == rows


def test_nothing_is_written_outside_of_the_cell_or_printed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; from pathlib import Path; from stitching.tracking import WandbTracker\n"
        "with WandbTracker('p', None, 'offline', 5, []) as tracker:\n"
        "    tracker.start({}, 'n', 'g', Path(sys.argv[1]))\n"
        "    tracker.log({'x': 1})\n"
        "    tracker.table('t', ['a'], [[1]])\n"
    )
    home, temp, work = (cell(tmp_path, name) for name in ("home", "temp", "work"))
    env = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "XDG_"))}
    env |= {"HOME": str(home), "TMPDIR": str(temp)}
    env["PYTHONPATH"] = str(Path(__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, str(script), str(cell(tmp_path))],
        env=env,
        cwd=work,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [list(path.rglob("*")) for path in (home, temp, work)] == [[], [], []]
    assert list((tmp_path / "cell" / "wandb").glob("offline-run-*"))


def test_the_environment_is_left_as_it_was(tmp_path):
    before = {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}
    with make() as tracker:
        tracker.start({}, "n", "g", cell(tmp_path))
        tracker.table("t", ["a"], [[1]])
    after = {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}
    assert after == before


def test_disabled_writes_nothing(tmp_path):
    folder = cell(tmp_path)
    with make("disabled") as tracker:
        tracker.start({}, "n", "g", folder)
        tracker.log({"x": 1})
        tracker.table("t", ["a"], [[1]])
        tracker.image("i", np.zeros((2, 2, 3), np.uint8))
    assert list(folder.iterdir()) == []


class Server:
    """A server that answers GET at once and keeps POST waiting, until the test ends."""

    def __init__(self, get_waits=False):
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                if get_waits:
                    outer.released.wait(30)
                self.send_response(404)
                self.end_headers()

            def do_POST(self):
                outer.released.wait(30)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def close(self):
        self.released.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


def closed_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{s.getsockname()[1]}"


@pytest.fixture
def online(monkeypatch):
    """Return a function that points wandb at a server, with a key that no server would take."""
    from wandb.sdk import wandb_setup

    monkeypatch.setattr(WandbTracker, "_server_failed", False)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    settings = wandb_setup.singleton().settings
    before = settings.base_url, settings.mode

    def use(url):
        settings.base_url = url

    yield use
    settings.base_url, settings.mode = before


def messages(caplog):
    return [r.getMessage() for r in caplog.records if r.name == "stitching.tracking"]


def run_twice(tmp_path, caplog):
    """Run two cells online with a limit of 0.5 s; return the seconds taken and the warnings."""
    started = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="stitching.tracking"):
        for i in range(2):
            with make("online", timeout_s=0.5) as tracker:
                tracker.start({"encoder": i}, "n", "g", cell(tmp_path, str(i)))
                tracker.log({"x": i})
    return time.monotonic() - started, messages(caplog)


def assert_stored_offline(tmp_path):
    runs = [read_run(tmp_path / str(i)) for i in range(2)]
    assert [run["config"]["encoder"] for run in runs] == [0, 1]
    assert [run["summary"]["x"] for run in runs] == [0, 1]


def test_a_refused_connection_makes_runs_offline_with_one_warning(tmp_path, caplog, online):
    online(closed_port())
    seconds, warnings = run_twice(tmp_path, caplog)
    assert len(warnings) == 1
    assert "does not answer" in warnings[0]
    assert "wandb sync" in warnings[0]
    assert seconds < 2
    assert_stored_offline(tmp_path)


@pytest.mark.parametrize("get_waits", [True, False])
def test_a_server_that_does_not_answer_is_given_up_in_time(tmp_path, caplog, online, get_waits):
    server = Server(get_waits)
    try:
        online(server.url)
        seconds, warnings = run_twice(tmp_path, caplog)
    finally:
        server.close()
    assert len(warnings) == 1
    assert seconds < 3
    assert_stored_offline(tmp_path)


def test_without_a_key_nobody_is_asked_for_one(tmp_path, caplog, online, monkeypatch):
    from wandb.sdk.lib import wbauth

    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))
    prompt = "wandb.sdk.lib.wbauth.prompt.prompt_and_save_api_key"
    monkeypatch.setattr(prompt, lambda **_: pytest.fail("asked for a key"))
    wbauth.unauthenticate_session()
    online(closed_port())
    _, warnings = run_twice(tmp_path, caplog)
    assert len(warnings) == 1
    assert "wandb login" in warnings[0]
    assert_stored_offline(tmp_path)


@pytest.mark.parametrize("method", ["log", "table", "finish"])
def test_a_failure_of_wandb_is_one_warning_and_the_run_goes_on(
    tmp_path, caplog, monkeypatch, method
):
    import wandb

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    folder = cell(tmp_path)
    tracker = make()
    tracker.start({}, "n", "g", folder)
    with monkeypatch.context() as patch:
        if method == "table":
            patch.setattr(wandb, "Table", fail)
        else:
            patch.setattr(wandb.Run, method, fail)
        with caplog.at_level(logging.WARNING, logger="stitching.tracking"):
            tracker.log({"x": 1})
            tracker.log({"x": 2})
            tracker.table("t", ["a"], [[1]])
            run = tracker._run
            tracker.finish()
    run.finish()
    (message,) = messages(caplog)
    assert "No space left" in message


def test_a_full_disk_is_known_before_the_run_starts(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    folder = cell(tmp_path)
    with make() as tracker:
        tracker.start({}, "n", "g", folder)
        tracker.log({"x": 1})
    assert list(folder.iterdir()) == []
    (message,) = messages(caplog)
    assert "less than 2 MiB are free" in message


def test_without_wandb_the_constructor_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install wandb.*tracker=none"):
        make()


def test_without_wandb_the_other_tracker_works(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    folder = cell(tmp_path)
    with NoTracker() as tracker:
        tracker.start({"a": 1}, "n", "g", folder)
        tracker.log({"x": 1.0})
        tracker.table("t", ["a"], [[1]])
        tracker.image("i", np.zeros((2, 2, 3), np.uint8))
    assert list(folder.iterdir()) == []


def test_a_folder_called_wandb_is_not_taken_for_the_package(tmp_path, monkeypatch):
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(ModuleNotFoundError, match="pip install wandb"):
        make()


def test_importing_the_module_does_not_import_wandb_or_torch():
    code = "import sys, stitching.tracking; print({'wandb', 'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("mode", ["Online", "dryrun", ""])
def test_an_unknown_mode_is_refused(mode):
    with pytest.raises(ValueError, match=r"online, offline, disabled, got.*WANDB_MODE"):
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
        def _finish(self, ok):
            self.ok = ok

    def interrupted(tracker):
        with tracker:
            tracker.start({}, "n", "g", tmp_path)
            raise KeyboardInterrupt

    spy = Spy()
    with pytest.raises(KeyboardInterrupt):
        interrupted(spy)
    assert spy.ok is False


@pytest.mark.parametrize(
    ("environment", "mode"), [(None, "offline"), ("disabled", "disabled"), ("online", "online")]
)
def test_wandb_mode_replaces_the_default_of_the_yaml(monkeypatch, environment, mode):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if environment:
        monkeypatch.setenv("WANDB_MODE", environment)
    assert instantiate(OmegaConf.load(CONF / "wandb.yaml")).mode == mode


def test_an_override_beats_wandb_mode(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    config = OmegaConf.merge(OmegaConf.load(CONF / "wandb.yaml"), {"mode": "offline"})
    assert instantiate(config).mode == "offline"


def test_the_yaml_without_a_tracker_builds():
    assert isinstance(instantiate(OmegaConf.load(CONF / "none.yaml")), NoTracker)
