"""Locations of weights: the values of `weights:` in a model's configuration.

| `weights` | meaning |
| --- | --- |
| `zoo:faces/vae.safetensors` | a packaged file |
| `checkpoints:celeba64/glow.pt` | a file or folder in the checkpoint folder |
| `path/to/file.pt`, `path/to/folder` | a local file, or a folder in diffusers' layout |
| `org/name`, `hf:org/name` | a folder of the Hugging Face hub (`subfolder:` beside it) |
| `hf:org/name/path/file.ext` | one file of the hub |
| `https://host/file.pt#sha256=...` | a download, kept in the checkpoint folder |

A name of the form `org/name` that exists as a local path is that path.
"""

import functools
import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from stitching.records.program import command_line
from stitching.weights import hub
from stitching.weights.download import ChecksumError, DownloadError, Network, remembered_sha256
from stitching.weights.roles import ROLE

#: Prefix of a packaged file: `zoo:faces/vae.safetensors` lies in `stitching/zoo/faces/`.
PACKAGED = "zoo:"
ZOO = Path(__file__).parents[1] / "zoo"
#: Prefix of files in the checkpoint folder.
CHECKPOINTS = "checkpoints:"
#: Prefix of names on the hub, needed for single files and for names that look like a path.
HUB = "hf:"
#: Endings of weight files: `runs/model.pt` is a path, `org/model` may be a name on the hub.
_WEIGHT_FILES = frozenset({".safetensors", ".pt", ".pth", ".ckpt", ".pkl", ".bin", ".tar"})
#: Hosts that plain http may be used with.
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
#: A name on the hub: the hub's own rules, minus names without an owner.
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def checkpoint_folder(root: Path | None = None) -> Path:
    """Return the folder of published checkpoints: `STITCHING_CHECKPOINTS`, or in the user's cache.

    A relative `STITCHING_CHECKPOINTS` starts in `root`.
    """
    chosen = os.environ.get("STITCHING_CHECKPOINTS")
    if chosen:
        return (root or Path()).absolute() / Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "stitching" / "checkpoints"


def resolve(
    weights: str,
    subfolder: str | None = None,
    revision: str | None = None,
    root: Path | None = None,
) -> Path:
    """Return the local path of weights, downloaded if necessary.

    Args:
        weights: As in the table above.
        subfolder: Folder of one model inside a pipeline's folder, local or on the hub; ignored
            for single files.
        revision: Branch, tag or commit on the hub, `main` by default. The hub's cache is used
            without a request, so only a commit hash fixes the weights.
        root: Folder that relative paths start in, by default the current one.

    Returns:
        A file, or a folder in diffusers' layout.

    Raises:
        FileNotFoundError: There is no such file, or it is not available; says how to get it.
        ValueError: The location has another form, or a download or a packaged file has another
            checksum.
    """
    if weights.startswith(PACKAGED):
        return _packaged(weights)
    if weights.startswith(CHECKPOINTS):
        return _checkpoint(weights, subfolder, root)
    if weights.startswith(HUB):
        return _on_hub(weights, subfolder, revision)
    if "://" in weights:
        return _downloaded(weights, root)
    path = (root or Path()).absolute() / Path(weights).expanduser()
    if path.exists():
        return _inside(path, subfolder)
    if _REPOSITORY.fullmatch(weights) and Path(weights).suffix not in _WEIGHT_FILES:
        try:
            return hub.folder(weights, subfolder, revision)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{path} does not exist, and on the hub: {error}") from error
    raise FileNotFoundError(
        f"no weight file {weights}: train it with `{command_line('train')} model=NAME "
        f"data=NAME`, or give another path with {ROLE}.weights=PATH, or zoo=FOLDER for all; "
        "published checkpoints: docs/CHECKPOINTS.md"
    )


