"""The machine that looks: its name, its clock, and which processes live on it."""

import os
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

#: Seconds by which a process may seem younger than what it wrote: clocks are set now and then.
_SLACK_S = 10.0

_PROC = Path("/proc")


@dataclass(frozen=True)
class Machine:
    """Where and when a sweep is looked at.

    Attributes:
        host: Name of this machine.
        now: Unix time of the look, in s.
    """

    host: str = field(default_factory=socket.gethostname)
    now: float = field(default_factory=time.time)

    def runs(self, pid: int, since: float | None) -> bool:
        """Return whether a process of this machine is alive.

        Args:
            pid: Its number.
            since: Unix time in s at which it is known to have lived. One that began later has
                only got the number again, where the system tells when a process began.
        """
        if pid < 1:
            return False
        if (_PROC / "self/stat").exists():
            began = _began(pid)
            return began is not None and (since is None or began <= since + _SLACK_S)
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # it is another user's
            return True
        return True


def _began(pid: int) -> float | None:
    """Return when a process began, in unix s; None if there is none or it has ended."""
    try:
        # The name of the program comes second, in brackets, and may hold anything.
        fields = (_PROC / f"{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        if fields[0] in "ZX":  # it has ended, but nobody asked how
            return None
        ticks = int(fields[19])
        for line in (_PROC / "stat").read_text("utf-8", "replace").splitlines():
            if line.startswith("btime "):
                return int(line.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
    return 0.0
