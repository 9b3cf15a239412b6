import json
import os
import socket
import subprocess
import sys
import time

import pytest

from stitching.status import main
from tests.status.made import cell, iso, large, pairs, plan
from tests.terminal import in_pipe, in_terminal, interrupt

COUNTS = {"interrupted", "done", "reused", "failed", "running", "dead", "missing"}


def now_running(root):
    """A sweep whose cells are this very process."""
    plan(root, pairs(), pid=os.getpid(), started=iso(time.time()))
    cell(root, "vae-to-vae_0", started=iso(time.time() - 60), finished=iso(time.time()))
    cell(root, "vae-to-nf_1", "running", pid=os.getpid(), started=iso(time.time()))
    return root


def finish(root):
    for i, (encoder, decoder) in enumerate(pairs()):
        cell(root, f"{encoder}-to-{decoder}_{i}")
    plan(root, pairs(), finished=iso(time.time()))


def test_all_done_exits_with_0(tmp_path, capsys):
    finish(tmp_path)
    assert main([str(tmp_path)]) == 0
    assert "4 planned: 4 done" in capsys.readouterr().out


@pytest.mark.parametrize("state", ["failed", "missing", "dead"])
def test_cells_that_are_not_done_exit_with_1(tmp_path, capsys, state):
    plan(tmp_path, pairs(("a",), ("b",)))
    if state != "missing":
        cell(tmp_path, "a-to-b_0", {"dead": "running"}.get(state, state), error="E: x")
    assert main([str(tmp_path)]) == 1
    assert f"1 {state}" in capsys.readouterr().out


def test_a_running_sweep_exits_with_3(tmp_path, capsys):
    assert main([str(now_running(tmp_path))]) == 3


def test_a_silent_sweep_of_another_machine_exits_with_4(tmp_path, capsys):
    plan(tmp_path, pairs(), host="login1")
    assert main([str(tmp_path)]) == 4


def test_no_such_sweep_exits_with_2_and_says_why(tmp_path, capsys):
    assert main([str(tmp_path / "nothing")]) == 2
    assert "error: not a folder" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "x", "nan"])
def test_an_impossible_interval_is_refused(tmp_path, capsys, seconds):
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path), "--watch", seconds])
    assert "--watch" in capsys.readouterr().err


def test_json_tells_all_of_the_sweep_and_its_cells(tmp_path, capsys):
    main([str(now_running(tmp_path)), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {
        "folder", "id", "state", "complete", "host", "pid", "launcher", "command",
        "started", "ended", "looked", "counts", "planned", "elapsed_s", "rate_per_h", "left_s",
        "cells", "notes", "go_on",
    } | ({"rate_per_h_missing"} if found["rate_per_h"] is None else set())  # fmt: skip
    assert set(found["counts"]) == COUNTS
    assert set(found["cells"][0]) == {
        "folder", "encoder", "decoder", "state", "reason", "reused", "host", "pid", "started",
        "finished", "progress", "age_s", "seconds",
    }  # fmt: skip
    assert [c["state"] for c in found["cells"]] == ["done", "running", "missing", "missing"]


def test_json_names_why_something_is_not_known(tmp_path, capsys):
    cell(tmp_path, "a-to-b_0", "failed", error="E: x")
    main([str(tmp_path), "--json"])
    found = json.loads(capsys.readouterr().out)
    for key in ("planned", "rate_per_h", "left_s"):
        assert found[key] is None
        assert found[f"{key}_missing"]
    assert found["cells"][0]["error_file"] == str(tmp_path / "a-to-b_0/error.txt")


def test_watching_ends_with_the_sweep(tmp_path):
    now_running(tmp_path)
    status, written = in_terminal(
        "-m", "stitching.status", str(tmp_path), "--watch", "0.1", size=(40, 100),
        after=("1 running", lambda _: finish(tmp_path)),
    )  # fmt: skip
    assert status == 0
    frames = written.split("\x1b[H\x1b[J")
    assert "1 running" in frames[1]
    assert "4 planned: 4 done" in frames[-1]


def test_watching_draws_no_more_lines_than_the_terminal_has(tmp_path):
    now_running(tmp_path)
    status, written = in_terminal(
        "-m", "stitching.status", str(tmp_path), "--watch", "0.1", size=(6, 100),
        after=("more lines", interrupt),
    )  # fmt: skip
    first = written.split("\x1b[H\x1b[J")[1]
    assert first.count("\n") < 6
    assert status == 130, written


def test_ctrl_c_ends_watching_without_a_traceback(tmp_path):
    now_running(tmp_path)
    status, written = in_terminal(
        "-m", "stitching.status", str(tmp_path), "--watch", "5", after=("1 running", interrupt)
    )
    assert status == 130, written
    assert "Traceback" not in written


def test_watching_into_a_file_writes_no_control_characters(tmp_path):
    now_running(tmp_path)
    status, out, err = in_pipe(
        "-m", "stitching.status", str(tmp_path), "--watch", "0.2",
        after=("1 running", lambda _: finish(tmp_path)),
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert "\x1b" not in out
    assert "\r" not in out
    assert out.count("elapsed") >= 2


def test_watching_as_json_writes_a_line_a_look(tmp_path):
    now_running(tmp_path)
    _, out, _ = in_pipe(
        "-m", "stitching.status", str(tmp_path), "--watch", "0.2", "--json",
        after=("running", lambda _: finish(tmp_path)),
    )  # fmt: skip
    states = [json.loads(line)["state"] for line in out.splitlines()]
    assert states[0] == "running"
    assert states[-1] == "finished"


def test_a_killed_sweep_is_seen_as_dead(tmp_path):
    """A real process is killed while its heart beats: what it leaves is told apart at once."""
    code = (
        "import sys, time, pathlib\n"
        "from stitching.sweeps import heartbeat\n"
        "with heartbeat.follow(pathlib.Path(sys.argv[1]), 'fit'): time.sleep(30)\n"
    )
    folder = tmp_path / "a-to-b_0"
    folder.mkdir()
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)])
    try:
        plan(tmp_path, pairs(("a",), ("b",)), pid=process.pid, started=iso(time.time()))
        cell(tmp_path, "a-to-b_0", "running", pid=process.pid, started=iso(time.time()))
        end = time.monotonic() + 10
        while not (folder / "progress.json").exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        assert main([str(tmp_path)]) == 3
    finally:
        process.kill()
        process.wait()
    assert main([str(tmp_path)]) == 1


def test_nothing_heavy_is_loaded():
    code = "import sys, stitching.status; print(sorted(sys.modules))"
    _, out, _ = in_pipe("-c", code)
    assert "'json'" in out
    for name in ("torch", "pandas", "hydra", "matplotlib", "tqdm"):
        assert f"'{name}'" not in out


def test_a_large_sweep_is_shown(tmp_path, capsys):
    large(tmp_path, 300)
    started = time.process_time()
    main([str(tmp_path)])
    assert time.process_time() - started < 1
    out = capsys.readouterr().out
    assert "300 planned: 287 done" in out
    assert "5 failed" in out


def test_the_name_of_this_machine_is_that_which_cells_write():
    from stitching.status.cells import Machine

    assert Machine().host == socket.gethostname()
