"""Resume a sweep that was stopped: `python -m stitching.resume DIR [OVERRIDE ...]`.

Runs the command that started the sweep again, in the same working directory, with DIR as the
folder of the sweep. Finished cells are kept, all others are run. Overrides such as
`hydra/launcher=joblib` are added to the command.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from stitching.records.plan import FILE, read_manifest
from stitching.records.program import PROGRAM, command_line
from stitching.records.text import make_printable
from stitching.results.commands import resumed


def command(folder: Path, extra: Sequence[str] = ()) -> tuple[list[str], Path]:
    """Return the command that resumes the sweep of a folder, and its working directory.

    Args:
        folder: Folder of the sweep.
        extra: Overrides to add.

    Raises:
        FileNotFoundError: `sweep.json` is missing or damaged, or the program is gone.
    """
    manifest = read_manifest(folder)
    if not manifest.get("command"):
        raise FileNotFoundError(
            f"{folder / FILE} is missing or damaged, so the command of this sweep is not "
            "known: run it again yourself, with hydra.sweep.dir set to this folder"
        )
    program = manifest["command"][0]
    started_in = Path(manifest["cwd"])
    module = ["-m"] if program == PROGRAM else []
    if not module and not (started_in / program).is_file():
        raise FileNotFoundError(f"{started_in / program}, which started the sweep, is gone")
    return [*module, *resumed(manifest["command"], folder), *extra], started_in


def main(argv: Sequence[str] | None = None) -> None:
    """Replace this process by the sweep; errors as in `command`."""
    parser = argparse.ArgumentParser(
        command_line("resume"), description="Go on with a sweep that was stopped."
    )
    parser.add_argument("dir", metavar="DIR", type=Path, help="folder of the sweep")
    parser.add_argument("overrides", metavar="OVERRIDE", nargs="*", help="settings to add")
    given = parser.parse_args(argv)
    arguments, started_in = command(given.dir, given.overrides)
    print(f"in {started_in}: {shlex.join(['python', *arguments])}", flush=True)
    os.chdir(started_in)
    os.execv(sys.executable, [sys.executable, *arguments])


if __name__ == "__main__":
    make_printable()
    try:
        main()
    except FileNotFoundError as problem:
        sys.exit(f"error: {problem}")
