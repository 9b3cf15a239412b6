"""The table of commands."""

from typing import NamedTuple


class Command(NamedTuple):
    """A command of the program.

    Attributes:
        does: What it does, in one line.
        example: Words after its name.
        config: Name of the configuration that its words override; "" if it has options instead.
    """

    does: str
    example: str
    config: str = ""


#: All commands, in the order of the help. `launch.py` is `run`, `python -m stitching.NAME` others.
COMMANDS = {
    "run": Command("run one cell; with -m, all pairs", "encoder=vae decoder=nf", "config"),
    "grid": Command("run the grid, or pairs of your lists", "encoder=vae,nf decoder=nf", "config"),
    "train": Command("train a model", "model=nf data=faces", "train"),
    "check": Command("check a model's encoder and decoder", "encoder=nf", "check"),
    "encode": Command("encode images ahead of a sweep", "models=[vae,nf]", "encode"),
    "report": Command("write tables, figures and the page of a sweep", "DIR --open"),
    "status": Command("show the progress of a sweep, and its failures", "DIR"),
    "resume": Command("run the cells of a sweep that are not finished", "DIR"),
    "claims": Command("answer the paper's claims from sweeps", "DIR"),
    "sync": Command("send offline runs to Weights & Biases", "DIR"),
    "dashboard": Command("make a dashboard on Weights & Biases", "PROJECT"),
    "completion": Command("print the completion of a shell", "bash"),
}
