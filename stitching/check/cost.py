"""Time and memory of one pass on this device."""

import ctypes
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from stitching.check.findings import Finding, Level
from stitching.compute import memory

_MIB = 2**20


def cost(check: str, function: Callable[[Tensor], Tensor], items: Tensor) -> Finding:
    """Measure time and peak memory of `encode` or `decode`, after a first pass."""
    device = function(items[:1]).device
    with _peak_memory(device) as peak:
        started = time.perf_counter()
        function(items)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - started
    n = len(items)
    text = (
        f"{1000 * seconds / n:.3g} ms and {peak[0] / n:.2g} MiB per image: {n} images at once on "
        f"{device} took {seconds:.2g} s and, at the peak, {peak[0]:.3g} MiB beside the model"
    )
    return Finding(check, Level.OK, text)


@contextmanager
def _peak_memory(device: torch.device) -> Iterator[list[float]]:
    """Yield a list that afterwards contains the peak of allocated memory in MiB."""
    found = [0.0]
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        yield found
        found[0] = (torch.cuda.max_memory_allocated(device) - before) / _MIB
        return
    _release_free_memory()
    memory.count_peak_anew()
    start = memory.resident("VmRSS") or memory.process_peak()
    yield found
    found[0] = max((memory.resident("VmHWM") or memory.process_peak()) - start, 0.0)


def _release_free_memory() -> None:
    """Return free memory to the system, because a pass that reuses it would seem to need none."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):  # not glibc
        return
