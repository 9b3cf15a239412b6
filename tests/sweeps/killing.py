"""Kills a sweep at random moments and goes on with it; forks, so that nothing is imported twice.

`killing.py LAUNCH CONF KILLS FOLDER` prints one JSON object: results by cell of the uninterrupted
sweep, and of each one that was killed and resumed.
"""

import json
import os
import random
import runpy
import signal
import sys
import time
from pathlib import Path

MODELS = "one,two,three,four"
SMALL = ["data.image_size=32", "data.n_train=24", "data.n_test=6", "metric=[rmse]", "probe=none",
         "tracker=none", "map=procrustes"]  # fmt: skip


def start(launch, conf, folder):
    """Start a sweep of 16 cells in a child process; return its number."""
    child = os.fork()
    if child:
        return child
    os.environ["STITCHING_CACHE"] = str(folder / "cache")
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(folder)
    roles = [f"encoder={MODELS}", f"decoder={MODELS}"]
    sys.argv = [launch, "-m", "--config-dir", conf, *roles, *SMALL, "hydra.sweep.dir=grid"]
    try:
        runpy.run_path(launch, run_name="__main__")
    finally:
        os._exit(0)


def results(folder):
    """What the files say: state and bytes of each cell, and the table without times."""
    cells = {}
    for path in sorted((folder / "grid").glob("*-to-*")):
        status = json.loads((path / "status.json").read_text())
        cells[path.name] = [status["state"], (path / "metrics.json").read_text()]
    table = (folder / "grid" / "table.md").read_text()
    leftovers = [str(path) for path in folder.glob("grid/**/*.partial*")]
    return {"cells": cells, "table": table, "leftovers": leftovers}


def main(launch, conf, kills, folder):
    sys.path.insert(0, str(Path(launch).parent))
    import matplotlib.figure  # noqa: F401  what a sweep imports, once for all
    import pandas  # noqa: F401
    import torch

    import stitching.pipeline.cell
    import stitching.report  # noqa: F401

    torch.set_num_threads(1)
    folder = Path(folder)
    whole = folder / "whole"
    whole.mkdir()
    started = time.monotonic()
    os.waitpid(start(launch, conf, whole), 0)
    duration = time.monotonic() - started
    found = {"whole": results(whole), "killed": []}
    moments = random.Random(0)
    for number in range(int(kills)):
        killed = folder / str(number)
        killed.mkdir()
        child = start(launch, conf, killed)
        time.sleep(moments.uniform(0, duration))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        done = sum('"done"' in path.read_text() for path in killed.glob("grid/*/status.json"))
        os.waitpid(start(launch, conf, killed), 0)
        kept = (killed / "log.txt").read_text().count("finished before, kept")
        found["killed"].append(results(killed) | {"done": done, "kept": kept})
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
