"""Provenance of a result (data, weights, versions), and the peak memory of a run."""

import json
import sys

import torch

from stitching.compute import memory
from stitching.data.base import ImageSet, ids_hash
from stitching.metrics.resampling import Facts
from stitching.models.base import GenerativeModel
from stitching.pipeline.encoding import FrozenModel


def of_data(image_size: int, train: ImageSet, test: ImageSet) -> Facts:
    """Return hashes of the ids and of the pixels behind a result, keys `data/...`."""
    return {
        "data/image_size": image_size,
        "data/train_ids": ids_hash(train.ids),
        "data/test_ids": ids_hash(test.ids),
        "data/train_pixels": train.fingerprint,
        "data/test_pixels": test.fingerprint,
    }


def of_options(**frozen_models: FrozenModel) -> Facts:
    """Return the YAML of each role's model, `ROLE/model`, and options that differ from it.

    An option is a number, a text, or JSON where it is neither; its key is such as
    `encoder/n_steps`.
    """
    facts: Facts = {}
    for role, frozen in frozen_models.items():
        facts[f"{role}/model"] = frozen.model_name
        for key, value in frozen.changed.items():
            plain = value is None or isinstance(value, str | int | float)
            facts[f"{role}/{key}"] = value if plain else json.dumps(value)
    return facts


def of_weights(**models: GenerativeModel) -> Facts:
    """Return hashes of models' weights, keys `weights/ROLE`.

    `weights/ROLE_images_seen` is the number of training images, and `weights/ROLE_objective` the
    objective of the training, such as "own + 50 gain of the inverse", where the weight file has
    them.
    """
    facts: Facts = {f"weights/{role}": model.weights_hash for role, model in models.items()}
    for role, model in models.items():
        seen = model.card.get("images_seen", "")
        if seen.isdecimal():
            facts[f"weights/{role}_images_seen"] = int(seen)
        if objective := model.card.get("objective", ""):
            facts[f"weights/{role}_objective"] = objective
    return facts


def versions() -> Facts:
    """Return the versions that results depend on, keys `version/...`."""
    from importlib.metadata import version

    names = (
        "torch", "torchvision", "diffusers", "lpips", "torchmetrics", "numpy", "scipy",
        "scikit-learn",
    )  # fmt: skip
    python = ".".join(map(str, sys.version_info[:3]))
    return {
        "version/stitching": version("stitching"),
        "version/python": python,
        **{f"version/{name}": version(name) for name in names},
    }


class PeakMemory:
    """Peak memory since construction, so that each cell of a process has its own.

    Linux can reset its count of the peak. Where it may not, or on another system, the peak of
    the whole process is recorded, earlier cells included, under another key.
    """

    def __init__(self) -> None:
        self._anew = memory.count_peak_anew()
        for device in _cuda_devices():
            torch.cuda.reset_peak_memory_stats(device)

    def facts(self) -> Facts:
        """Return peaks in MiB.

        `memory/cell_peak_mib`, or else `memory/process_peak_mib`, is resident memory;
        `memory/cell_peak_cuda_mib` is what was allocated, on the device that had the most.
        """
        peak = memory.resident("VmHWM") if self._anew else None
        if peak is None:
            found: Facts = {"memory/process_peak_mib": memory.process_peak()}
        else:
            found = {"memory/cell_peak_mib": peak}
        cuda = [torch.cuda.max_memory_allocated(device) for device in _cuda_devices()]
        if cuda:
            found["memory/cell_peak_cuda_mib"] = max(cuda) / 2**20
        return found


def _cuda_devices() -> range:
    return range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
