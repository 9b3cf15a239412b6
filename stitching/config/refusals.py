"""Adds the nearest option to Hydra's messages about options that do not exist.

Hydra has no hook for messages, so its loader of configurations is wrapped; its version is pinned.
"""

import dataclasses
import functools
import re
from collections.abc import Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf

from stitching.records.words import closest, nearest_key

#: Hydra's messages, and the key in them.
_KEY = re.compile(
    r"Could not override '(?P<set>[^']+)'|Could not delete from config\. '(?P<delete>[^']+)'"
    r"|Could not delete '(?P<drop>[^'=]+)|config group '(?P<group>[^']+)' does not"
)
#: Options by their earlier names.
_RENAMED = {"n_components": "width"}
_OPTION = re.compile(r"Could not (?:find|load) '(?P<group>[^']+)/(?P<name>[^'/]+)'")


#: A name in the value of an override, such as that of a list.
_WORD = re.compile(r"[^\s,\[\]'\"]+")


def name_nearest() -> None:
    """Make Hydra's messages name the nearest option; a second call changes nothing."""
    original = ConfigLoaderImpl.load_configuration
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def load(self: ConfigLoaderImpl, *args: Any, **kwargs: Any) -> DictConfig:
        try:
            loaded = original(self, *args, **kwargs)
        except MissingConfigException as error:
            text = _option(error, self, kwargs.get("overrides", ()))
            if text is None:
                raise
            raise MissingConfigException(text, error.missing_cfg_file, error.options) from None
        except ConfigCompositionException as error:
            found = _KEY.search(str(error))
            if found is None or not found.lastgroup:
                raise
            text = _key(found[found.lastgroup], functools.partial(original, self), args, kwargs)
            raise ConfigCompositionException(text) from None
        _check_hydra_keys(loaded, kwargs.get("overrides", ()))
        return loaded

    ConfigLoaderImpl.load_configuration = load  # type: ignore[method-assign]


def _option(
    error: MissingConfigException, loader: ConfigLoaderImpl, overrides: Sequence[str]
) -> str | None:
    """Return the message about an option that a group does not have; None for other errors."""
    found = _OPTION.search(str(error))
    options = loader.get_group_options(found["group"]) if found else []
    if found is None or not options:
        return None
    close = closest(found["name"], options)
    meant = f", did you mean {close}?" if close else "."
    known = ", ".join(sorted(options))
    # `encoder=vea` is an option of the group `model`.
    given = (text for text in overrides if found["name"] in _WORD.findall(text.partition("=")[2]))
    key = next(given, f"{found['group']}={found['name']}")
    return f"{key}: there is no {found['group']} named {found['name']}{meant} There are {known}"


def _check_hydra_keys(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Raise if `+` adds a key to a part of Hydra's own configuration that has fixed fields."""
    for text in overrides:
        key, equals, _ = text.lstrip("+").partition("=")
        if not (text.startswith("+") and equals and key.startswith("hydra.")):
            continue
        node, before = cfg.hydra, "hydra."
        for part in key.split(".")[1:]:
            kind = OmegaConf.get_type(node) if isinstance(node, DictConfig) else None
            if not dataclasses.is_dataclass(kind):
                break  # such as hydra.job.env_set, which has any keys
            known = [f"{before}{field.name}" for field in dataclasses.fields(kind)]
            if before + part not in known:
                raise ConfigCompositionException(_unknown(before + part, known, known))
            node, before = node[part], f"{before}{part}."


def _key(key: str, load: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return the message about an unknown key; known keys are those composed without it."""
    overrides = kwargs.get("overrides", ())
    without = [text for text in overrides if text.lstrip("+~").partition("=")[0] != key]
    for kept in (without, []):
        try:
            cfg = load(*args, **(kwargs | {"overrides": kept}))
            break
        except HydraException:
            continue
    else:
        return f"{key} is not an option"
    return unknown_key(key, cfg)


def unknown_key(key: str, cfg: DictConfig) -> str:
    """Return the message that a configuration has no such key, given with dots."""
    parent, _, last = key.rpartition(".")
    if last in _RENAMED:
        return f"{key} is now called {parent}.{_RENAMED[last]}"
    known = [path for path in _paths(cfg) if path != key]
    beside = [path for path in known if path.rpartition(".")[0] == parent]
    return _unknown(key, known, beside)


def _unknown(key: str, known: Sequence[str], beside: Sequence[str]) -> str:
    there = f"; there are {', '.join(beside)}" if beside else ""
    return f"{key} is not an option{nearest_key(key, known)}{there}"


def _paths(cfg: DictConfig) -> list[str]:
    """Return all keys of a configuration with dots, but for those that Hydra reads."""
    plain = OmegaConf.to_container(cfg, resolve=False)
    found: list[str] = []

    def walk(node: Any, before: str) -> None:
        for name, value in node.items():
            if (not before and name == "hydra") or str(name).startswith("_"):
                continue
            found.append(f"{before}{name}")
            if isinstance(value, dict):
                walk(value, f"{before}{name}.")

    walk(plain, "")
    return found
