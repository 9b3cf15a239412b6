import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stitching.sync import find_runs, main
from tests.tracking.fake_server import fake_server
from tests.tracking.offline import make, read_run

pytest.importorskip("wandb")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A sweep with runs of two cells and of its summary."""
    sweep = tmp_path_factory.mktemp("made") / "sweep"
    for name in ("vae-to-nf_0", "nf-to-vae_1", "."):
        (sweep / name).mkdir(parents=True, exist_ok=True)
        with make(tags=[]) as tracker:
            tracker.start({"encoder": name}, name, "s1", sweep / name)
            tracker.log({"image/rmse": 0.25})
        read_run(sweep / name)  # waits for the end of the file
    return sweep


@pytest.fixture
def sweep(written, tmp_path):
    return shutil.copytree(written, tmp_path / "sweep")


def sync(*arguments, url, key="a" * 40):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    environment |= {"WANDB_BASE_URL": url, "PYTHONPATH": str(ROOT), "NETRC": "/no/netrc"}
    environment |= {"WANDB_MODE": "offline"}  # as somebody has it who runs sweeps
    environment |= {"WANDB_API_KEY": key} if key else {}
    return subprocess.run(
        [sys.executable, "-m", "stitching.sync", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def sent(written, tmp_path_factory):
    """What the server got of a sweep, and what the commands said, the first and second time."""
    folder = tmp_path_factory.mktemp("sent")
    sweep = shutil.copytree(written, folder / "sweep")
    work = folder / "work"
    work.mkdir()
    before = Path.cwd()
    os.chdir(work)
    try:
        with fake_server() as server:
            done = sync(sweep, "--project=mine", "--entity=us", url=server.url)
            again = sync(sweep, url=server.url)
    finally:
        os.chdir(before)
    return server, done, again, work


def test_all_runs_of_a_sweep_arrive(sent):
    server, done, _, _ = sent
    assert done.returncode == 0, done.stderr
    runs = server.runs.values()
    assert {run["groupName"] for run in runs} == {"s1"}
    names = {json.loads(run["config"])["encoder"]["value"] for run in runs}
    assert names == {"vae-to-nf_0", "nf-to-vae_1", "."}


def test_numbers_of_a_run_arrive(sent):
    rows = [
        json.loads(line)
        for _, body in sent[0].streams
        for name, file in body.get("files", {}).items()
        for line in file["content"]
        if name == "wandb-history.jsonl"
    ]
    assert [row["image/rmse"] for row in rows] == [0.25] * 3


def test_runs_go_where_the_command_line_says(sent):
    server = sent[0]
    places = {(run["entity"], run["project"]) for run in server.runs.values()}
    assert places == {("us", "mine")}


def test_each_run_has_a_line(sent):
    _, done, _, _ = sent
    lines = [line for line in done.stdout.splitlines() if line.startswith("sent ")]
    assert len(lines) == 3
    assert any(line.startswith("sent vae-to-nf_0: offline-run-") for line in lines)


def test_runs_that_were_sent_are_not_sent_again(sent):
    _, _, again, _ = sent
    assert again.returncode == 0
    assert again.stdout.splitlines() == ["sent before: 3 runs", "nothing to send"]


def test_sending_leaves_nothing_in_the_current_folder(sent):
    assert list(sent[3].iterdir()) == []


def test_a_run_that_the_server_refuses_is_said_and_stays(sweep):
    with fake_server() as server:
        server.refuse = True
        done = sync(sweep / "vae-to-nf_0", url=server.url)
    assert done.returncode == 1
    assert "NOT SENT .: offline-run-" in done.stdout
    assert "1 of 1 runs were not sent" in done.stderr
    assert [run.sent for run in find_runs(sweep)] == [False] * 3


def test_the_run_of_a_killed_cell_is_said_to_be_cut_off_and_the_others_are_sent(sweep):
    (path,) = (sweep / "vae-to-nf_0").rglob("run-*.wandb")
    path.write_bytes(path.read_bytes()[:-20])
    with fake_server() as server:
        done = sync(sweep, url=server.url)
    assert done.returncode == 1
    assert "NOT SENT vae-to-nf_0: offline-run-" in done.stdout
    assert "incomplete record" in done.stderr
    assert sorted(run.sent for run in find_runs(sweep)) == [False, True, True]


def test_runs_of_others_are_left_alone(sweep, capsys):
    """A user's own run in the same folder, whatever its project."""
    import wandb

    settings = {"console": "off", "silent": True}
    run = wandb.init(dir=sweep, mode="offline", project="mine", settings=settings)
    run.log({"x": 1})
    run.finish()
    assert [found.own for found in find_runs(sweep) if run.id in found.path.name] == [False]
    main([str(sweep), "--dry-run"])
    shown = capsys.readouterr().out
    assert "left alone, of other origin or replaced: 1 runs" in shown
    assert run.id not in shown


def test_a_run_below_two_given_folders_is_sent_once(sweep, capsys):
    main([str(sweep), str(sweep / "vae-to-nf_0"), "--dry-run"])
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_only_runs_that_a_record_names_are_sent(sweep):
    cell = sweep / "vae-to-nf_0"
    (cell / "status.json").write_text(json.dumps({"state": "done", "sweep": "s1", "runs": []}))
    assert [run.own for run in find_runs(cell)] == [False]
    (run,) = (cell / "wandb").glob("offline-run-*")
    names = {"state": "done", "sweep": "s1", "runs": [f"wandb/{run.name}"]}
    (cell / "status.json").write_text(json.dumps(names))
    assert [run.own for run in find_runs(cell)] == [True]


def test_a_run_that_lies_elsewhere_is_found_by_its_record(sweep, tmp_path):
    cell = sweep / "vae-to-nf_0"
    (run,) = (cell / "wandb").glob("offline-run-*")
    away = run.rename(tmp_path / run.name)
    names = {"state": "done", "sweep": "s1", "runs": [str(away)]}
    (cell / "status.json").write_text(json.dumps(names))
    assert [(run.path, run.label, run.own) for run in find_runs(cell)] == [(away, ".", True)]


def test_an_unreachable_server_is_given_up_at_once(sweep):
    started = time.monotonic()
    done = sync(sweep, url="http://127.0.0.1:9")
    assert time.monotonic() - started < 15
    assert done.returncode == 1
    assert "http://127.0.0.1:9 does not answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_key_nothing_is_sent(sweep):
    with fake_server() as server:
        done = sync(sweep, url=server.url, key=None)
    assert done.returncode == 1
    assert "no API key is configured, run `wandb login`" in done.stderr
    assert server.runs == {}


def test_a_dry_run_lists_runs_and_asks_no_server(sweep, capsys, monkeypatch):
    monkeypatch.setattr("stitching.sync.check_server", lambda _: pytest.fail("asked a server"))
    assert main([str(sweep), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("would send ") for line in lines)


def test_a_sweep_without_runs_has_nothing_to_send(tmp_path, capsys):
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == "nothing to send\n"


def test_the_run_of_a_cell_at_work_waits(sweep, capsys):
    (sweep / "vae-to-nf_0" / "progress.json").write_text("{}")
    main([str(sweep), "--dry-run"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "left for later, their cells are at work: 1 runs"
    assert not any("vae-to-nf_0" in line for line in lines[1:])


def test_the_run_of_a_dead_cell_is_sent(sweep):
    progress = sweep / "vae-to-nf_0" / "progress.json"
    progress.write_text("{}")
    os.utime(progress, (0, 0))
    assert not any(run.at_work for run in find_runs(sweep))


def test_a_folder_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"not a folder: .*nowhere"):
        main([str(tmp_path / "nowhere")])
