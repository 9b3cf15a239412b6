"""The program `stitching`: chooses the command, which reads all further words itself."""

import runpy
import sys
from collections.abc import Sequence
from operator import itemgetter

from stitching import __version__
from stitching.cli import completion
from stitching.cli.table import COMMANDS
from stitching.records.program import PLACES, PROGRAM
from stitching.records.words import nearest

_WRONG_USAGE = 2


def main() -> None:
    """Run the command that the process's arguments name, with the words after it.

    Raises:
        SystemExit: The end of the command, or no such command (2).
    """
    name, *words = sys.argv[1:] or ["--help"]
    if name in ("--help", "-h", "help"):
        print(usage())
    elif name in ("--version", "-V"):
        print(f"{PROGRAM} {__version__}")
    elif name in COMMANDS:
        _start(name, words)
    else:
        print(f"error: {_unknown(name, words)}", file=sys.stderr)
        sys.exit(_WRONG_USAGE)


def usage() -> str:
    """Return the text of `stitching --help`."""
    wide = max(len(f"{name} {command.example}") for name, command in COMMANDS.items())
    lines = [
        f"  {f'{name} {command.example}':{wide}}  {command.does}"
        for name, command in COMMANDS.items()
    ]
    return "\n".join(
        [
            "Do generative image models share a latent space? Freeze models, fit a linear",
            "map between each pair of latent spaces, decode with the other model, measure.",
            "",
            f"usage: {PROGRAM} COMMAND [WORD ...]",
            "",
            *lines,
            "",
            f"`{PROGRAM} COMMAND --help` lists the options of a command. Words such as",
            "encoder=vae are Hydra's overrides; --config-dir adds a folder of your own.",
            "Results go to outputs/ in the current folder.",
            f'Completion: eval "$({PROGRAM} completion bash)", or zsh; in fish pipe to source.',
        ]
    )


def grid_words(words: Sequence[str]) -> list[str]:
    """Return the overrides of `stitching grid`: the preset `grid`, or a sweep of another preset.

    Values given for `encoder` and `decoder` replace those of the preset.

    Example:
        >>> grid_words(["encoder=vae,nf"])
        ['experiment=grid', 'encoder=vae,nf']
        >>> grid_words(["experiment=figure3"])
        ['-m', 'experiment=figure3']
    """
    preset = any(word.lstrip("+").startswith("experiment=") for word in words)
    return ["-m" if preset else "experiment=grid", *words]


def options_first(words: Sequence[str]) -> list[str]:
    """Return the words with overrides last, since Hydra takes them in one piece only.

    Example:
        >>> options_first(["encoder=vae", "--config-dir", "my", "decoder=nf", "-m"])
        ['--config-dir', 'my', '-m', 'encoder=vae', 'decoder=nf']
    """
    overrides = [
        "=" in word and word[0] != "-" and before not in PLACES
        for before, word in zip(["", *words], words, strict=False)
    ]
    return [word for word, _ in sorted(zip(words, overrides, strict=True), key=itemgetter(1))]


def _start(name: str, words: Sequence[str]) -> None:
    if name == "completion":
        sys.exit(completion.main(words))
    if name == "grid":
        name, words = "run", grid_words(words)
    if COMMANDS[name].config:
        words = options_first(words)
    # The command names itself so in its usage, and in lines that a user may copy.
    sys.argv = [f"{PROGRAM} {name}", *words]
    if name == "run":
        from stitching.sweeps.launch import launch

        launch()
    else:
        runpy.run_module(f"stitching.{name}", run_name="__main__", alter_sys=False)


def _unknown(name: str, words: Sequence[str]) -> str:
    if "=" in name or name.startswith("-"):
        given = " ".join([name, *words])
        return f"the first word is a command; did you mean `{PROGRAM} run {given}`?"
    known = ", ".join(COMMANDS)
    return f"there is no command {name}{nearest(name, COMMANDS)}; there are {known}"
