"""Composes configurations: folders, options of the roles, models by name."""

import argparse
import functools
import json
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.types import RunMode
from hydra.utils import to_absolute_path
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from stitching.config.refusals import name_nearest

ROLES = ("encoder", "decoder")
#: The group of `data=drawn`, with a dot so that the option reads like any other of the data.
DRAWING = "data.model"

#: Key that `labels` adds to a role's model: the name of its YAML file.
CHOICE = "_model_"

#: Keys of a model's YAML that its constructor does not take.
NOT_OPTIONS = (
    "weights", "subfolder", "revision", "source", "checkpoint", "trained_crop", "training",
    "init_seed", "shuffle_seed", CHOICE,
)  # fmt: skip


def conf_dir() -> Path:
    """Return the folder of configurations: in the installed package, or in the checkout."""
    package = Path(__file__).parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


class _Store(ConfigStore):
    """Hydra's store of configurations, without entries that `conf/hydra` has a file for.

    Hydra would check such a file against the entry that a plugin stores under the same name, and
    warn in every process of a sweep. Worker processes get this store before they load plugins.
    """

    def store(
        self,
        name: str,
        node: Any,
        group: str | None = None,
        package: str | None = None,
        provider: str | None = None,
    ) -> None:
        """Store an entry, unless it is a plugin's and a preset has its name."""
        preset = conf_dir() / (group or "") / f"{name}.yaml"
        if not ((group or "").startswith("hydra/") and preset.is_file()):
            super().store(name, node, group, package, provider)


def _store() -> ConfigStore:
    """Return Hydra's store of configurations, replaced by a `_Store`."""
    store = ConfigStore.instance()
    if isinstance(store, _Store):
        return store
    own = _Store()
    own.repo = store.repo
    for path in (conf_dir() / "hydra").glob("*/*.yaml"):  # of plugins that are loaded already
        own.repo.get("hydra", {}).get(path.parent.name, {}).pop(path.name, None)
    Singleton._instances[ConfigStore] = own  # type: ignore[assignment]
    return own


def own_folders(words: Sequence[str]) -> list[Path]:
    """Return the absolute folder that `--config-dir` gives in the words of a command line."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config-dir", "-cd")
    try:
        given = parser.parse_known_args(words)[0].config_dir
    except argparse.ArgumentError:  # without a folder: Hydra refuses it
        given = None
    return [Path(given).absolute()] if given else []


def register_roles(folders: Sequence[Path] | None = None) -> None:
    """Make models options of `encoder` and `decoder`, and those that draw, of `data.model`.

    The option itself is empty; `model@encoder: ${encoder}` loads the model. Without these entries
    `--help` would not list them and `encoder=glob(*)` would find none.

    Args:
        folders: The user's folders of configurations; None takes those of the command line.
    """
    name_nearest()
    store = _store()
    own = own_folders(sys.argv[1:]) if folders is None else folders
    for path in sorted(
        path for root in (conf_dir(), *own) for path in (root / "model").glob("*.yaml")
    ):
        for role in ROLES:
            store.store(group=role, name=path.stem, node={})
        # Other models are accepted too, and refused when built.
        if "models.gan.GAN" in path.read_text(encoding="utf-8"):
            store.store(group=DRAWING, name=path.stem, node={})
    # `${data.model}` would look for `model` inside `data`, not for the choice of that name.
    OmegaConf.register_new_resolver("choice", _choice, replace=True)


def _choice(group: str, *, _root_: DictConfig) -> str:
    """Return the option chosen for a group, in a defaults list."""
    chosen: str = _root_[group]
    return chosen


def initialized() -> AbstractContextManager[object]:
    """Return a context in which Hydra is initialised with this project's folder."""
    return initialize_config_dir(str(conf_dir().resolve()), version_base="1.3")


def to_plain(cfg: DictConfig) -> dict[str, Any]:
    """Return a configuration as nested dicts and lists, every interpolation resolved.

    Raises:
        ValueError: A value is missing (`???`) or an interpolation fails; the message names it.
    """
    try:
        plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        first = str(error).partition("\n")[0]  # the key is in it, or named here
        where = "" if not error.full_key or error.full_key in first else f"{error.full_key}: "
        raise ValueError(f"configuration is incomplete: {where}{first}") from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def absolute(path: str) -> str:
    """Return an absolute path; relative ones start where the command was started."""
    path = os.path.expanduser(path)
    return to_absolute_path(path) if HydraConfig.initialized() else os.path.abspath(path)


def job_number() -> int | None:
    """Return the number of this job in its sweep, from 0; None outside a sweep."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return int(HydraConfig.get().job.num)


def cache_root(path: str | None) -> Path:
    """Return the cache folder: `path`, else `STITCHING_CACHE`, else in the user's cache folder."""
    chosen = path or os.environ.get("STITCHING_CACHE")
    if chosen:
        return Path(absolute(chosen))
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "stitching"


def config_folders() -> tuple[str, ...]:
    """Return the folders that the running Hydra reads; none in Python."""
    sources = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else ()
    return tuple(source.path for source in sources if source.schema == "file")


def model_node(name: str, cfg: DictConfig, key: str = "model") -> DictConfig:
    """Return the configuration of a model by the name of its YAML file, in the context of `cfg`.

    The file is searched like that of `encoder=NAME`: in this project, in `--config-dir` and on
    `hydra.searchpath`. Values such as `${data.image_size}` are those of `cfg`.

    Args:
        name: Name of the file, without its ending.
        cfg: Configuration that the model's refers to.
        key: The option that names the model, for messages.

    Raises:
        ValueError: There is no such model.
    """
    from hydra.errors import HydraException

    try:
        named = _model_alone(name, config_folders())
    except HydraException as error:
        # Hydra lists the options, and then its folders, which do not help.
        reason = " ".join(str(error).partition("Config search path")[0].split())
        raise ValueError(f"{key}={name}: {reason.removeprefix(f'model={name}: ')}") from error
    node = OmegaConf.create(named, parent=cfg)
    OmegaConf.set_struct(node, False)
    return node


@functools.lru_cache(maxsize=1024)
def _model_alone(name: str, folders: tuple[str, ...]) -> dict[str, Any]:
    """Return the unresolved configuration of a model; composed once, since cells share it."""
    # `train` is the configuration with one model; composing follows its defaults list.
    path = json.dumps([f"file://{folder}" for folder in folders])
    # In Python, and in workers of a sweep, Hydra is not initialised.
    with nullcontext() if GlobalHydra.instance().is_initialized() else initialized():
        named = compose("train", [f"model={name}", f"hydra.searchpath={path}"]).model
    found = OmegaConf.to_container(named, resolve=False)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}
