"""Weights of a training at several points, beside those of its end: `nf-20000.safetensors`."""

import re
from pathlib import Path

from stitching.records.program import command_line
from stitching.weights.locations import CHECKPOINTS, HUB, PACKAGED, ZOO, resolve
from stitching.weights.roles import ROLE

_SUFFIX = ".safetensors"


def checkpoint_name(name: str, images: int) -> str:
    """Return the file name of a model's weights at a number of images seen."""
    return f"{name}-{images}{_SUFFIX}"


def checkpoints_in(folder: Path, name: str) -> list[int]:
    """Return the numbers of images seen of a model's checkpoints in a folder, ascending."""
    pattern = re.compile(re.escape(name) + r"-(\d+)" + re.escape(_SUFFIX))
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted(int(found[1]) for file in files if (found := pattern.fullmatch(file.name)))


def check_checkpoints(at: object, n_images: int) -> list[int]:
    """Return `checkpoints_at`, checked.

    Args:
        at: Numbers of images, ascending; 0 is the initialisation.
        n_images: Images seen at the end of the training.

    Raises:
        ValueError: `at` is no such list.
    """
    numbers = at if isinstance(at, list) else [None]
    if not all(type(number) is int for number in numbers):
        raise ValueError(
            f"checkpoints_at must be a list of whole numbers, got {at!r}: write "
            "checkpoints_at=[0,1000,5000]"
        )
    if sorted(set(numbers)) != numbers or (numbers and numbers[0] < 0):
        raise ValueError(f"checkpoints_at must ascend from 0 on, no number twice, got {at}")
    if numbers and numbers[-1] > n_images:
        raise ValueError(
            f"checkpoints_at={at} goes beyond training.n_images={n_images}: leave out what the "
            "run does not get to, or train longer"
        )
    return numbers


def at_checkpoint(weights: str | None, images: object, root: Path) -> str:
    """Return the location of a checkpoint, in the notation of `weights`.

    Args:
        weights: Location of the weights at the end of the training; the file may be missing.
        images: Images seen, the `checkpoint` of a model's configuration.
        root: Folder that relative paths start in.

    Raises:
        ValueError: `images` is not a number of images, or `weights` is no file of a training.
        FileNotFoundError: There is no such checkpoint; names those that exist.
    """
    if type(images) is not int or images < 0:
        raise ValueError(f"checkpoint must be a number of images seen, >= 0, got {images!r}")
    elsewhere = (CHECKPOINTS, HUB, "https://", "http://")
    if weights is None or not weights.endswith(_SUFFIX) or weights.startswith(elsewhere):
        raise ValueError(
            f"checkpoint={images} goes with weights that `{command_line('train')}` wrote "
            f"(FOLDER/NAME{_SUFFIX}), but weights={weights}: set {ROLE}.checkpoint=null, or "
            "zoo=FOLDER"
        )
    start, slash, name = weights.removesuffix(_SUFFIX).rpartition("/")
    place = f"{start}{slash}{checkpoint_name(name, images)}"
    try:
        resolve(place, root=root)
    except FileNotFoundError as error:
        inside = ZOO / start.removeprefix(PACKAGED)
        folder = inside if start.startswith(PACKAGED) else root / Path(start).expanduser()
        there = ", ".join(map(str, checkpoints_in(folder, name))) or "none"
        raise FileNotFoundError(
            f"no weight file {place}: checkpoints of {name} in {start or '.'} are {there}; "
            f"`{command_line('train')} model={name} checkpoints_at=[{images}]` writes it"
        ) from error
    return place
