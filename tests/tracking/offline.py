"""Offline runs of the real wandb, read back from the files it stores."""

import json
import struct
import time

from stitching.tracking import WandbTracker


def make(mode="offline", timeout_s=5.0, tags=("a",)):
    return WandbTracker(
        project="test", entity=None, mode=mode, timeout_s=timeout_s, tags=list(tags)
    )


def records(run_dir):
    """Read the records of a run file: LevelDB's log format, one protobuf record each."""
    from wandb.proto import wandb_internal_pb2

    (path,) = run_dir.glob("*.wandb")
    data = path.read_bytes()
    position, parts, found = 7, b"", []  # 7 bytes: ":W&B", a magic number, a version
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:  # too short for a header: padding
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        if position + 7 + length > len(data):  # not written to its end yet
            break
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            found.append(wandb_internal_pb2.Record.FromString(parts))
            parts = b""
    return found


def read_run(folder):
    """Return what the one offline run below a folder holds.

    wandb's service, another process, closes the file shortly after the run has ended.
    """
    # A run that could not start is left beside, empty.
    (run_dir,) = {path.parent for path in folder.glob("wandb/offline-run-*/run-*.wandb")}
    deadline = time.monotonic() + 10
    while not (found := records(run_dir)) or found[-1].WhichOneof("record_type") != "exit":
        assert time.monotonic() < deadline, "the run has no end"
        time.sleep(0.01)
    run = {"config": {}, "summary": {}, "history": [], "dir": run_dir}
    for record in found:
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run |= {"id": record.run.run_id, "group": record.run.run_group}
            run |= {"name": record.run.display_name, "tags": list(record.run.tags)}
            run |= {"job_type": record.run.job_type, "project": record.run.project}
            for item in record.run.config.update:
                run["config"][item.key] = json.loads(item.value_json)
        elif kind == "summary":
            for item in record.summary.update:
                key = item.key or "/".join(item.nested_key)
                run["summary"][key] = json.loads(item.value_json)
        elif kind == "history":
            run["history"].append(history_row(record.history.item))
        elif kind == "exit":
            run["exit"] = record.exit.exit_code
    return run


def history_row(items):
    """Values by name; a table or picture is a dict of its own."""
    row = {}
    for item in items:
        name, *inner = item.nested_key or [item.key]
        value = json.loads(item.value_json)
        if inner:
            row.setdefault(name, {})["/".join(inner)] = value
        else:
            row[name] = value
    return row


def history_keys(run):
    """Names of the numbers, tables and pictures that get a panel."""
    return {key for row in run["history"] for key in row if not key.startswith("_")}


def stored_table(run, name):
    """Columns and rows of a table."""
    (entry,) = [row[name] for row in run["history"] if name in row]
    table = json.loads((run["dir"] / "files" / entry["path"]).read_text())
    return table["columns"], table["data"]


def stored_picture(run, name):
    """The bytes of a picture's file."""
    (entry,) = [row[name] for row in run["history"] if name in row]
    return (run["dir"] / "files" / entry["path"]).read_bytes()


def cell(tmp_path, name="cell"):
    folder = tmp_path / name
    folder.mkdir()
    return folder


def messages(caplog):
    return [r.getMessage() for r in caplog.records if r.name.startswith("stitching.")]
