"""Read weight files of any layout without running code in them.

A pickle is a program. `torch.load(weights_only=True)` allows tensors and plain containers only;
stand-ins for a few classes in checkpoints of training frameworks are added, all else is refused.
"""

import json
import logging
import pickle
import re
import struct
import textwrap
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stitching.weights.download import damaged_part, remembered_sha256
from stitching.weights.hub import WEIGHT_NAMES
from stitching.weights.roles import ROLE
from stitching.weights.state_dicts import unwrapped

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightFile:
    """A weight file, read.

    Attributes:
        path: The file.
        content: Nested dicts and lists of tensors and plain values, as stored.
        sha256: Of the file's bytes, hexadecimal.
        card: Metadata in the header of a safetensors file, else empty.
        config: `config.json` beside the weights, of a folder in diffusers' layout, else empty.
    """

    path: Path
    content: Any
    sha256: str
    card: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    def state_dict(self, *keys: str | int) -> dict[str, Tensor]:
        """Return the tensors by name, found under nested `keys`.

        Names are without the marks of wrappers such as `torch.compile`, see `plain_names`.

        Raises:
            ValueError: There is no dict of tensors at this place, or two names differ only by the
                mark of a wrapper.
        """
        place = self.content
        for key in keys:
            entries = range(len(place)) if isinstance(place, list | tuple) else place
            if not isinstance(entries, Mapping | range) or key not in entries:
                raise ValueError(f"{self.path} has no entry {key!r}; {_describe(place)}")
            place = place[key]
        if not isinstance(place, Mapping) or not all(
            isinstance(value, Tensor) for value in place.values()
        ):
            raise ValueError(f"{self.path} holds no dict of tensors there; {_describe(place)}")
        try:
            return unwrapped(place)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error


def read_weights(path: Path) -> WeightFile:
    """Read a weight file.

    Args:
        path: A safetensors file, a file written by `torch.save`, a snapshot pickle of NVIDIA's
            StyleGAN code (suffix .pkl), or a folder in diffusers' layout, with plain weights or
            a variant such as `fp16`.

    Raises:
        FileNotFoundError: No such file, or a folder without weights.
        ValueError: It is damaged, or loading it would run code.
    """
    config: dict[str, Any] = {}
    if path.is_dir():
        path, config = _in_folder(path)
    elif _IN_FOLDER.fullmatch(path.name) and (path.parent / "config.json").is_file():
        config = _config(path.parent)
    if not path.is_file():
        raise FileNotFoundError(f"no weight file {path}")
    _check_beginning(path)
    card: dict[str, str] = {}
    if path.suffix == ".safetensors":
        content, card = _safetensors(path)
    elif path.suffix == ".pkl":
        from stitching.weights.snapshot import read_snapshot

        content = read_snapshot(path)
    else:
        content = _torch(path)
    return WeightFile(path, content, remembered_sha256(path), card, config)


def _check_beginning(path: Path) -> None:
    """Refuse empty files, web pages and pointers of Git LFS that were saved as weights."""
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    if not start:
        raise ValueError(f"{path} is an empty file: the download has failed; repeat it")
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ValueError(
            f"{path} is a web page, not weights: the server sent an error, a quota or a login "
            "page in their place; download the file anew, for example with a browser"
        )
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(f"{path} is a pointer of Git LFS, not weights: run `git lfs pull` there")


#: Names of weight files in diffusers' layout, with their variant if any.
_IN_FOLDER = re.compile(
    r"(?:diffusion_pytorch_)?model(?:\.(?P<variant>\w[\w-]*?))?\.(?:safetensors|bin)"
)
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")
#: Variants that differ in precision only, best first.
_DIGITS = ("fp32", "fp16", "bf16")


def _config(folder: Path) -> dict[str, Any]:
    place = folder / "config.json"
    try:
        config = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{folder} has no config.json: give the folder of one model in diffusers' layout "
            "(of a whole pipeline, set subfolder, such as vae)"
        ) from None
    except ValueError as error:  # no JSON, or no text at all
        raise ValueError(f"{place} is not valid JSON: {error}; download it anew") from error
    if not isinstance(config, dict):
        raise ValueError(f"{place} holds a {type(config).__name__}, but a model's is a dict")
    return config


