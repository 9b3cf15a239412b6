"""docs/YOUR_MODEL.md does what it says, as written."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "YOUR_MODEL.md"

#: Small enough for a test; everything else is as on the page.
SMALL = {
    "stitching check": ["n_images=6", "data.n_test=6", "data.n_train=8"],
    "stitching run": ["data.n_test=6", "data.n_train=24", "metric=[rmse]", "probe=none",
                      "tracker=none", "hydra.run.dir=out"],
}  # fmt: skip


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files of the page, under the names in their first lines."""
    folder = tmp_path_factory.mktemp("mine")
    for text in blocks("python") + blocks("yaml"):
        path = folder / text.splitlines()[0].removeprefix("# ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def run(folder, word):
    """Run the line of the page with this word in it."""
    setting, *commands = blocks("sh")[0].splitlines()
    assert setting.startswith("export PYTHONPATH=. ")
    (line,) = [command for command in commands if word in command]
    program, *arguments = shlex.split(line)
    assert program == "stitching"
    path = os.pathsep.join([".", str(ROOT)])  # the project may not be installed
    return subprocess.run(
        [sys.executable, "-m", program, *arguments, *SMALL[word]],
        cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        timeout=240,
    )  # fmt: skip


def test_the_class_is_as_short_as_the_page_promises():
    (text,) = blocks("python")
    lines = text[text.index("class ") :].splitlines()
    assert len([line for line in lines if line.strip()]) <= 25


def test_the_model_of_the_page_keeps_the_contract(folder):
    done = run(folder, "stitching check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failed" in done.stdout
    assert "ok       latent shape         (48, 8, 8) per image" in done.stdout
    assert not (folder / "outputs").exists()


def test_a_cell_of_the_page_runs(folder):
    done = run(folder, "stitching run")
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads((folder / "out" / "metrics.json").read_text())
    assert (metrics["encoder"], metrics["decoder"]) == ("mine", "vae")
    assert 0 < metrics["image/rmse"] < 0.3
