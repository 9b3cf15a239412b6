"""Composes configurations: Hydra's folders, options of the roles, models by name."""

import functools
import json
import os
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
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from stitching.config.refusals import name_nearest

ROLES = ("encoder", "decoder")
#: The group of `data=drawn`, with a dot so that the option reads like any other of the data.
DRAWING = "data.model"

#: Key that `labels` adds to a role's model: the name of its YAML.
CHOICE = "_model_"

#: Keys of a model's YAML that its constructor does not take.
NOT_OPTIONS = (
    "weights", "subfolder", "revision", "source", "checkpoint", "trained_crop", "training",
    "init_seed", CHOICE,
)  # fmt: skip


def conf_dir() -> Path:
    """Return the folder of configurations: in an installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


class _Store(ConfigStore):
    """Hydra's store of configurations, without entries that `conf/hydra` has a file for.

    Hydra would check such a file against the entry that a plugin stores under the same name, and
    warn of that in every process of a sweep. These are sent this store before they load plugins.
    """

    def store(
        self,
        name: str,
        node: Any,
        group: str | None = None,
        package: str | None = None,
        provider: str | None = None,
    ) -> None:
        """Store an entry, unless it is a plugin's and there is a preset of its name."""
        if not _is_preset(group or "", name):
            super().store(name, node, group, package, provider)


def _is_preset(group: str, name: str) -> bool:
    return group.startswith("hydra/") and (conf_dir() / group / f"{name}.yaml").is_file()


def _store() -> ConfigStore:
    """Return Hydra's store, made to prefer presets."""
    store = ConfigStore.instance()
    if isinstance(store, _Store):
        return store
    own = _Store()
    own.repo = store.repo
    for path in (conf_dir() / "hydra").glob("*/*.yaml"):  # of plugins that are loaded already
        own.repo.get("hydra", {}).get(path.parent.name, {}).pop(path.name, None)
    Singleton._instances[ConfigStore] = own  # type: ignore[assignment]  # an instance it is
    return own


def register_roles() -> None:
    """Make models options of `encoder` and `decoder`, and those that draw of `data.model`.

    The option itself is empty; what it selects is loaded by `model@encoder: ${encoder}`. Without
    these entries `--help` would not list them and `encoder=glob(*)` would find none.
    """
    name_nearest()
    store = _store()
    for path in sorted((conf_dir() / "model").glob("*.yaml")):
        for role in ROLES:
            store.store(group=role, name=path.stem, node={})
        # Others are found too, and refused when built.
        if "models.gan.GAN" in path.read_text(encoding="utf-8"):
            store.store(group=DRAWING, name=path.stem, node={})
    # `${data.model}` would look for `model` inside `data`, not for the choice of that name.
    OmegaConf.register_new_resolver("choice", _choice, replace=True)


def _choice(group: str, *, _root_: DictConfig) -> str:
    """What was chosen for a group, in a defaults list."""
    chosen: str = _root_[group]
    return chosen


def compose_with_choices(
    overrides: list[str], config_name: str = "config"
) -> tuple[DictConfig, dict[str, Any]]:
    """Compose a configuration; return it, and which option was chosen for each group.

    Raises:
        ValueError: An override does not fit.
    """
    from hydra.errors import HydraException

    register_roles()
    if GlobalHydra.instance().is_initialized():
        raise ValueError("stitching's Python functions cannot compose inside a Hydra application")
    try:
        with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
            cfg = compose(config_name, overrides, return_hydra_config=True)
    except HydraException as error:
        raise ValueError(str(error)) from error
    choices = {str(key): value for key, value in cfg.hydra.runtime.choices.items()}
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg, choices


def _hydra() -> AbstractContextManager[object]:
    """Hydra as it is running, or else of this project's folder: in Python, in a sweep's worker."""
    if GlobalHydra.instance().is_initialized():
        return nullcontext()
    return initialize_config_dir(str(conf_dir().resolve()), version_base="1.3")


def to_plain(cfg: DictConfig) -> dict[str, Any]:
    """Return nested plain dicts and lists, every interpolation resolved.

    Raises:
        ValueError: A value is missing (`???`) or an interpolation fails; the message names it.
    """
    try:
        plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ValueError(f"configuration is incomplete: {error}") from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def absolute(path: str) -> str:
    """Return a path of the user's relative to the folder the command was started in."""
    path = os.path.expanduser(path)
    return to_absolute_path(path) if HydraConfig.initialized() else os.path.abspath(path)


def job_number() -> int | None:
    """Return the place of this job in its sweep, from 0; None outside a sweep."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return int(HydraConfig.get().job.num)


def cache_root(path: str | None) -> Path:
    """Return the cache folder: configured, `STITCHING_CACHE`, or the user's cache folder."""
    chosen = path or os.environ.get("STITCHING_CACHE")
    if chosen:
        return Path(absolute(chosen))
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "stitching"


def model_node(name: str, cfg: DictConfig) -> DictConfig:
    """Return the configuration of a model by the name of its YAML file, in the context of `cfg`.

    The file is looked for where `encoder=NAME` finds it: in this project, in `--config-dir` and
    on `hydra.searchpath`. Values such as `${data.image_size}` are those of `cfg`.

    Raises:
        ValueError: There is no such model.
    """
    from hydra.errors import HydraException

    folders = []
    if HydraConfig.initialized():
        sources = HydraConfig.get().runtime.config_sources
        folders = [s.path for s in sources if s.provider != "hydra" and s.schema == "file"]
    try:
        named = _model_alone(name, tuple(folders))
    except HydraException as error:
        # Hydra lists the options, and then its folders, which do not help here.
        reason = " ".join(str(error).partition("Config search path")[0].split())
        raise ValueError(f"no model {name!r}: {reason}") from error
    node = OmegaConf.create(named, parent=cfg)
    OmegaConf.set_struct(node, False)
    return node


@functools.lru_cache(maxsize=1024)
def _model_alone(name: str, folders: tuple[str, ...]) -> dict[str, Any]:
    """Return the unresolved configuration of a model; composed once, since cells share it."""
    # `train` is the configuration with one model, and Hydra itself knows defaults and packages.
    path = json.dumps([f"file://{folder}" for folder in folders])
    with _hydra():
        named = compose("train", [f"model={name}", f"hydra.searchpath={path}"]).model
    found = OmegaConf.to_container(named, resolve=False)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}