def _in_folder(folder: Path) -> tuple[Path, dict[str, Any]]:
    config = _config(folder)
    for name in WEIGHT_NAMES:
        if (folder / name).is_file():
            return folder / name, config
    whole = next(folder.glob("*.index.json"), None)
    if whole is None and (variant := _variant(folder)):
        log.warning("%s has no weights but a variant: %s is taken", folder, variant.name)
        return variant, config
    if index := whole or next(folder.glob("*.index.*.json"), None):
        found = re.search(r"\.index\.(.+)\.json", index.name)
        which = f"FOLDER, variant='{found[1]}'" if found else "FOLDER"
        raise ValueError(
            f"{folder} holds weights in several files ({index.name}): save them as one, "
            f"`Class.from_pretrained({which}).save_pretrained(OTHER, max_shard_size='100GB')`, "
            f"or choose a single file with {ROLE}.weights=FOLDER/FILE"
        )
    there = sorted(path.name for path in folder.iterdir() if path.name != "config.json")
    raise FileNotFoundError(
        f"{folder} has none of {', '.join(WEIGHT_NAMES)}, and no variant of these such as "
        f"diffusion_pytorch_model.fp16.safetensors; beside config.json there are "
        f"{', '.join(there[:6]) or 'no files'}{', ...' if len(there) > 6 else ''}: give the file "
        f"itself as {ROLE}.weights=FILE under one of these names"
    )


def _variant(folder: Path) -> Path | None:
    """The variant in a folder without plain weights, safetensors first; None without any."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):  # "bin" before "safetensors", which replaces it
        found = _IN_FOLDER.fullmatch(path.name)
        if found and found["variant"] and path.is_file() and not _SHARD.search(path.name):
            files[found["variant"]] = path
    best = [name for name in _DIGITS if name in files] or list(files)
    if len(best) > 1 and best[0] not in _DIGITS:
        names = ", ".join(path.name for path in files.values())
        raise ValueError(
            f"{folder} holds several variants of other weights ({names}): choose one with "
            f"{ROLE}.weights=FOLDER/FILE"
        )
    return files[best[0]] if best else None


def _safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
            return tensors, dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a readable safetensors file: {error}; it may be a partial download, "
            "or of another format under this ending"
        ) from error


class _Inert:
    """Stands for a class without weights: keeps nothing and does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        del args, kwargs

    def __setstate__(self, state: object) -> None:
        del state


#: Classes of settings in checkpoints of training frameworks.
_SETTINGS = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.base.UnionNode",
    "omegaconf.nodes.AnyNode",
    "omegaconf.nodes.BooleanNode",
    "omegaconf.nodes.BytesNode",
    "omegaconf.nodes.EnumNode",
    "omegaconf.nodes.FloatNode",
    "omegaconf.nodes.IntegerNode",
    "omegaconf.nodes.PathNode",
    "omegaconf.nodes.StringNode",
    "typing.Any",
    "argparse.Namespace",
    "types.SimpleNamespace",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",  # Python 3.13
    "pathlib._local.WindowsPath",
)


def _allowed() -> list[Any]:
    import collections

    import numpy as np
    from numpy._core import multiarray

    # Numbers and text, but not "O": an array of objects may hold anything.
    kinds = [np.dtype, *(type(np.dtype(kind)) for kind in "?bBhHiIlLqQefdFDSU")]
    # The names of numpy before and after 2.0.
    functions = [
        (getattr(multiarray, name), f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name in ("scalar", "_reconstruct")
    ]
    inert = [(type("Inert", (_Inert,), {}), name) for name in _SETTINGS]
    return [collections.defaultdict, dict, list, int, np.ndarray, *kinds, *functions, *inert]


#: Errors of torch's readers on bytes that are no weight file.
_DAMAGED = (
    RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, TypeError, AttributeError,
    struct.error,
)  # fmt: skip


def _torch(path: Path) -> Any:
    try:
        part = damaged_part(path)
    except (zipfile.BadZipFile, OSError, ValueError):
        part = None  # reading, below, has a better message
    if part is not None:
        raise ValueError(
            f"{path} is damaged: its part {part} does not have the checksum that was written with "
            "it; copy or download the file anew"
        )
    try:
        with torch.serialization.safe_globals(_allowed()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        name = _blocked(str(error))
        if name is None:
            raise ValueError(
                f"{path} is not a readable weight file (safetensors or torch.save): it may be "
                "damaged, of another format, or a partial download"
            ) from error
        raise ValueError(
            f"{path} was refused: loading it would run code ({name}). Where you trust it, load it "
            "with the code it came from and save `model.state_dict()` as a safetensors file"
        ) from error
    except _DAMAGED as error:
        reason = textwrap.shorten(str(error), 120) or type(error).__name__
        raise ValueError(
            f"{path} is not a readable weight file (safetensors or torch.save): {reason}; it may "
            "be damaged, of another format, or a partial download"
        ) from error


def _blocked(message: str) -> str | None:
    """The class or function that torch refused, from its message."""
    found = re.search(r"GLOBAL (\S+)", message) or re.search(r"got <\D*?'?([\w.]+)'?>", message)
    return found[1] if found else None


def _describe(place: object) -> str:
    if isinstance(place, Mapping):
        return f"there are {', '.join(map(repr, list(place)[:6])) or 'no entries'}"
    if isinstance(place, list | tuple):
        return f"there is a list of {len(place)}"
    return f"there is a {type(place).__name__}"
