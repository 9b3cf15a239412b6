import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stitching.dashboard import main
from stitching.dashboard.target import target_of
from tests.report.made import make_cell, make_sweep

pytest.importorskip("wandb_workspaces")

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Without a server, every question to one fails at once."""
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")


def dashboard(*arguments, **environment):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    kept |= {"WANDB_BASE_URL": "http://127.0.0.1:9", "NETRC": "/no/netrc"}
    return subprocess.run(
        [sys.executable, "-m", "stitching.dashboard", *map(str, arguments)],
        env=kept | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_dry_run_writes_both_as_json_and_asks_no_server(tmp_path, capsys):
    path = tmp_path / "dashboard.json"
    assert main(["p", "--group", "s1", "--dry-run", str(path)]) == 0
    found = json.loads(path.read_text())
    assert set(found) == {"workspace", "report"}
    assert found["workspace"]["displayName"] == "Stitching: s1"
    assert found["report"]["displayName"] == "Stitching: s1"
    assert capsys.readouterr().out == f"written: {path}\n"


def test_a_dry_run_replaces_no_file(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"mine\.json exists: remove it, or give --dry-run"):
        main(["p", "--dry-run", str(path)])
    assert path.read_text() == "mine"


def test_the_folder_of_a_sweep_gives_its_id_and_measures(tmp_path):
    make_sweep(tmp_path, sweep="s7")
    target = target_of(tmp_path, "p")
    assert target.group == "s7"
    assert [measure.key for measure in target.measures] == ["image/rmse"]
    assert target.variants == ()
    assert target.setting.startswith("data faces, map ridge")


def test_a_folder_with_several_protocols_gives_their_names(tmp_path):
    for number, protocol in enumerate(("strict", "paper")):
        make_cell(tmp_path, "vae", "nf", number, protocol=protocol)
    assert target_of(tmp_path, "p").variants == ("strict", "paper")


def test_a_folder_and_a_group_are_one_too_many(tmp_path):
    with pytest.raises(ValueError, match="give --dir or --group"):
        main(["p", "--group", "s1", "--dir", str(tmp_path)])


def test_without_the_library_one_message_says_what_to_install(tmp_path):
    blocked = tmp_path / "blocked"
    (blocked / "wandb_workspaces").mkdir(parents=True)
    (blocked / "wandb_workspaces" / "__init__.py").write_text("raise ModuleNotFoundError('no')")
    done = dashboard("p", "--dry-run", tmp_path / "x", PYTHONPATH=f"{blocked}:{ROOT}")
    assert done.returncode == 1
    message = "error: a dashboard needs wandb-workspaces: run `pip install 'stitching[dashboard]'`"
    assert done.stderr.strip() == message


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"WANDB_API_KEY": "a" * 40}, "http://127.0.0.1:9 does not answer within 15 s"),
        ({}, "no API key is configured, run `wandb login`"),
    ],
    ids=["no server", "no key"],
)
def test_what_stands_in_the_way_is_one_line(environment, message):
    started = time.monotonic()
    done = dashboard("p", **environment)
    assert time.monotonic() - started < 30
    assert done.returncode == 1
    assert done.stderr.strip() == f"error: no dashboard: {message}"


def test_it_needs_no_torch():
    code = "import sys, stitching.dashboard, stitching.tracking.summary, stitching.sync; "
    code += "print({'torch', 'wandb', 'wandb_workspaces'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
