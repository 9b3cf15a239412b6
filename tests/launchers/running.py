"""Real sweeps of tiny models, in processes of their own."""

import csv
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from stitching import report
from tests.toys import LAUNCH

SMALL = ["data.image_size=32", "data.n_train=24", "data.n_test=6", "metric=[rmse]", "probe=none"]


def start(*arguments, cwd, module=None):
    """Start launch.py, or a module, with a cache of its folder's own."""
    program = [str(LAUNCH)] if module is None else ["-m", module]
    # More threads would only wait for each other.
    own = {"STITCHING_CACHE": str(cwd / "cache"), "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *program, *arguments],
        cwd=cwd,
        env=os.environ | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process):
    """Wait for the end; return exit code and output."""
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def launch(*arguments, cwd, module=None):
    return finish(start(*arguments, cwd=cwd, module=module))


def cells(sweep):
    """Folders of cells by name."""
    return {path.name: path for path in sweep.iterdir() if (path / "status.json").exists()}


def read(cell, name="status.json"):
    return json.loads((cell / name).read_text())


def rows(sweep):
    """The rows of finished cells, each complete; none where there is no summary yet."""
    try:
        text = (sweep / "summary.csv").read_text()
    except FileNotFoundError:
        return []
    assert text.endswith("\n")
    header, *lines = csv.reader(text.splitlines())
    assert all(len(line) == len(header) for line in lines)
    found = [dict(zip(header, line, strict=True)) for line in lines]
    return [row for row in found if row["state"] == "done"]


def processes_in(folder):
    """Numbers of the living processes that were started in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            here = (path / "cwd").readlink() == folder
        except OSError:  # it has ended meanwhile, or is another user's
            continue
        if here:
            found.append(int(path.name))
    return found


class Reader(threading.Thread):
    """Writes and reads the tables of a sweep again and again while it is at work.

    Attributes:
        tables: Pairs (encoder, decoder) of every table that was read.
        problem: What went wrong, or None.
    """

    def __init__(self, find_sweep):
        super().__init__()
        self.find_sweep, self.stop = find_sweep, threading.Event()
        self.tables, self.problem = [], None

    def run(self):
        try:
            while not self.stop.is_set():
                self._look()
                self.stop.wait(1)
        except BaseException as error:  # shown by the test, in its own thread
            self.problem = error

    def _look(self):
        for sweep in self.find_sweep():
            try:
                report.report_sweeps([sweep])
            except (ValueError, FileNotFoundError):
                continue  # no cell has finished
            found = rows(sweep)
            assert all(row["latent/r2"] and row["image/rmse"] for row in found)
            self.tables.append([(row["encoder"], row["decoder"]) for row in found])

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exception):
        self.stop.set()
        self.join()
