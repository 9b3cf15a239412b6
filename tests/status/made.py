"""Folders of sweeps as runs leave them at some moment."""

import json
import os
import socket
from datetime import UTC, datetime

#: The moment at which tests look, and the start of the sweeps they look at.
NOW = 1_800_000_000.0
STARTED = NOW - 3600

HERE = socket.gethostname()


def iso(moment):
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(values))
    partial.replace(path)


def plan(root, pairs, *, host=HERE, pid=999_999_999, sweep="s-1", **changes):
    """Write `sweep.json` for pairs of models; by default its process is gone."""
    jobs = [
        {"number": i, "folder": f"{e}-to-{d}_{i}", "encoder": e, "decoder": d, "overrides": []}
        for i, (e, d) in enumerate(pairs)
    ]
    facts = {
        "id": sweep, "started": iso(STARTED), "host": host, "pid": pid, "launcher": "basic",
        "sweeper": "basic", "command": ["launch.py", "-m", "encoder=vae,nf"], "cwd": "/work dir",
        "overrides": [], "jobs": jobs,
    }  # fmt: skip
    write(root / "sweep.json", facts | changes)
    return root


def cell(root, folder, state="done", *, sweep="s-1", age=10, seconds=60, **facts):
    """Write `status.json` of a cell that began `seconds` before its last sign, `age` ago.

    `progress` among the facts goes into `progress.json`, and counts as the last sign.
    """
    progress = facts.pop("progress", None)
    status = {"state": state, "sweep": sweep, "host": HERE, "pid": 999_999_999}
    status["started"] = iso(NOW - age - seconds)
    if state in ("done", "failed"):
        status["finished"] = iso(NOW - age)
    status |= facts
    write(root / folder / "status.json", {k: v for k, v in status.items() if v is not None})
    os.utime(root / folder / "status.json", (NOW - age, NOW - age))
    if progress is not None:
        given = {
            "stage": "encode", "text": "vae encodes train", "unit": "image", "done": 1200,
            "total": 1500, "rate": 210.3, "started": NOW - age - seconds, "written": NOW - age,
        }  # fmt: skip
        write(root / folder / "progress.json", given | progress)
        os.utime(root / folder / "progress.json", (NOW - age, NOW - age))
    return root / folder


def pairs(encoders=("vae", "nf"), decoders=("vae", "nf")):
    return [(e, d) for e in encoders for d in decoders]


def large(root, n, *, running=8, failed=5):
    """Write a sweep of n cells: some run, some failed, the others are done."""
    names = [f"model-{i}" for i in range(25)]
    grid = [(names[i // 25 % 25], names[i % 25]) for i in range(n)]
    plan(root, grid, pid=os.getpid(), host="elsewhere", started=iso(NOW - n))
    for i, (encoder, decoder) in enumerate(grid):
        folder = f"{encoder}-to-{decoder}_{i}"
        if i >= n - running:
            cell(root, folder, "running", host="elsewhere", age=2, progress={})
        elif i < failed:
            cell(root, folder, "failed", error="ValueError: no such weights")
        else:
            cell(root, folder, key="0" * 64, files={"metrics.json": "0" * 64})
    return root
