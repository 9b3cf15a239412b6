"""The plan of a sweep, `sweep.json`, which the starting process writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from stitching.records.files import read_json
from stitching.records.ledger import Ledger

FILE = "sweep.json"


class Job(NamedTuple):
    """A planned cell.

    Attributes:
        number: Its place in the sweep.
        folder: Its folder, relative to the sweep's.
        encoder: Name of the model that encodes.
        decoder: Name of the model that decodes.
        overrides: Options for this job alone.
    """

    number: int
    folder: str
    encoder: str
    decoder: str
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class SweepPlan:
    """One start of a sweep.

    Attributes:
        id: Its id, in the status of its cells.
        group: Group of the tracker's runs; of a resumed sweep the id of its first start.
        started: Time of the start, as ISO 8601 text; this and all other text is "" if the file
            does not contain it.
        host: Machine it was started on.
        pid: The starting process; None if it is not known.
        launcher: Name of Hydra's launcher.
        sweeper: Name of Hydra's sweeper.
        command: Command line.
        cwd: Folder in which it was started.
        overrides: Options of the command line for all jobs.
        jobs: Planned cells; None where the sweeper decides as it goes.
        finished: When it ended; None before.
        interrupted: When the user stopped it; None if nobody did.
        starts: Ids of earlier starts of the same sweep: cells that they finished belong to it.
    """

    id: str
    group: str = ""
    started: str = ""
    host: str = ""
    pid: int | None = None
    launcher: str = ""
    sweeper: str = ""
    command: tuple[str, ...] = ()
    cwd: str = ""
    overrides: tuple[str, ...] = ()
    jobs: tuple[Job, ...] | None = None
    finished: str | None = None
    interrupted: str | None = None
    starts: tuple[str, ...] = ()

    def owns(self, sweep: object, state: str) -> bool:
        """Return whether a cell in some state, of the start `sweep`, belongs to this sweep."""
        return sweep == self.id or (state == "done" and sweep in self.starts)


def read_sweep(folder: Path) -> SweepPlan | None:
    """Read `sweep.json` of a folder; None where there is none, as in older sweeps.

    Raises:
        ValueError: The file is damaged.
    """
    path = folder / FILE
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({type(error).__name__}: {error})") from error
    try:
        return _sweep(found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path} is no description of a sweep ({type(error).__name__}: {error})"
        ) from error


def sweep_ledger(folder: Path) -> Ledger:
    """Return the ledger of a sweep's folder, whose record is `sweep.json`."""
    return Ledger(folder, FILE, ours=("id", "started", "command"))


def note_constants(folder: Path, constants: Mapping[str, Any]) -> None:
    """Record what all cells of a sweep have in common, such as versions of libraries.

    A sweep that has not ended writes its record itself, and an earlier version's lists no files:
    both stay as they are. `grid.parquet` holds the same.
    """
    ledger = sweep_ledger(folder)
    found = ledger.read()
    ended = any(found.get(how) for how in ("finished", "interrupted"))
    if ended and "files" in found and found.get("constants") != constants:
        ledger.save(found | {"constants": dict(constants)})


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return `sweep.json` as it is; empty where there is none, or a damaged one."""
    return read_json(folder / FILE)


def _sweep(found: dict[str, Any]) -> SweepPlan:
    jobs = found.get("jobs")
    pid = found.get("pid")
    return SweepPlan(
        id=str(found["id"]),
        group=str(found.get("group") or found["id"]),
        started=str(found.get("started") or ""),
        host=str(found.get("host") or ""),
        pid=None if pid is None else int(pid),
        launcher=str(found.get("launcher") or ""),
        sweeper=str(found.get("sweeper") or ""),
        command=_texts(found.get("command")),
        cwd=str(found.get("cwd") or ""),
        overrides=_texts(found.get("overrides")),
        jobs=None if jobs is None else tuple(_job(job) for job in jobs),
        finished=_text(found.get("finished")),
        interrupted=_text(found.get("interrupted")),
        starts=_texts(found.get("starts")),
    )


def _job(found: dict[str, Any]) -> Job:
    folder, encoder, decoder = (str(found[key]) for key in ("folder", "encoder", "decoder"))
    return Job(int(found["number"]), folder, encoder, decoder, _texts(found.get("overrides")))


def _text(found: Any) -> str | None:
    return None if found is None else str(found)


def _texts(found: Any) -> tuple[str, ...]:
    return tuple(map(str, found or ()))
