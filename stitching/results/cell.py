"""One cell with the contents of its files."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile

from stitching.results.blocks import merged, read_blocks
from stitching.results.controls import CONTROLS
from stitching.results.differences import Difference, Numbers, Quantity, mean_difference

#: Models that are no trained generative models: controls of a table.
BASELINES = tuple(CONTROLS)

_PROBED = ("probe/", "factor/", "class/")


def family(name: str) -> str:
    """Return the kind of a model from its name: `nf` of `nf-celeba64` and `nf[n_steps=5]`."""
    return re.split(r"[-\[]", name, maxsplit=1)[0]


@dataclass(frozen=True, eq=False)
class CellRecord:
    """One cell with the contents of its files.

    Attributes:
        path: Its folder.
        encoder: Name of the model that encodes; "" if it is not known.
        decoder: Name of the model that decodes; "" if it is not known.
        state: "done", "failed", "unfinished", "invalid", or "missing" where it was planned and
            never started.
        reason: Why it is not done.
        sweep: Id of the start of a sweep that it belongs to.
        written: When its files were written last, in ns; 0 without files.
        values: Contents of `metrics.json` and `resources.json`.
        key: Hash of all that its results depend on: cells with the same key are repeats. "" if
            it is not done, or has none.
        reused: The folder that it was copied from; "" where it was computed.
        job: Its place in the plan of the sweep; None without a plan.
        overrides: Options that the plan set for it alone.
    """

    path: Path
    encoder: str
    decoder: str
    state: str
    reason: str
    sweep: object
    written: float
    values: Mapping[str, Any]
    key: str = ""
    reused: str = ""
    job: int | None = None
    overrides: tuple[str, ...] = ()

    @property
    def pair(self) -> tuple[str, str]:
        """Encoder and decoder."""
        return self.encoder, self.decoder

    @property
    def protocol(self) -> str:
        """Label of the protocol it was measured by; "" in cells without one."""
        return str(self.values.get("protocol") or "")

    @property
    def diagonal(self) -> bool:
        """Whether it is a model's own reconstruction: one model with one set of options.

        Cells of earlier versions give one name to a model with two sets of options; between such
        two there is a map.
        """
        return self.encoder == self.decoder and self.values.get("map") in (None, "identity")

    @property
    def same_weights(self) -> bool:
        """Whether one set of weights encodes and decodes, under whatever options."""
        encoder, decoder = (self.values.get(f"weights/{x}") for x in ("encoder", "decoder"))
        return encoder is not None and encoder == decoder

    @property
    def kinds(self) -> tuple[str, str]:
        """Kinds of the models that encode and decode, whatever their names."""
        encoder, decoder = (
            family(str(self.values.get(f"{role}/model") or name))
            for role, name in (("encoder", self.encoder), ("decoder", self.decoder))
        )
        return encoder, decoder

    @cached_property
    def blocks(self) -> tuple[str, ...]:
        """Text of `config.yaml` in the blocks of `read_blocks`."""
        return read_blocks(self.path / "config.yaml")

    @property
    def config(self) -> dict[str, Any]:
        """Contents of `config.yaml`, not to be changed; empty where there is none."""
        return merged(self.blocks)

    def flat(self, key: str) -> float | None:
        """Return a measure at the penalty that scores as well with another map, if any."""
        return self.number(f"flat/{key}") if self.values.get("map/flat") else None

    def number(self, key: str) -> float | None:
        """Return a finite number; None for all else."""
        value = self.values.get(key)
        if type(value) is float:  # almost all
            return value if math.isfinite(value) else None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        return float(value) if math.isfinite(value) else None

    def attributes(self, key: str) -> list[str]:
        """Return the attributes that have a measure, such as `Male` of `probe/kappa/Male`."""
        start = f"{key}/"
        names = [x.removeprefix(start) for x in self.values if x.startswith(start)]
        return [x for x in names if not x.endswith((".low", ".high")) and "/" not in x]

    def interval(self, key: str) -> tuple[float, float] | None:
        """Return the ends of a measure's 95 % interval, as the cell wrote them."""
        low, high = self.number(f"{key}.low"), self.number(f"{key}.high")
        return None if low is None or high is None else (low, high)

    def quantity(self, key: str) -> Quantity:
        """Return a measure with its draws, where the cell kept them."""
        if key not in self._quantities:
            draws = self._draws(key)
            ids, n = self.values.get("data/test_ids"), self.values.get("n_test")
            # Protocols select the items of probes in different ways, not only their number.
            probed = self.values.get("protocol/probe_ids") if key.startswith(_PROBED) else None
            known = draws is not None and ids is not None
            items = (ids, n, probed, len(draws)) if known and draws is not None else None
            self._quantities[key] = Quantity(self.number(key), draws, items)
        return self._quantities[key]

    @cached_property
    def _quantities(self) -> dict[str, Quantity]:
        return {}

    def _draws(self, key: str) -> Numbers | None:
        path = self.path / "resamples.npz"
        if not path.is_file():
            return None
        found = _opened(path, path.stat().st_mtime_ns)
        return found[key].astype(np.float64) if key in found else None


def difference(first: CellRecord, second: CellRecord, key: str) -> Difference:
    """Return a measure of the first finished cell minus that of the second."""
    return mean_difference([first.quantity(key)], [second.quantity(key)])


@lru_cache(maxsize=64)  # a grid's: to open a file takes longer than to read 30 measures from it
def _opened(path: Path, written: int) -> NpzFile:
    """Return an open file of draws, which closes when it leaves the cache.

    A file that has been `written` again, by its time in ns, is opened again.
    """
    found: NpzFile = np.load(path, allow_pickle=False)
    return found
