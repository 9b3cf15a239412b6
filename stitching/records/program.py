"""How a command of this project is written where the user is.

An installation has the program `stitching`. In the folder of a checkout the same commands are
`python launch.py` and `python -m stitching.NAME`, which need no installed program.
"""

import shlex
import sys
from pathlib import Path

#: The installed program.
PROGRAM = "stitching"

#: The command that runs cells, a script in a checkout.
RUN = "run"
_SCRIPT = "launch.py"

#: Options of Hydra's command line that say where a configuration lies, and take a value.
PLACES = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn")


def command_line(command: str, *words: str) -> str:
    """Return the line for a shell that starts a command with these words.

    Args:
        command: `run` or another command of `stitching --help`.
        words: Overrides or arguments, quoted where a shell needs it.

    Example:
        >>> command_line("report", "my sweep")  # in a checkout
        "python -m stitching.report 'my sweep'"
    """
    if _is_used() or not in_checkout():
        start = [PROGRAM, command]
    elif command == RUN:
        start = ["python", _SCRIPT]
    else:
        start = ["python", "-m", f"stitching.{command}"]
    return shlex.join([*start, *words])


def started_as() -> list[str]:
    """Return the words that started this process: `launch.py ...` or `stitching run ...`."""
    first, *words = sys.argv
    return [*(first.split() if _is_used() else [first]), *words]


def in_checkout() -> bool:
    """Return whether the current folder is the checkout that this package lies in."""
    script = Path(__file__).parents[2] / _SCRIPT
    try:
        return Path(_SCRIPT).samefile(script)
    except OSError:
        return False


def _is_used() -> bool:
    """Return whether this process is the installed program, which names itself so."""
    return sys.argv[0].startswith(f"{PROGRAM} ")
