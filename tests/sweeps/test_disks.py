"""Read-only and full disks: a small file system in memory, which only root may mount."""

import json
import subprocess
from contextlib import contextmanager

import pytest

from stitching.pipeline.cache import Cache
from tests import toys
from tests.sweeps import running

pytestmark = pytest.mark.long


@contextmanager
def mounted(folder, options):
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder, options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def states(folder):
    return sorted(
        (path.parent.name, json.loads(path.read_text())["state"])
        for path in folder.glob("*/status.json")
    )


@pytest.fixture(scope="module")
def conf(tmp_path_factory):
    return toys.write_models(tmp_path_factory.mktemp("conf"), **running.MODELS)


def test_a_full_cache_ends_cells_with_one_message_and_room_lets_them_go_on(conf, tmp_path):
    with mounted(tmp_path / "cache", "size=16k") as cache:
        arguments = ["encoder=one,two", "decoder=one", "hydra.sweep.dir=grid"]
        done = running.launch(*arguments, cwd=tmp_path, conf=conf, cache=cache)
        assert done.returncode == 1
        assert "the cache cannot be written to" in done.stdout
        assert "cache=DIR" in done.stdout
        assert ("one-to-one_0", "failed") in states(tmp_path / "grid")
        remount(cache, "size=64m")
        done = running.launch(*arguments, cwd=tmp_path, conf=conf, cache=cache)
        assert done.returncode == 0, done.stderr
        assert {state for _, state in states(tmp_path / "grid")} == {"done"}


def test_a_read_only_cache_serves_what_it_has_and_refuses_what_it_lacks(conf, tmp_path):
    with mounted(tmp_path / "cache", "size=64m") as cache:
        arguments = ["encoder=one", "decoder=one"]
        assert running.launch(*arguments, cwd=tmp_path, conf=conf, cache=cache).returncode == 0
        remount(cache, "ro")
        served = running.launch(
            *arguments, "resume=false", "hydra.sweep.dir=served",
            cwd=tmp_path, conf=conf, cache=cache,
        )  # fmt: skip
        assert served.returncode == 0, served.stderr
        refused = running.launch(
            "encoder=two", "decoder=one", "hydra.sweep.dir=refused",
            cwd=tmp_path, conf=conf, cache=cache,
        )  # fmt: skip
        assert refused.returncode == 1
        assert "the cache cannot be written to" in refused.stdout
        remount(cache, "rw")


def test_a_full_disk_for_results_fails_cells_and_room_lets_them_go_on(conf, tmp_path):
    with mounted(tmp_path / "out", "size=120k") as out:
        arguments = ["encoder=one,two", "decoder=one", f"hydra.sweep.dir={out}/grid"]
        done = running.launch(*arguments, cwd=tmp_path, conf=conf, cache=tmp_path / "cache")
        assert done.returncode == 1
        assert "No space left on device" in done.stdout
        remount(out, "size=64m")
        done = running.launch(*arguments, cwd=tmp_path, conf=conf, cache=tmp_path / "cache")
        assert done.returncode == 0, done.stderr
        assert states(out / "grid") == [("one-to-one_0", "done"), ("two-to-one_1", "done")]


def test_a_full_disk_leaves_no_half_written_entry(tmp_path):
    import torch

    with mounted(tmp_path / "cache", "size=16k") as root:
        with pytest.raises(OSError, match="make room, or choose another folder"):
            Cache(root).tensors("latents", {"a": 1}, lambda: {"x": torch.zeros(10000)})
        assert not list(root.rglob("*.safetensors"))
