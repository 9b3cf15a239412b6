import os
import signal
import subprocess
import sys
import time

import pytest

from stitching.status.cells import Entry, Machine, moment
from tests.status.made import HERE, NOW, cell, iso

AWAY = "another-machine"


def seen(folder, machine=None, **options):
    return Entry.read(folder).progress(machine or Machine(HERE, NOW), **options)


@pytest.fixture
def child():
    process = subprocess.Popen(["sleep", "30"])
    yield process
    process.kill()
    process.wait()


def test_a_cell_runs_while_its_process_lives_here(tmp_path, child):
    folder = cell(tmp_path, "vae-to-nf_0", "running", pid=child.pid, started=iso(time.time()))
    assert seen(folder).state == "running"


def test_a_cell_runs_here_without_a_heartbeat_while_its_process_lives(tmp_path, child):
    started = iso(time.time())
    folder = cell(tmp_path, "a-to-b_0", "running", age=900, pid=child.pid, started=started)
    found = seen(folder)
    assert (found.state, found.age_s) == ("running", 900)


def test_a_cell_is_dead_at_once_when_its_process_here_was_killed(tmp_path, child):
    folder = cell(
        tmp_path, "a-to-b_0", "running", age=1, pid=child.pid, started=iso(time.time()),
        progress={},
    )  # fmt: skip
    child.send_signal(signal.SIGKILL)
    child.wait()
    found = seen(folder)
    assert (found.state, found.reason) == ("dead", f"its process {child.pid} is gone")
    assert found.progress["stage"] == "encode"


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells of ended children")
def test_a_process_that_ended_and_was_not_asked_for_counts_as_gone(tmp_path):
    process = subprocess.Popen(["true"])
    folder = cell(tmp_path, "a-to-b_0", "running", pid=process.pid, started=iso(time.time()))
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie
    assert seen(folder).state == "dead"
    process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells when a process began")
def test_a_later_process_with_the_same_number_is_another(tmp_path, child):
    earlier = iso(time.time() - 100)
    folder = cell(tmp_path, "a-to-b_0", "running", pid=child.pid, started=earlier)
    assert seen(folder).state == "dead"


@pytest.mark.parametrize(("age", "state"), [(1, "running"), (59, "running"), (61, "dead")])
def test_a_cell_elsewhere_lives_by_its_heartbeat(tmp_path, age, state):
    folder = cell(tmp_path, "a-to-b_0", "running", age=age, host=AWAY, progress={})
    assert seen(folder).state == state


@pytest.mark.parametrize(("age", "state"), [(30, "running"), (90, "dead")])
def test_a_cell_elsewhere_that_has_just_begun_needs_no_heartbeat_yet(tmp_path, age, state):
    folder = cell(tmp_path, "a-to-b_0", "running", age=age, host=AWAY)
    assert seen(folder).state == state


def test_a_clock_that_is_slow_elsewhere_is_made_good_by_the_file_system(tmp_path):
    folder = cell(
        tmp_path, "a-to-b_0", "running", age=3, host=AWAY, progress={"written": NOW - 300}
    )
    assert seen(folder).age_s == 3


def test_a_clock_that_is_fast_elsewhere_makes_no_negative_age(tmp_path):
    folder = cell(
        tmp_path, "a-to-b_0", "running", age=3, host=AWAY, progress={"written": NOW + 300}
    )
    assert (seen(folder).state, seen(folder).age_s) == ("running", 0)


def test_a_running_cell_of_an_older_version_without_process_counts_as_dead(tmp_path):
    folder = cell(tmp_path, "a-to-b_0", "running", age=900, host=None, pid=None, started=None)
    assert seen(folder).reason == "no heartbeat for more than 60 s"


def test_a_cell_whose_process_went_on_is_dead(tmp_path):
    folder = cell(tmp_path, "a-to-b_0", "running", pid=os.getpid(), started=iso(time.time()))
    assert "went on to another cell" in seen(folder, left=True).reason


def test_a_failed_cell_tells_the_first_line_of_its_error(tmp_path):
    folder = cell(tmp_path, "a-to-b_0", "failed", error="ValueError: bad\nmore")
    assert (seen(folder).state, seen(folder).reason) == ("failed", "ValueError: bad")


def test_a_done_cell_tells_how_long_it_took(tmp_path):
    assert seen(cell(tmp_path, "a-to-b_0", seconds=60)).seconds == 60


def test_a_reused_cell_was_not_computed(tmp_path):
    found = seen(cell(tmp_path, "a-to-b_0", reused="/elsewhere"))
    assert (found.reused, found.seconds) == (True, None)


def test_an_older_done_cell_tells_its_time_by_its_resources(tmp_path):
    folder = cell(tmp_path, "a-to-b_0", started=None, finished=None, host=None, pid=None)
    (folder / "resources.json").write_text('{"time/total_s": 2.5}')
    assert seen(folder).seconds == 2.5


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_a_damaged_status_is_said_so(tmp_path, content):
    (tmp_path / "a-to-b_0").mkdir()
    (tmp_path / "a-to-b_0/status.json").write_text(content)
    found = seen(tmp_path / "a-to-b_0")
    assert (found.state, found.reason) == ("missing", "status.json cannot be read")


def test_a_damaged_heartbeat_is_none(tmp_path):
    folder = cell(tmp_path, "a-to-b_0", "running", age=5, host=AWAY)
    (folder / "progress.json").write_text('{"stage": "enc')
    found = seen(folder)
    assert (found.state, found.progress) == ("running", None)


@pytest.mark.parametrize(
    ("name", "models"),
    [("vae-to-nf_3", ("vae", "nf")), ("a-to-b", ("a", "b")), ("other", ("", ""))],
)
def test_models_are_named_by_the_folder(tmp_path, name, models):
    found = seen(cell(tmp_path, name))
    assert (found.encoder, found.decoder) == models


def test_a_time_without_a_zone_is_utc():
    assert moment("2026-11-26T07:00:00") == moment("2026-11-26T07:00:00+00:00")


def test_what_is_no_time_is_none():
    assert moment("yesterday") is moment(3) is None


def test_a_process_is_looked_for_where_there_is_no_proc(monkeypatch, tmp_path, child):
    monkeypatch.setattr("stitching.status.cells._PROC", tmp_path)
    assert Machine().runs(child.pid, since=0)
    child.kill()
    child.wait()
    assert not Machine().runs(child.pid, since=None)


@pytest.mark.parametrize("pid", [0, -1, 999_999_999])
def test_no_process_has_an_impossible_number(pid):
    assert not Machine().runs(pid, since=None)
