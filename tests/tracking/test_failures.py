import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from stitching.tracking import NoTracker, WandbTracker
from tests.tracking.offline import cell, make, messages, read_run

pytest.importorskip("wandb")


def in_a_process(script, folder):
    """Run a script in a Python of its own, with a wandb service of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    return subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        env=environment | {"PYTHONPATH": str(Path(__file__).parent.parent.parent)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


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
        with caplog.at_level(logging.WARNING, logger="stitching"):
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


@pytest.fixture
def absence(monkeypatch):
    """No warning yet that wandb is not installed."""
    monkeypatch.setattr(WandbTracker, "_absence_warned", False)


def test_without_wandb_cells_run_on_after_one_warning(tmp_path, monkeypatch, caplog, absence):
    monkeypatch.setitem(sys.modules, "wandb", None)
    folder = cell(tmp_path)
    with caplog.at_level(logging.WARNING, logger="stitching"):
        for mode in ("offline", "online"):
            with make(mode) as tracker:
                tracker.start({"a": 1}, "n", "g", folder)
                tracker.log({"x": 1.0})
                tracker.summarize({"y": 1.0})
                tracker.table("t", ["a"], [[1]])
                tracker.image("i", np.zeros((2, 2, 3), np.uint8))
    assert list(folder.iterdir()) == []
    (message,) = messages(caplog)
    assert "run `pip install wandb`, or use tracker=none" in message


def test_without_wandb_the_other_tracker_works(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    folder = cell(tmp_path)
    with NoTracker() as tracker:
        tracker.start({"a": 1}, "n", "g", folder)
        tracker.log({"x": 1.0})
        tracker.table("t", ["a"], [[1]])
        tracker.image("i", np.zeros((2, 2, 3), np.uint8))
    assert list(folder.iterdir()) == []


def test_a_folder_called_wandb_is_not_taken_for_the_package(
    tmp_path, monkeypatch, caplog, absence
):
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with caplog.at_level(logging.WARNING, logger="stitching"):
        assert make().mode == "disabled"
    assert "wandb is not installed" in messages(caplog)[0]


def test_importing_the_module_does_not_import_wandb_or_torch():
    code = "import sys, stitching.tracking; print({'wandb', 'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_service_that_dies_costs_the_runs_copy_and_nothing_else(tmp_path):
    script = """
import logging, os, signal, sys
from pathlib import Path
from stitching.tracking import WandbTracker

logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
for name in "abc":
    folder = Path(sys.argv[1], name)
    folder.mkdir()
    with WandbTracker("p", None, "offline", 5, []) as tracker:
        tracker.start({}, name, "g", folder)
        if name == "b":
            for task in Path("/proc/self/task").iterdir():
                for child in (task / "children").read_text().split():
                    if "wandb-core" in Path(f"/proc/{child}/cmdline").read_text():
                        os.kill(int(child), signal.SIGKILL)
        tracker.log({"x": 1})
print("end")
"""
    started = time.monotonic()
    done = in_a_process(script, tmp_path)
    assert time.monotonic() - started < 30
    assert done.returncode == 0, done.stderr
    (warning, end) = done.stdout.splitlines()
    assert "W&B could not" in warning
    assert end == "end"
    assert read_run(tmp_path / "a")["exit"] == 0
    assert read_run(tmp_path / "c")["exit"] == 0


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 3 MiB."""
    folder = cell(tmp_path, "disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up_costs_the_runs_copy_and_nothing_else(small_disk):
    script = """
import sys
from pathlib import Path
import numpy as np
from stitching.tracking import WandbTracker

folder = Path(sys.argv[1])
noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
with WandbTracker("p", None, "offline", 5, []) as tracker:
    tracker.start({}, "n", "g", folder)
    for number in range(5):
        tracker.image(f"picture{number}", noise)
        tracker.log({f"x{i}": float(number) for i in range(100)})
        tracker.table("t", ["a"], [["text" * 100]] * 1000)
print("end")
"""
    started = time.monotonic()
    done = in_a_process(script, small_disk)
    assert time.monotonic() - started < 20
    assert (done.returncode, done.stdout) == (0, "end\n")
    assert "W&B could not store" in done.stderr
    assert len(done.stderr.splitlines()) == 1
