"""Files of other origin survive cells and sweeps in their folder, byte for byte."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from omegaconf import open_dict
from PIL import Image

from stitching import config  # fmt: skip
from stitching.config import assemble, preflight
from stitching.pipeline.cell import Pictures, Result
from stitching.records import plan, status  # fmt: skip
from stitching.records.ledger import hashes_in
from stitching.results.reading import read_cells
from stitching.status.command import main
from stitching.status.sweeps import look
from stitching.sweeps import cells, job, outputs, start  # fmt: skip
from tests.toys import LAUNCH

PNG = outputs._png(Image.new("RGB", (2, 2)))

CELL = "pixels-to-pca_0"

OURS = [
    *status.NAMES, "status.json", "sweep.json", "multirun.yaml", ".lock", "launch.log",
    ".hydra/config.yaml", ".hydra/overrides.yaml", "a_curve.csv", "grid.csv", "picture.png",
    "wandb/offline-run-1/run-1.wandb", "metrics.json.77.partial", ".metrics.json.7.0.partial",
    "error.txt.kept-1", "notes.txt", "holiday/IMG 1.png", f"{CELL}/config.yaml",
    f"{CELL}/picture.png", f"{CELL}/.hydra/hydra.yaml", f"{CELL}/launch.log",
    f"{CELL}/status.json", f"{CELL}/wandb/x", "other/status.json",
]  # fmt: skip


class Folder:
    """Runs cells and sweeps in a folder as Hydra does, with a cell that computes nothing."""

    def __init__(self, cfg, path):
        self.cfg, self.path, self.key, self.error = cfg, path, "a" * 64, None
        self.export = False

    def _job(self, folder, multirun):
        cfg = self.cfg.copy()
        with open_dict(cfg):
            cfg.hydra.runtime.output_dir = str(folder)
            cfg.hydra.mode = "MULTIRUN" if multirun else "RUN"
        HydraConfig.instance().set_config(cfg)
        (folder / ".hydra").mkdir(parents=True, exist_ok=True)
        for name in ("config", "hydra", "overrides"):
            (folder / ".hydra" / f"{name}.yaml").write_text("written by Hydra")
        with (folder / "launch.log").open("a") as log:
            log.write("a line\n")
        with open_dict(cfg):
            del cfg["hydra"]
        try:
            job.run_job(cfg)
        except (SystemExit, RuntimeError, KeyboardInterrupt):
            return False
        return True

    def run(self):
        """Run one cell; return whether it was refused before any work."""
        with open_dict(self.cfg):
            self.cfg.hydra.run.dir = str(self.path)
        try:
            start.SweepStart().on_run_start(self.cfg)
        except SystemExit:
            return True
        assert self._job(self.path, multirun=False) or self.error
        return False

    def sweep(self):
        """Run a sweep of one cell; return whether it was refused before any work."""
        with open_dict(self.cfg):
            self.cfg.hydra.sweep.dir = str(self.path)
            self.cfg.hydra.runtime.cwd = str(self.path)
            self.cfg.hydra.overrides.task = ["encoder=pixels", "decoder=pca"]
        try:
            start.SweepStart().on_multirun_start(self.cfg)
        except SystemExit:
            return True
        (self.path / "multirun.yaml").write_text("written by Hydra")
        assert self._job(self.path / CELL, multirun=True) or self.error
        start.end_sweep(interrupted=isinstance(self.error, KeyboardInterrupt))
        return False


@pytest.fixture(scope="module")
def composed():
    config.register_roles()
    with initialize_config_dir(str(config.conf_dir().resolve()), version_base="1.3"):
        cfg = compose("config", ["tracker=none"], return_hydra_config=True)
    with open_dict(cfg):
        cfg.hydra.job.name = "launch"
        kept = ("hydra", "tracker", "resume", "export_map", "encoder", "decoder")
        for key in [key for key in cfg if key not in kept]:
            del cfg[key]
    return cfg


@pytest.fixture
def fake(composed, monkeypatch, tmp_path):
    """A way to make `Folder`s whose cells return a tiny result, or raise `folder.error`."""
    current = SimpleNamespace(folder=None)

    def build(_):
        def run():
            if current.folder.error is not None:
                raise current.folder.error
            pixels = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
            fitted = SimpleNamespace(save=lambda path: path.write_bytes(b"map"))
            values = {"encoder": "pixels", "decoder": "pca", "image/rmse": 0.1}
            draws = {"image/rmse": np.zeros(2, np.float32)}
            rows = {"penalty_curve": [{"alpha": 1.0}]}
            resources = {"time/total_s": 0.1}
            return Result(values, draws, resources, Pictures(pixels, pixels, pixels), fitted, rows)

        return SimpleNamespace(run=run)

    monkeypatch.setattr(assemble, "build_cell", build)
    settings = {"encoder": "pixels", "decoder": "pca", "cache": None, "resume": True, "picture": 0,
                "device": "cpu", "dtype": "float32"}  # fmt: skip
    settings["tracker"] = {"_target_": "stitching.tracking.NoTracker"}
    monkeypatch.setattr(
        config, "to_plain", lambda _: settings | {"export_map": current.folder.export}
    )
    monkeypatch.setattr(config, "resolve", lambda _, settings: None)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # as it was, afterwards
    monkeypatch.setattr(config, "cache_root", lambda _: tmp_path / "cache")
    monkeypatch.setattr("stitching.sweeps.cell_key.cell_identity", lambda *_: current.folder.key)
    monkeypatch.setattr("stitching.report.drawing.curves.penalty_curve", lambda _: PNG)
    for module in (start, config):
        monkeypatch.setattr(module, "label_models", lambda *_: None)
    planned = preflight.Planned("pixels-to-pca_0", "pixels", "pca")
    monkeypatch.setattr(preflight, "check_sweep", lambda _, jobs, __: ([planned] * len(jobs), {}))
    monkeypatch.setattr(start, "_report", lambda _: None)
    monkeypatch.setattr(start, "_summarise", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["launch.py"])

    def make(path):
        current.folder = Folder(composed.copy(), path)
        return current.folder

    return make


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def fill(folder, files):
    """Write files, but those that need another one as a folder."""
    for name, data in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_bytes(data)
        except (FileExistsError, NotADirectoryError):
            continue
    return contents(folder)


_NAME = st.sampled_from(OURS) | st.from_regex(
    r"[a-zA-Z0-9_ü]{1,8}(\.(png|csv|json))?", fullmatch=True
)
_DATA = st.binary(max_size=8) | st.sampled_from([b"{}", b'{"state": "done"}', b'{"files": {}}'])
_STEP = st.tuples(
    st.sampled_from(["run", "sweep"]),
    st.sampled_from(["a", "b"]),
    st.sampled_from([None, None, RuntimeError("broken"), ValueError("x"), KeyboardInterrupt()]),
    st.booleans(),
)


@settings(
    max_examples=int(os.environ.get("EXAMPLES", "50")),
    deadline=None,
    derandomize=True,
    phases=(Phase.generate,),  # to make a failing example smaller would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.dictionaries(_NAME, _DATA, max_size=5),
    st.lists(_STEP, min_size=1, max_size=4),
    st.dictionaries(_NAME, _DATA, max_size=2),
    st.sampled_from(
        [None, *(name for name in status.NAMES if name != "progress.json"), ".hydra/config.yaml"]
    ),
)
def test_files_of_other_origin_survive_whatever_runs_beside_them(
    fake, tmp_path_factory, before, steps, between, edited
):
    path = tmp_path_factory.mktemp("folder")
    theirs, folder = fill(path, before), fake(path)
    for number, (kind, key, error, export) in enumerate(steps):
        folder.key, folder.export = key * 64, export
        folder.error = error if kind == "run" or not isinstance(error, ValueError) else None
        held = contents(path)
        refused = getattr(folder, kind)()
        found = contents(path)
        assert theirs.items() <= found.items()
        if refused:
            assert found == held
        if number == 0:
            new = {name: text for name, text in between.items() if name not in found}
            theirs |= {n: x for n, x in fill(path, new).items() if n not in found}
    if edited in hashes_in(status.read_status(path)) and (path / edited).is_file():
        (path / edited).write_bytes(b"edited by hand")
        for key in "cd":
            folder.error, folder.key = None, key * 64
            folder.run()
            assert theirs.items() <= contents(path).items()
            assert b"edited by hand" in contents(path).values()


def test_edited_files_of_hydra_are_kept_beside_the_new_ones(fake, tmp_path):
    folder = fake(tmp_path / "grid")
    folder.sweep()
    edited = ("multirun.yaml", f"{CELL}/.hydra/overrides.yaml")
    for name in edited:
        (folder.path / name).write_text("edited by hand")
    key = status.read_status(folder.path / CELL)["finished"]
    for _ in range(2):
        folder.sweep()
        for name in edited:
            assert (folder.path / f"{name}.kept-1").read_text() == "edited by hand"
            assert (folder.path / name).read_text() == "written by Hydra"
            assert not (folder.path / f"{name}.kept-2").exists()
    assert status.read_status(folder.path / CELL)["finished"] == key  # the cell stays whole


def test_an_interrupted_cell_says_so_and_runs_again(fake, tmp_path, capsys):
    folder = fake(tmp_path / "cell")
    folder.error = KeyboardInterrupt()
    assert not folder.run()
    record = status.read_status(folder.path)
    assert (record["state"], record["error"]) == (
        "interrupted", "KeyboardInterrupt: KeyboardInterrupt",
    )  # fmt: skip
    assert "KeyboardInterrupt" in (folder.path / "error.txt").read_text(encoding="utf-8")
    assert main([str(folder.path)]) == 1
    told = capsys.readouterr().out
    assert "cell of cell: interrupted" in told
    assert "failed" not in told
    folder.error = None
    folder.run()
    assert status.read_status(folder.path)["state"] == "done"
    assert not (folder.path / "error.txt").exists()


def test_a_failure_that_cannot_be_written_down_still_ends_as_failed(fake, tmp_path, monkeypatch):
    folder = fake(tmp_path / "cell")
    folder.error = RuntimeError("name \udcfc of another locale")
    monkeypatch.setattr(cells, "as_utf8", lambda text: text.encode("ascii", "replace"))

    def full(self, name, data):
        raise OSError("no space")

    monkeypatch.setattr("stitching.records.ledger.Ledger.write", full)
    folder.run()
    assert status.read_status(folder.path)["state"] == "failed"


def test_what_a_finished_cell_and_a_new_start_of_its_sweep_leave(fake, tmp_path):
    folder = fake(tmp_path / "grid")
    folder.sweep()
    first = plan.read_sweep(folder.path)
    folder.error = KeyboardInterrupt()
    folder.key = "b" * 64
    folder.sweep()
    second = plan.read_sweep(folder.path)
    assert second.starts == (first.id,)
    assert second.interrupted is not None
    assert look(folder.path).state == "interrupted"


def test_finished_cells_of_the_start_before_count_where_a_resumed_sweep_was_killed(
    fake, tmp_path, monkeypatch
):
    folder = fake(tmp_path / "grid")
    folder.sweep()
    monkeypatch.setattr(folder, "_job", lambda *_, **__: True)  # killed before its first cell
    monkeypatch.setattr(start, "end_sweep", lambda **_: None)
    folder.sweep()
    assert look(folder.path).counts["done"] == 1
    (cell,), notes = read_cells(folder.path)
    assert (cell.state, notes) == ("done", [])


def test_a_cell_folder_with_foreign_files_stops_the_sweep_before_any_work(fake, tmp_path):
    fill(tmp_path, {f"{CELL}/picture.png": b"x", f"{CELL}/config.yaml": b"y"})
    before, folder = contents(tmp_path), fake(tmp_path)
    with open_dict(folder.cfg):
        folder.cfg.hydra.sweep.dir = str(tmp_path)
    with pytest.raises(SystemExit, match=r"holds config\.yaml and picture\.png, .*hydra\.sweep"):
        start.SweepStart().on_multirun_start(folder.cfg)
    assert contents(tmp_path) == before


def test_a_cell_whose_record_is_lost_runs_again_and_nothing_is_lost(fake, tmp_path):
    folder = fake(tmp_path / "grid")
    folder.sweep()
    (folder.path / CELL / "status.json").write_bytes(b'{"state": "runn')
    old = contents(folder.path / CELL)
    folder.sweep()
    found = contents(folder.path / CELL)
    assert status.read_status(folder.path / CELL)["state"] == "done"
    for name in ("status.json", "metrics.json", "picture.png"):
        assert found[f"{name}.kept-1"] == old[name]


@pytest.fixture(scope="module")
def away(tmp_path_factory):
    """What launch.py does in a folder of pictures, in a locale without signs for their names."""
    folder = tmp_path_factory.mktemp("bäder")
    for name in ("picture.png", "1.png", "2.png"):
        Image.new("RGB", (8, 8)).save(folder / name)
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    def launch(*arguments):
        return subprocess.run(
            [sys.executable, str(LAUNCH), "data=folder", "tracker=none", *arguments],
            cwd=folder, env=os.environ | plain, capture_output=True, check=False, timeout=120,
        )  # fmt: skip

    return folder, launch


def test_launching_in_a_folder_of_pictures_leaves_them_alone(away):
    folder, launch = away
    before = contents(folder)
    done = launch("data.root=.", "hydra.run.dir=.")
    assert done.returncode == 1
    assert b"holds picture.png, which this project did not write" in done.stderr
    assert contents(folder) == before


def test_a_failing_cell_in_the_locale_c_ends_as_failed_with_its_text(away):
    folder, launch = away
    assert launch("data.root='/no/bäder'", "hydra.run.dir=cell").returncode == 1
    assert status.read_status(folder / "cell")["state"] == "failed"
    assert "/no/bäder" in (folder / "cell" / "error.txt").read_text(encoding="utf-8")
    assert "/no/bäder" in status.read_status(folder / "cell")["error"]
