"""Time and memory of `python -m stitching.status` for sweeps of several sizes, as a table.

Run it as `python tests/benchmarks/status.py [CELLS ...]`, by default 16, 1,000 and 10,000. The
sweeps are made in a temporary folder; each is looked at once after it has been made.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/status"))

from made import large  # noqa: E402  # found only by the line above


def measure(folder: Path, *options: str) -> tuple[float, float, float, str]:
    """Return seconds, those of the processor, peak memory in MiB and output of one look."""
    command = [sys.executable, "-m", "stitching.status", str(folder), *options]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    out = process.stdout.read()
    _, code, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(code)
    assert process.returncode in (0, 1, 3), out
    busy = usage.ru_utime + usage.ru_stime
    return time.perf_counter() - started, busy, usage.ru_maxrss / 1024, out


def main() -> None:
    """Measure and print."""
    sizes = [int(text) for text in sys.argv[1:]] or [16, 1000, 10_000]
    print("| cells | seconds | of the processor | peak MiB | seconds as JSON |")
    print("| --: | --: | --: | --: | --: |")
    for n in sizes:
        with tempfile.TemporaryDirectory() as folder:
            large(Path(folder), n)
            seconds, busy, mib, out = measure(Path(folder))
            as_json, _, _, text = measure(Path(folder), "--json")
            assert f"{n} planned" in out
            assert len(json.loads(text)["cells"]) == n
        print(f"| {n:,} | {seconds:.2f} | {busy:.2f} | {mib:.0f} | {as_json:.2f} |")


if __name__ == "__main__":
    main()
