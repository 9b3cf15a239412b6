"""The command line in real processes, on models of a user's own configuration folder."""

import json
import math
import subprocess
import sys

import pandas as pd
import pytest

from tests.toys import LAUNCH, write_models

SMALL = ["data.image_size=32", "data.n_train=24", "data.n_test=6", "metric=[rmse,lpips]",
         "probe.attributes=[Male,Smiling]"]  # fmt: skip


def launch(*arguments, cwd):
    command = [sys.executable, str(LAUNCH), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def conf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conf")
    return write_models(folder, broken=["gone"], one=8, two=24, gone=8)


@pytest.fixture(scope="module")
def sweep(conf, tmp_path_factory):
    """One sweep with a broken model in it."""
    cwd = tmp_path_factory.mktemp("sweep")
    arguments = ["-m", "--config-dir", str(conf), "encoder=one,gone,random", "decoder=one,two"]
    done = launch(*arguments, *SMALL, "hydra.sweep.dir=grid", "cache=cache", cwd=cwd)
    return cwd, done


def cells(cwd):
    return {
        path.name: path for path in (cwd / "grid").iterdir() if (path / "status.json").exists()
    }


def test_one_broken_cell_leaves_the_others_and_the_exit_code_says_so(sweep):
    cwd, done = sweep
    assert done.returncode == 1
    states = {
        name: json.loads((path / "status.json").read_text())["state"]
        for name, path in cells(cwd).items()
    }
    assert states == {
        "one-to-one_0": "done",
        "one-to-two_1": "done",
        "gone-to-one_2": "failed",
        "gone-to-two_3": "failed",
        "random-to-one_4": "done",
        "random-to-two_5": "done",
    }


def test_a_failed_cell_holds_its_own_message(sweep):
    cwd, _ = sweep
    path = cells(cwd)["gone-to-one_2"]
    error = json.loads((path / "status.json").read_text())["error"]
    assert error.startswith("ValueError: encoder gone returned latents")
    assert "not finite" in error
    assert "Traceback" in (path / "error.txt").read_text()
    assert not (path / "metrics.json").exists()


def test_the_summary_lists_what_failed(sweep):
    _, done = sweep
    assert "gone-to-one_2" in done.stdout
    assert "failed" in done.stdout


def test_metrics_are_flat_plain_and_finite(sweep):
    cwd, _ = sweep
    metrics = json.loads((cells(cwd)["random-to-two_5"] / "metrics.json").read_text())
    assert (metrics["encoder"], metrics["decoder"]) == ("random", "two")
    for key in ("latent/mse", "latent/r2", "image/rmse", "image/lpips", "probe/consistency"):
        assert math.isfinite(metrics[key])
    assert all(v is None or isinstance(v, (str, int, float)) for v in metrics.values())


def test_tables_and_pictures_of_the_sweep_are_there(sweep):
    cwd, _ = sweep
    rows = pd.read_parquet(cwd / "grid" / "grid.parquet")
    assert [*zip(rows["encoder"], rows["decoder"], strict=True)] == [
        ("random", "one"), ("random", "two"), ("one", "one"), ("one", "two"),
    ]  # fmt: skip
    assert (rows["time/total_s"] > 0).all()
    constants = json.loads((cwd / "grid" / "sweep.json").read_text())["constants"]
    assert (constants["n_train"], constants["dtype"]) == (24, "float32")
    names = {path.name for path in (cwd / "grid").glob("*.png")}
    assert {"pictures.png", "heatmap_image_rmse.png", "heatmap_latent_r2.png"} <= names
    for name in ("reconstructions.png", "picture.png", "config.yaml"):
        assert (cells(cwd)["one-to-two_1"] / name).is_file()


def test_every_cell_has_a_run_of_its_own(sweep):
    cwd, _ = sweep
    runs = [list((path / "wandb").glob("offline-run-*")) for path in cells(cwd).values()]
    assert [len(found) for found in runs] == [1] * 6
    ids = {found[0].name.rpartition("-")[2] for found in runs}
    assert len(ids) == 6


def test_models_are_encoded_once_per_sweep(sweep):
    cwd, _ = sweep
    counts = {
        name: json.loads((path / "resources.json").read_text())["count/images_encoded"]
        for name, path in cells(cwd).items()
        if (path / "resources.json").exists()
    }
    assert counts == {
        "one-to-one_0": 30, "one-to-two_1": 30, "random-to-one_4": 30, "random-to-two_5": 0,
    }  # fmt: skip


def test_a_rerun_is_equal_to_the_byte_and_outputs_go_to_the_launch_folder(sweep, conf, tmp_path):
    cwd, _ = sweep
    arguments = ["--config-dir", str(conf), "encoder=one", "decoder=two", "tracker=none"]
    before = set(LAUNCH.parent.iterdir())
    done = launch(*arguments, *SMALL, "hydra.job.chdir=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (again,) = tmp_path.glob("outputs/*/*_one-to-two/metrics.json")
    first = (cells(cwd)["one-to-two_1"] / "metrics.json").read_bytes()
    assert again.read_bytes() == first
    assert set(LAUNCH.parent.iterdir()) == before


def test_a_relative_root_is_taken_from_the_launch_folder(conf, tmp_path):
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    for i in range(60):
        Image.new("RGB", (40, 40), (4 * i, 80, 200)).save(tmp_path / "pictures" / f"{i}.png")
    arguments = ["--config-dir", str(conf), "encoder=one", "decoder=one", "tracker=none"]
    data = ["data=folder", "data.root=pictures", "data.image_size=32", "data.n_train=9"]
    options = ["data.n_test=3", "metric=[rmse]", "probe=none", "hydra.job.chdir=true"]
    done = launch(*arguments, *data, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_wrong_input_is_one_message_without_traceback(tmp_path):
    done = launch("data=celeba", "tracker=none", "metric=[rmse]", cwd=tmp_path)
    assert done.returncode == 1
    assert "data.root" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_help_lists_every_option_without_importing_torch(tmp_path):
    code = (
        "import runpy, sys; sys.argv = ['launch.py', '--help']\n"
        f"try: runpy.run_path({str(LAUNCH)!r}, run_name='__main__')\n"
        "finally: sys.stderr.write(' '.join(m for m in ('torch', 'wandb', 'diffusers', 'pandas')"
        " if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0
    assert done.stderr == ""
    models = ", ".join(sorted(path.stem for path in (LAUNCH.parent / "conf/model").glob("*.yaml")))
    for role in ("encoder", "decoder"):
        assert f"{role}: {models}" in done.stdout
