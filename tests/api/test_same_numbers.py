"""Python and the command line give the same files, to the byte."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import stitching as st
from tests.toys import LAUNCH


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of pictures with a table of attributes."""
    root = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    lines = ["file,bright"]
    for i in range(60):
        level = int(draw.integers(40, 200))
        noise = draw.integers(-40, 40, (36, 40, 3))
        Image.fromarray((level + noise).astype(np.uint8)).save(root / f"{i}.png")
        lines.append(f"{i}.png,{int(level > 120)}")
    (root / "labels.csv").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="module")
def launched(photos, tmp_path_factory):
    """A cell of the command line: a model that is fitted, and one with an option."""
    cwd = tmp_path_factory.mktemp("launched")
    options = [
        "encoder=pca", "encoder.width=12", "decoder=thumbnail", "decoder.size=8", "data=folder",
        f"data.root={photos}", f"data.attributes={photos}/labels.csv", "data.n_train=40",
        "data.n_test=8", "data.image_size=32", "metric=[rmse,ssim]", "map.n_alphas=20",
        "probe.attributes=[bright]", "tracker=none", "hydra.run.dir=cell", "cache=cache",
    ]  # fmt: skip
    command = [sys.executable, str(LAUNCH), *options]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return cwd


def test_python_computes_the_files_of_the_command_line_and_finds_them(launched, photos, tmp_path):
    data = st.load_data(
        "folder",
        root=photos,
        attributes=photos / "labels.csv",
        n_train=40,
        n_test=8,
        image_size=32,
    )
    encoder = st.load_model("pca", image_size=32, width=12)
    decoder = st.load_model("thumbnail", image_size=32, size=8)
    texts = ["map.n_alphas=20", "probe.attributes=[bright]"]
    options = {"metric": ["rmse", "ssim"], "encoders": [encoder], "decoders": [decoder]}
    (made,) = st.grid([], data, *texts, **options, folder=tmp_path / "made")
    for name in ("metrics.json", "reconstructions.png", "resamples.npz"):
        assert (made.folder / name).read_bytes() == (launched / "cell" / name).read_bytes(), name

    alone = st.stitch(encoder, decoder, data, *texts, metric=options["metric"])
    saved = (alone.save(tmp_path / "alone") / "metrics.json").read_bytes()
    assert saved == (launched / "cell/metrics.json").read_bytes()

    (found,) = st.grid([], data, *texts, **options, cache=launched / "cache")
    status = json.loads((found.folder / "status.json").read_text())
    assert status["reused"] == str(launched / "cell")

    (kept,) = st.grid([], data, *texts, **options, folder=tmp_path / "made")
    assert json.loads((kept.folder / "status.json").read_text())["kept"]
