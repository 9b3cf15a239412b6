"""The identity of a cell: two cells with equal identities have equal results."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from stitching.compute.source import code_version
from stitching.metrics.base import ImageMetric
from stitching.pipeline.cell import Cell
from stitching.pipeline.provenance import versions

#: Settings that change no result. Of the device, the kind counts, but not the number.
_NOT_RESULTS = frozenset({"tracker", "cache", "resume", "batch_size", "device"})

#: Packages of this project that results depend on.
_COMPUTING = (
    "compute", "config", "data", "maps", "metrics", "models", "pipeline", "probes", "weights",
)  # fmt: skip


def cell_identity(settings: dict[str, Any], cell: Cell) -> str:
    """Return SHA-256 (hex) of everything the files of a cell depend on.

    These are its settings, the weights of its models, ids, pixels and labels of its data, the
    source of the code that computes (a user's classes included), versions of libraries, and the
    kind of device.

    Args:
        settings: All values of the configuration.
        cell: The cell built from it.
    """
    frozen_models = [cell.encoder, cell.decoder, *([cell.via] if cell.via else [])]
    splits = [cell.data.split(split) for split in ("train", "test")]
    own: set[type] = {
        type(module) for frozen in frozen_models for module in frozen.model.modules()
    }
    own |= {type(part) for part in (cell.data, cell.fitting.template, *cell.metrics.values())}
    if cell.probe_suite is not None:
        own.add(type(cell.probe_suite.attributes))
    parts = {
        "settings": {k: v for k, v in settings.items() if k not in _NOT_RESULTS},
        "models": [frozen.identity(decoding=True) for frozen in frozen_models],
        "data": [[split.fingerprint, split.labels_fingerprint] for split in splits],
        "metrics": {key: _measured_with(metric) for key, metric in cell.metrics.items()},
        "code": [computing_code(), code_version(*own)],
        "versions": versions(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _measured_with(metric: ImageMetric) -> str:
    # A cell without a value of a metric is another one than with its weights.
    return "unavailable" if metric.unavailable is not None else metric.space.identity


def computing_files() -> list[Path]:
    """Return the source files of this project that results depend on, sorted."""
    package = Path(__file__).parents[1]
    return sorted(path for name in _COMPUTING for path in (package / name).rglob("*.py"))


@cache
def computing_code() -> str:
    """Return SHA-256 (hex) of `computing_files`, as of the first call in a process."""
    digest = hashlib.sha256()
    for path in computing_files():
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
