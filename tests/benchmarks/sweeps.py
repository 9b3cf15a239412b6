"""What a sweep costs beside its cells: `python tests/benchmarks/sweeps.py [PART ...]`.

Parts are `overhead`, `parallel` and `scale`, by default all; they are put into `--out`.

1. A warm grid of 16 cells of the packaged models, everything cached: seconds per cell that are
   neither decoding nor scoring, by what they are.
2. The same 16 cells cold, one after the other, by two workers and by eight: seconds, whether the
   numbers are equal to the byte, and how often each kind of shared work was done.
3. Reports, pages and status of 10,000 finished cells that were made up: seconds and memory.
"""

import argparse
import itertools
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from report import make

LAUNCH = Path(__file__).parents[2] / "launch.py"
MODELS = "vae,nf,vqvae,dm"
GRID = [f"encoder={MODELS}", f"decoder={MODELS}", "tracker=none"]
SMALL = ["data.n_train=300", "data.n_test=64"]

#: Stages that decode or score; the others are what a sweep adds.
SCORING = ("decode", "score", "probe", "geometry", "directions")

_FINISHED = re.compile(r"\[stitching\.sweeps\.job\]\[INFO\] - \S+-to-\S+: ")


def sweep(folder, cache, *arguments, threads=None):
    """Run a sweep; return its seconds, and those between two finished cells."""
    environment = os.environ | {"STITCHING_CACHE": str(cache)}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    command = [sys.executable, str(LAUNCH), "-m", *GRID, *arguments, f"hydra.sweep.dir={folder}"]
    started, moments = time.perf_counter(), []
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if _FINISHED.search(line):
                moments.append(time.perf_counter())
    if process.returncode:
        raise SystemExit("".join(lines[-30:]))
    between = [b - a for a, b in itertools.pairwise(moments)]
    return time.perf_counter() - started, between


def resources(folder):
    return {
        path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/resources.json")
    }


def counts(folder):
    """How often each kind of shared work was done, over all cells."""
    found = Counter()
    for cell in resources(folder).values():
        found.update({k: v for k, v in cell.items() if k.startswith("count/")})
    return dict(sorted(found.items()))


def overhead(place, rounds):
    """Seconds per cell of a warm grid, by what they are; medians over rounds of means."""
    cache, found = place / "cache", []
    sweep(place / "cold", cache)
    for number in range(rounds):
        folder = place / f"warm-{number}"
        _, between = sweep(folder, cache, "resume=false")
        cells = resources(folder)
        stages = Counter()
        for name, cell in cells.items():
            if not name.endswith("_0"):  # the first cell loads libraries and metrics
                stages.update({k[5:-2]: v for k, v in cell.items() if k.startswith("time/")})
        n = len(between)
        parts = {stage: seconds / n for stage, seconds in stages.items()}
        wall = statistics.fmean(between)
        parts["between cells"] = wall - parts.pop("total")
        parts["wall"] = wall
        parts["overhead"] = wall - sum(parts.get(stage, 0.0) for stage in SCORING)
        found.append(parts)
    return {key: statistics.median(x[key] for x in found) for key in found[0]}


def parallel(place, _):
    """The same cells one after the other, by two workers and by eight, each from nothing."""
    found, numbers = {}, {}
    for name, arguments in (
        ("sequential", []),
        ("2 workers", ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]),
        ("8 workers", ["hydra/launcher=joblib", "hydra.launcher.n_jobs=8"]),
    ):
        folder = place / name.replace(" ", "-")
        seconds, _ = sweep(folder, place / f"cache-{folder.name}", *SMALL, *arguments, threads=1)
        numbers[name] = {
            path.parent.name: path.read_bytes() for path in folder.glob("*/metrics.json")
        }
        found[name] = {
            "seconds": seconds,
            "cells": len(numbers[name]),
            "equal": numbers[name] == numbers["sequential"],
            "counts": counts(folder),
        }
    return found


def scale(place, rounds):
    """Seconds and memory of commands on 10,000 cells; medians, after a first look at the files."""
    found = {}
    for layout in ("square", "seeds"):
        folder = place / layout
        make(folder, 10_000, layout)
        for command in ("report", "status"):
            runs = [_run("-m", f"stitching.{command}", str(folder)) for _ in range(rounds + 1)]
            found[f"{command}, {layout}"] = {
                "seconds": statistics.median(run[0] for run in runs[1:]),
                "mib": max(run[1] for run in runs),
            }
        found[f"report, {layout}"]["page_mib"] = (folder / "report.html").stat().st_size / 2**20
    return found


def _run(*arguments):
    """Run Python; return its seconds, and the most memory that it held, of one process in MiB."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, _, used = os.wait4(process.pid, 0)
    return time.perf_counter() - started, used.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "parts", nargs="*", metavar="PART", default=["overhead", "parallel", "scale"]
    )
    parser.add_argument("--out", type=Path, default=Path("sweeps.json"))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    found["machine"] = f"{os.cpu_count()} cores, {platform.machine()}"
    with tempfile.TemporaryDirectory() as place:
        for part in options.parts:
            run = {"overhead": overhead, "parallel": parallel, "scale": scale}[part]
            found[part] = run(Path(place), options.rounds)
            options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
