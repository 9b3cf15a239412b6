"""A configuration folder of four tiny models, and the command line in real processes."""

import os
import subprocess
import sys
from pathlib import Path

LAUNCH = Path(__file__).parents[2] / "launch.py"

MODELS = {"one": 8, "two": 24, "three": 12, "four": 16}

MODEL = """
_target_: stitching.models.vae.VAE
name: {name}
image_size: ${{data.image_size}}
patch_size: 4
latent_dim: {width}
channels: [8, 8]
value_range: [0.0, 1.0]
weights: null
"""

SMALL = ["data.image_size=32", "data.n_train=24", "data.n_test=6", "metric=[rmse]", "probe=none",
         "map=procrustes"]  # fmt: skip


def write_models(folder, **more):
    (folder / "model").mkdir(parents=True, exist_ok=True)
    for name, width in (MODELS | more).items():
        text = MODEL.format(name=name, width=width)
        (folder / "model" / f"{name}.yaml").write_text(text)
    return folder


def launch(*arguments, cwd, conf, cache=None, tracker="none"):
    """Run a sweep of launch.py with small settings; return the completed process."""
    command = [sys.executable, str(LAUNCH), "-m", "--config-dir", str(conf), *SMALL]
    environment = os.environ | ({"STITCHING_CACHE": str(cache)} if cache else {})
    return subprocess.run(
        [*command, f"tracker={tracker}", *arguments],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
