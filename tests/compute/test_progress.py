import re
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from stitching.compute import progress
from tests.terminal import in_pipe, in_terminal, screen

WORK = """
import logging, sys, time
from pathlib import Path
from stitching.compute import progress
from stitching.sweeps import heartbeat
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
with heartbeat.follow(Path(sys.argv[1])):
    with progress.stage("encode"), progress.bar(20, "vae encodes train", "image") as bar:
        for i in range(20):
            time.sleep(0.02)
            bar.update()
            if i == 10:
                logging.info("half of it")
    with progress.stage("score"), progress.bar(2, "scores", "measure", even=False) as outer:
        for name in ("lpips", "fid"):
            outer.describe(f"scores by {name}")
            with progress.bar(3, f"features for {name}", "image") as bar:
                for _ in range(3):
                    time.sleep(0.05)
                    bar.update()
            time.sleep(0.12)
            outer.update()
    with progress.bar(None, "compares spaces"):
        time.sleep(0.1)
logging.info("vae-to-nf: done")
"""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    status, written = in_terminal("-c", WORK, str(tmp_path_factory.mktemp("cell")))
    assert status == 0
    return written


@pytest.fixture(scope="module")
def piped(tmp_path_factory):
    return in_pipe("-c", WORK, str(tmp_path_factory.mktemp("cell")))


def test_a_bar_in_a_terminal_has_rate_and_time_left(drawn):
    assert re.search(r"vae encodes train: +\d+%\|.+\d+/20 \[00:00<00:00, +[\d.]+ image/s\]", drawn)


def test_only_the_last_lines_of_the_log_stay_in_the_terminal(drawn):
    assert screen(drawn) == ["half of it", "vae-to-nf: done"]


def test_of_bars_inside_each_other_one_line_is_seen(drawn):
    assert "features for lpips" in drawn
    assert "scores by fid" in drawn
    assert "\x1b" not in drawn  # no other line is ever moved to
    assert drawn.count("\n") == 2


def test_a_bar_of_unequal_units_has_no_time_left(drawn):
    lines = [line for line in drawn.split("\r") if "measure" in line]
    assert lines
    assert not any("<" in line or "/s" in line for line in lines)


def test_a_bar_without_a_total_shows_the_time(drawn):
    assert "compares spaces [00:00]" in drawn


def test_a_log_gets_no_bar(piped):
    assert piped == (0, "half of it\nvae-to-nf: done\n", "")


def test_tqdm_is_not_loaded_where_nothing_is_drawn():
    code = """
import sys, stitching.compute.progress as p
with p.bar(3, 'x'): pass
print(sys.modules.keys())
"""
    _, out, _ = in_pipe("-c", code)
    assert "tqdm" not in out
    assert "torch" not in out


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_worker_processes_draw_no_bars(tmp_path, backend):
    script = tmp_path / "work.py"
    script.write_text(
        "import sys, time\n"
        "from joblib import Parallel, delayed\n"
        "from stitching.compute import progress\n"
        "def work(i):\n"
        "    sys.stderr = open('/dev/tty', 'w')\n"
        "    with progress.bar(5, f'worker {i}', 'image') as bar:\n"
        "        for _ in range(5):\n"
        "            time.sleep(0.03)\n"
        "            bar.update()\n"
        "    return progress.shown()\n"
        "if __name__ == '__main__':\n"
        f"    print(Parallel(2, backend='{backend}')(delayed(work)(i) for i in range(2)))\n"
    )
    _, written = in_terminal("-c", _with_terminal(script))
    assert "worker" not in written
    assert "[False, False]" in written


def _with_terminal(script):
    """Code that runs a script with its terminal as /dev/tty, which workers open."""
    return (
        "import fcntl, os, runpy, termios\n"
        "os.setsid()\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        f"runpy.run_path({str(script)!r}, run_name='__main__')\n"
    )


def test_a_terminal_that_is_gone_ends_the_bar_and_not_the_work(monkeypatch):
    class Gone:
        encoding = "utf-8"

        def isatty(self):
            return True

        def write(self, text):
            raise OSError(5, "Input/output error")

        def flush(self):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stderr", Gone())
    monkeypatch.setattr(progress, "_now", progress._Now())
    with progress.bar(3, "goes on", "image") as bar:
        for _ in range(3):
            bar.update()
    assert bar.done == 3


def test_a_notebook_shows_the_line_on_standard_output_and_removes_it(monkeypatch, capsys):
    kernel = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    monkeypatch.setattr(progress, "_now", progress._Now())
    with progress.bar(3, "vae encodes train", "image") as bar:
        bar.update()
    told = capsys.readouterr()
    assert "vae encodes train" in told.out
    assert told.out.rstrip(" ").endswith("\r")
    assert told.err == ""


def test_updates_from_many_threads_are_all_counted():
    with progress.bar(4000, "counts", "image") as bar, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: bar.update(), range(4000)))
    assert bar.done == 4000


def test_bars_of_threads_may_end_in_any_order():
    first, second = progress.bar(1, "a"), progress.bar(1, "b")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert progress.facts()["text"] == "b"
    second.__exit__(None, None, None)
    assert progress._now.bars == []


def test_a_bar_ends_where_the_work_fails():
    with pytest.raises(ZeroDivisionError), progress.bar(1, "fails"):
        _ = 1 / 0
    assert progress._now.bars == []
