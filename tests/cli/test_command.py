"""The program `stitching`: which command it starts, and how it names commands to a user."""

import doctest
import subprocess
import sys

import pytest

from stitching.cli import command
from stitching.cli.table import COMMANDS
from stitching.records import program
from tests.toys import LAUNCH


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/stitching", *words])
    command.main()


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_every_command(monkeypatch, capsys, words):
    run(monkeypatch, *words)
    lines = capsys.readouterr().out.splitlines()
    listed = [line.split()[0] for line in lines if line.startswith("  ")]
    assert listed == list(COMMANDS)
    assert max(map(len, lines)) <= 80


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['stitching', '--help']\n"
        "from stitching.cli.command import main; main()\n"
        "heavy = {'hydra', 'torch', 'numpy', 'pandas', 'wandb'} & set(sys.modules)\n"
        "sys.exit(' '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reprot"], "there is no command reprot, did you mean report?"),
        (["encoder=vae", "-m"], "did you mean `stitching run encoder=vae -m`?"),
        (["-m", "encoder=vae"], "did you mean `stitching run -m encoder=vae`?"),
    ],
)
def test_what_is_no_command_gets_a_suggestion(monkeypatch, capsys, words, message):
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, *words)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_every_command_has_a_module_with_help(monkeypatch, capsys):
    for name in ("status", "claims", "dashboard"):
        with pytest.raises(SystemExit) as end:
            run(monkeypatch, name, "--help")
        assert end.value.code == 0
        assert f"usage: stitching {name} " in capsys.readouterr().out


def test_examples_in_docstrings_hold():
    assert doctest.testmod(command).failed == 0


def test_an_option_between_overrides_reaches_hydra_as_one_piece():
    # argparse takes positional words in one piece, and refuses those after an option.
    words = ["encoder=vae", "-cd", "a=b", "~metric.fid", "--config-name=x", "+seed=3", "-m"]
    assert command.options_first(words) == [
        "-cd", "a=b", "~metric.fid", "--config-name=x", "-m", "encoder=vae", "+seed=3",
    ]  # fmt: skip


@pytest.fixture
def unnamed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pytest"])


def test_in_a_checkout_a_command_is_a_script_or_module(unnamed, monkeypatch):
    monkeypatch.chdir(LAUNCH.parent)
    assert program.command_line("run", "encoder=vae") == "python launch.py encoder=vae"
    assert program.command_line("report", "a b") == "python -m stitching.report 'a b'"


def test_elsewhere_a_command_is_that_of_the_program(unnamed, monkeypatch, tmp_path):
    (tmp_path / "launch.py").write_text("")  # somebody else's
    monkeypatch.chdir(tmp_path)
    assert program.command_line("run", "encoder=vae") == "stitching run encoder=vae"
    assert program.command_line("report", "a b") == "stitching report 'a b'"


def test_who_uses_the_program_sees_its_name_in_a_checkout_too(monkeypatch):
    monkeypatch.chdir(LAUNCH.parent)
    monkeypatch.setattr(sys, "argv", ["stitching run", "encoder=vae"])
    assert program.command_line("train") == "stitching train"
    assert program.started_as() == ["stitching", "run", "encoder=vae"]