def _packaged(weights: str) -> Path:
    path = ZOO / weights.removeprefix(PACKAGED)
    if not path.is_file():
        known = sorted(p.relative_to(ZOO).as_posix() for p in ZOO.glob("*/*.safetensors"))
        data, _, name = weights.removeprefix(PACKAGED).rpartition("/")
        if data.endswith("-2"):  # of second trainings, see conf/model/vae-2.yaml
            data = f"{data.removesuffix('-2')} seed=1"
        raise FileNotFoundError(
            f"no weight file {weights}: packaged files are {', '.join(known) or 'none'}; train it "
            f"with `{command_line('train')} model={Path(name).stem} data={data}` and give the "
            f"file with {ROLE}.weights=PATH, or its folder for all with zoo=FOLDER"
        )
    wanted = _packaged_sums().get(weights.removeprefix(PACKAGED))
    if wanted is not None and remembered_sha256(path) != wanted:
        raise ValueError(
            f"{path} is damaged: it is not the file that this project published; install the "
            "project again, or check its folder out anew"
        )
    return path


@functools.cache
def _packaged_sums() -> dict[str, str]:
    """SHA-256 (hex) of the packaged files by name, as `sha256sum` writes them."""
    lines = (ZOO / "SHA256SUMS").read_text(encoding="ascii").splitlines()
    return {name: sha256 for sha256, name in (line.split() for line in lines)}


def _checkpoint(weights: str, subfolder: str | None, root: Path | None) -> Path:
    folder, name = checkpoint_folder(root), weights.removeprefix(CHECKPOINTS)
    path = folder / name
    if not name or not path.exists():
        raise FileNotFoundError(
            f"no checkpoint {path}: docs/CHECKPOINTS.md says where it is published; put it there, "
            "set STITCHING_CHECKPOINTS to the folder where your checkpoints lie, or give its path "
            f"with {ROLE}.weights=PATH"
        )
    return _inside(path, subfolder)


def _inside(path: Path, subfolder: str | None) -> Path:
    """The model's folder: the subfolder of a pipeline, or the path itself."""
    if subfolder is None or path.is_file():
        return path
    if (path / subfolder).is_dir():
        return path / subfolder
    if (path / "config.json").is_file():
        return path
    raise FileNotFoundError(
        f"{path} has neither a folder {subfolder} nor a config.json of its own: give the folder "
        "of a pipeline, or of one model in diffusers' layout"
    )


def _on_hub(weights: str, subfolder: str | None, revision: str | None) -> Path:
    name = weights.removeprefix(HUB)
    repository, file = "/".join(name.split("/")[:2]), "/".join(name.split("/")[2:])
    if not _REPOSITORY.fullmatch(repository) or (file and not Path(file).suffix):
        raise ValueError(
            f"weights={weights}: write hf:ORG/NAME for a folder in diffusers' layout (subfolder "
            "is an option of its own) or hf:ORG/NAME/PATH/FILE.EXT for one file"
        )
    if file:
        return hub.file(repository, file, revision)
    return hub.folder(repository, subfolder, revision)


def _downloaded(weights: str, root: Path | None) -> Path:
    url, _, fragment = weights.partition("#")
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL_HOSTS):
        raise ValueError(f"weights={url}: only https:// is downloaded (http:// from localhost)")
    found = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
    if found is None:
        raise ValueError(
            f"weights={url} needs its SHA-256, so that another file is noticed: write "
            f"{url}#sha256=<64 hexadecimal digits>, in quotes on the command line "
            "(`sha256sum FILE` prints them)"
        )
    sha256 = found[1].lower()
    name = Path(unquote(parts.path).rsplit("/", 1)[-1] or "weights")
    # With the checksum, because two hosts may use the same name.
    path = checkpoint_folder(root) / f"{name.stem}-{sha256[:8]}{name.suffix}"
    try:
        if not path.is_file():
            Network().fetch(url, path, sha256)
        elif (there := remembered_sha256(path)) != sha256:
            raise ChecksumError(f"{path} has sha256 {there} instead of {sha256}: delete it")
    except ChecksumError as error:
        raise ValueError(
            f"weights={url}: {error}; correct the hash in weights if the file was replaced on "
            "purpose; otherwise do not trust the address"
        ) from error
    except DownloadError as error:
        raise FileNotFoundError(
            f"no weight file {path}, and {url} cannot be downloaded ({error}): download it on "
            "another machine and put it there under this name"
        ) from error
    return path
