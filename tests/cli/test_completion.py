"""Completion of command lines, and the script of bash."""

import shutil
import subprocess
import sys

import pytest

from stitching.cli import completion
from stitching.cli.completion import candidates
from stitching.cli.table import COMMANDS
from tests.toys import write_models


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("stitching ", list(COMMANDS)),
        ("stitching re", ["report", "resume"]),
        ("stitching completion f", ["fish"]),
        ("stitching report ", []),  # names of files
        ("stitching nosuch enc", []),
        ("stitching run --mul", []),
        ("stitching run map=ri", ["map=ridge"]),
        ("stitching run -m map=ols,ri", ["map=ols,ridge"]),
        ("stitching grid metric=[rmse,lpips_", ["metric=[rmse,lpips_vgg"]),
        ("stitching check map=ridge map.alpha_", ["map.alpha_per_target="]),
        ("stitching train model=nf training.inv", ["training.inverse="]),
        ("stitching encode splits=t", []),
    ],
)
def test_the_last_word_is_completed(line, expected):
    assert candidates(line) == expected


def test_models_of_the_users_folder_are_completed(tmp_path):
    write_models(tmp_path, mine=8)
    assert candidates(f"stitching run --config-dir {tmp_path} encoder=mi") == ["encoder=mine"]


def test_every_shell_has_a_script(capsys):
    for shell in ("bash", "zsh", "fish"):
        assert completion.main([shell]) == 0
        assert "stitching completion query" in capsys.readouterr().out
    assert completion.main(["bsh"]) == 2
    assert "did you mean bash?" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_what_follows_the_equals_sign(tmp_path):
    (tmp_path / "stitching").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m stitching "$@"\n')
    (tmp_path / "stitching").chmod(0o755)
    (tmp_path / "try.sh").write_text(
        f"PATH={tmp_path}:$PATH\n{completion.SCRIPTS['bash']}"
        "for COMP_LINE in 'stitching sta' 'stitching run map=ri' 'stitching status '; do\n"
        'COMP_POINT=${#COMP_LINE}; _stitching; echo "${#COMPREPLY[@]}<${COMPREPLY[0]}>"; done\n'
    )
    done = subprocess.run(["bash", str(tmp_path / "try.sh")], capture_output=True, text=True)
    assert (done.stdout.splitlines(), done.stderr) == (["1<status >", "1<ridge >", "0<>"], "")
