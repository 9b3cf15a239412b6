"""How long the report of a large sweep takes, and how much memory.

    python tests/benchmarks/report.py FOLDER [--layout seeds|square] [--cells 10000]

makes finished cells in FOLDER, as large as runs leave them but for the draws (9 kB in place of
400), unless they are there, and reports them in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from stitching.report import MEASURES

ATTRIBUTES = ("Bald", "Blond_Hair", "Wavy_Hair", "Smiling", "Eyeglasses", "Heavy_Makeup", "Male",
              "No_Beard")  # fmt: skip

#: Settings of a run, about 3.5 kB with those of two models.
SETTINGS = """data:
  _target_: stitching.data.faces.Faces
  name: faces
  n_train: 1500
  n_test: 128
  seed: {seed}
map:
  _target_: stitching.maps.Ridge
  alpha: null
  n_alphas: 100
metric:
{metrics}
protocol:
  name: strict
  penalty: chosen
  measures:
  - latent/r2
  - image/rmse
encoder:
{encoder}
decoder:
{decoder}
seed: 0
device: auto
batch_size: 32
"""


def numbers(generator: np.random.Generator) -> dict[str, float]:
    """Return every measure with its interval, probes also by attribute."""
    keys = [measure.key for measure in MEASURES]
    probes = [key for key in keys if key.startswith(("probe/", "factor/", "class/"))]
    keys += [f"{key}/{name}" for key in probes for name in ATTRIBUTES]
    found: dict[str, float] = {}
    for key, value in zip(keys, generator.random(len(keys)).tolist(), strict=True):
        found |= {key: value, f"{key}.low": value * 0.93, f"{key}.high": value * 1.07}
    return found


def texts_of(name: str) -> str:
    """Return settings of a model."""
    lines = [f"name: {name}", "image_size: 64", f"weights: zoo:faces/{name}.safetensors"]
    lines += [f"option_{number}: {number * 0.5}" for number in range(30)]
    return "\n".join(f"  {line}" for line in lines)


def make_cell(
    folder: Path, number: int, encoder: str, decoder: str, seed: int, sweep: str
) -> None:
    """Write the files of a finished cell."""
    generator = np.random.default_rng(number)
    facts: dict[str, object] = {"encoder": encoder, "decoder": decoder, "data": "faces"}
    facts |= {"map": "ridge", "alpha": 719.9, "n_train": 1500, "n_test": 128, "seed": 0}
    facts |= {"protocol": "strict", "data/test_ids": "0026a29aaf2f4d78" * 4}
    facts |= {f"version/part{n}": f"{n}.0.1" for n in range(20)} | numbers(generator)
    facts |= {"image/fd_effnet_n": 128, "image/fd_effnet_dim": 1280, "probe/n_attributes": 8}
    times = {f"time/{k}_s": generator.random() for k in ("encode", "fit", "decode", "total")}
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(facts, indent=1))
    (folder / "resources.json").write_text(json.dumps(times | {"sweep": sweep}, indent=1))
    metrics = "\n".join(f"  metric_{n}:\n    _target_: stitching.metrics.m{n}" for n in range(20))
    models = {"encoder": texts_of(encoder), "decoder": texts_of(decoder)}
    (folder / "config.yaml").write_text(SETTINGS.format(seed=seed, metrics=metrics, **models))
    draws = {key: generator.random(100, np.float32) for key in ("image/rmse", "image/lpips")}
    np.savez_compressed(folder / "resamples.npz", **draws)  # type: ignore[arg-type]
    status = {"state": "done", "sweep": sweep, "key": f"{number:064x}"}
    status["files"] = {name.name: "0" * 64 for name in folder.iterdir()}  # type: ignore[assignment]
    (folder / "status.json").write_text(json.dumps(status, indent=1))


def make(root: Path, cells: int, layout: str) -> None:
    """Write a sweep: 16 seeds of one grid, or one grid; the last cell never started."""
    seeds = 16 if layout == "seeds" else 1
    side = math.isqrt(cells // seeds)
    names = [f"model{number:02d}" for number in range(side)]
    jobs = []
    for number in range(side * side * seeds):
        place, seed = divmod(number, seeds)
        encoder, decoder = names[place // side], names[place % side]
        folder = f"{encoder}-to-{decoder}_{number}"
        overrides = [f"encoder={encoder}", f"decoder={decoder}", f"data.seed={seed}"]
        job = {"number": number, "folder": folder, "encoder": encoder, "decoder": decoder}
        jobs.append(job | {"overrides": overrides})
        if number < side * side * seeds - 1:
            make_cell(root / folder, number, encoder, decoder, seed, "big")
    (root / "sweep.json").write_text(json.dumps({"id": "big", "jobs": jobs}))


def main() -> None:
    """Make a sweep and report it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layout", choices=("seeds", "square"), default="seeds")
    parser.add_argument("--cells", type=int, default=10_000)
    options = parser.parse_args()
    if not options.folder.exists():
        make(options.folder, options.cells, options.layout)
    command = [sys.executable, "-m", "stitching.report", str(options.folder)]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    took = time.perf_counter() - started
    print(done.stdout[:2000])
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{took:.1f} s, of processors {used.ru_utime + used.ru_stime:.1f} s, at most "
        f"{used.ru_maxrss / 1024:.0f} MiB in one process"
    )


if __name__ == "__main__":
    main()
