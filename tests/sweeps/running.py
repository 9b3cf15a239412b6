"""Sweeps of four tiny models in real processes."""

import os
import subprocess
import sys

from tests.toys import LAUNCH

MODELS = {"one": 8, "two": 24, "three": 12, "four": 16}

SMALL = ["data.image_size=32", "data.n_train=24", "data.n_test=6", "metric=[rmse]", "probe=none",
         "map=procrustes"]  # fmt: skip


def launch(*arguments, cwd, conf, cache=None, tracker="none"):
    """Run a sweep of launch.py with small settings; return the completed process."""
    command = [sys.executable, str(LAUNCH), "-m", "--config-dir", str(conf), *SMALL]
    environment = os.environ | ({"STITCHING_CACHE": str(cache)} if cache else {})
    return subprocess.run(
        [*command, f"tracker={tracker}", *arguments],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
