"""What the check at a sweep's start costs: `python tests/benchmarks/preflight.py [--out P.json]`.

The demo's 20 cells, and 10,000 cells of 100 x 100 models of a user's folder: seconds of
`preflight.check_sweep` alone: the first includes imports that cells need anyway.
"""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from hydra import compose, initialize_config_dir

from stitching import config as configuration
from stitching.config import preflight

sys.path.insert(0, str(Path(__file__).parents[1]))

from toys import write_models  # of the tests, beside this folder

DEMO = (["random", "vae", "nf", "vqvae", "dm"], ["vae", "nf", "vqvae", "dm"])
REPEATS = 3


def seconds(folder, encoders, decoders, *shared):
    """Return the seconds of one check, in a process that has imported what it needs."""
    jobs = [
        [f"encoder={e}", f"decoder={d}", *shared] for e, d in itertools.product(encoders, decoders)
    ]
    with initialize_config_dir(str(configuration.conf_dir()), version_base="1.3"):
        overrides = [f"hydra.searchpath=[file://{folder}]", *jobs[0]]
        master = compose("config", overrides, return_hydra_config=True)
        started = time.perf_counter()
        preflight.check_sweep(master, jobs)
        return time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("preflight.json"))
    out = parser.parse_args().out
    configuration.register_roles()
    found = []
    with tempfile.TemporaryDirectory() as name:
        names = [f"m{k:03d}" for k in range(100)]
        folder = write_models(Path(name), **{model: 4 + k for k, model in enumerate(names)})
        for models, shared in (
            (DEMO, ["tracker=none"]),
            ((names, names), ["data.n_train=32", "data.n_test=8", "tracker=none"]),
        ):
            first, *others = (seconds(folder, *models, *shared) for _ in range(1 + REPEATS))
            cells = len(models[0]) * len(models[1])
            distinct = len({*models[0], *models[1]})
            found.append([cells, distinct, first, statistics.median(others)])
    out.write_text(json.dumps(found) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
