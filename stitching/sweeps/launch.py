"""The command that runs cells: `stitching run`, and `launch.py` of a checkout."""

import sys

import hydra
from omegaconf import DictConfig

from stitching import config
from stitching.records.text import make_printable
from stitching.sweeps import job, start


@hydra.main(version_base="1.3", config_path=str(config.conf_dir()), config_name="config")
def main(cfg: DictConfig) -> float | None:
    """Run the cell that Hydra composed; return what a sweeper may maximise."""
    return job.run_job(cfg)


def launch() -> None:
    """Run what the process's arguments compose, and report a sweep at its end.

    Raises:
        SystemExit: A cell has failed, there are no tables, or the run was interrupted.
    """
    config.register_roles()
    interrupted = False
    make_printable()
    try:
        with job.terminable():
            main()
    except KeyboardInterrupt as stop:
        interrupted = True
        print("interrupted; finished cells keep their files", file=sys.stderr)
        sys.exit(143 if isinstance(stop, job.Terminated) else 130)
    finally:
        # Hydra skips its own end-of-sweep hook when a cell has failed; the report must not be.
        reported = start.end_sweep(interrupted)
    if not reported:
        sys.exit(1)
