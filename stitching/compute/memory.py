"""Resident memory of this process, where the system reports it."""

import resource
import sys
from pathlib import Path


def count_peak_anew() -> bool:
    """Reset the kernel's peak of resident memory; return whether that worked (Linux only)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def resident(key: str) -> float | None:
    """Return resident memory in MiB on Linux; None on other systems.

    Args:
        key: `VmRSS` for the present, `VmHWM` for the peak since its reset.
    """
    try:
        text = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = [line.split()[1] for line in text.splitlines() if line.startswith(f"{key}:")]
    return int(found[0]) / 2**10 if found else None


def process_peak() -> float:
    """Return the peak resident memory of the process since its start, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # macOS counts bytes, Linux KiB
