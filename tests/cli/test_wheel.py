"""The program as `pip install` leaves it: from the built wheel, in an empty folder."""

import json
import os
import subprocess
import sys
import sysconfig
import time
import venv

import pytest

from tests.toys import LAUNCH, write_models

pytestmark = pytest.mark.long

SMALL = ["data.image_size=64", "data.n_train=24", "data.n_test=6", "metric=[rmse]", "probe=none",
         "controls=false", "tracker=none"]  # fmt: skip


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The programs of a new environment, which has the wheel and the libraries of this one."""
    pytest.importorskip("hatchling")
    root = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(root)]
    subprocess.run(build, cwd=LAUNCH.parent, check=True, capture_output=True)
    (wheel,) = root.glob("*.whl")
    venv.create(root / "venv", with_pip=False)
    programs = root / "venv" / "bin"
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install"]
    subprocess.run([*pip, "-q", "--no-deps", "--no-index", str(wheel)], check=True)
    (libraries,) = (root / "venv").glob("lib/*/site-packages")
    # A path in a .pth file adds the libraries, but not what their own .pth files add.
    (libraries / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    return programs


@pytest.fixture(scope="module")
def stitching(environment, tmp_path_factory):
    """Run the program in one empty folder; return the completed process."""
    here = tmp_path_factory.mktemp("empty")
    write_models(here / "my", mine=8)
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    path = f"{environment}{os.pathsep}{os.environ['PATH']}"
    variables = kept | {"PATH": path, "STITCHING_CACHE": str(here / "cache")}

    def run(*words):
        return subprocess.run(
            ["stitching", *words], cwd=here, env=variables, capture_output=True, text=True,
            timeout=600, check=False,
        )  # fmt: skip

    run.folder = here
    return run


@pytest.fixture(scope="module")
def grid(stitching):
    own = ["encoder=vae,mine", "--config-dir", "my", "decoder=vae"]
    done = stitching("grid", *own, *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = stitching.folder.glob("outputs/*/*_grid")
    return folder, done.stdout


def test_the_package_is_that_of_the_wheel(environment, tmp_path):
    code = "import stitching; print(stitching.__file__)"
    done = subprocess.run(
        [environment / "python", "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"}, check=True,
    )  # fmt: skip
    assert done.stdout.startswith(str(environment.parent))


def test_help_is_there_at_once(stitching):
    times = []
    for _ in range(3):
        began = time.monotonic()
        assert "usage: stitching COMMAND" in stitching("--help").stdout
        times.append(time.monotonic() - began)
    assert min(times) < 1.5


def test_a_grid_of_packaged_and_own_models_is_written_where_the_user_is(grid):
    folder, _ = grid
    states = [json.loads(path.read_text())["state"] for path in folder.glob("*/status.json")]
    assert states == ["done", "done"]
    assert (folder / "report.html").is_file()


def test_lines_to_copy_need_no_checkout(grid, stitching):
    folder, _ = grid
    shown = stitching("status", str(folder)).stdout
    assert "stitching run --config-dir my experiment=grid encoder=vae,mine decoder=vae" in shown
    texts = [shown, (folder / "claims.md").read_text(), (folder / "report.html").read_text()]
    assert not [text for text in texts if "launch.py" in text or "python -m stitching" in text]
    assert not [text for text in texts if "make resume" in text]


def test_a_sweep_is_resumed_and_reported(grid, stitching):
    folder, _ = grid
    (folder / "vae-to-vae_0" / "status.json").unlink()
    again = stitching("resume", str(folder), "resume=false")
    assert again.returncode == 0, again.stdout + again.stderr
    assert (folder / "vae-to-vae_0" / "status.json").is_file()
    assert stitching("report", str(folder)).returncode == 0


def test_a_model_is_checked_and_trained(stitching):
    options = ["data.image_size=32", "data.n_pretrain=48"]
    own = [
        "--config-dir",
        "my",
        "model=mine",
        "+model.training={batch_size: 16, n_images: 32, lr: 0.001}",
    ]
    checked = stitching("check", "--config-dir", "my", "encoder=mine", "data.image_size=32")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    trained = stitching("train", *own, *options, "tracker=none")
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert (stitching.folder / "outputs/zoo/faces/mine.safetensors").is_file()


def test_a_misspelt_command_is_refused(stitching):
    done = stitching("rnu")
    assert done.returncode == 2
    assert "did you mean run?" in done.stderr
