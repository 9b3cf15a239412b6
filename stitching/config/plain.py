"""Turns composed configurations into plain values, which all other code takes."""

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from stitching.config.compose import (
    ROLES,
    conf_dir,
    initialized,
    model_node,
    register_roles,
    to_plain,
)
from stitching.config.labels import changed_options, label_models, model_name
from stitching.config.refusals import unknown_key
from stitching.config.widths import without_width


@dataclass(frozen=True)
class RoleModel:
    """Configuration of the model in a role.

    Attributes:
        role: `encoder`, `decoder`, `via`, or `models` for those listed by that option.
        node: The configuration; for `untrained` and `shuffled`, that of the model they name, with
            an `init_seed` or a `shuffle_seed`.
        yaml_name: Name of the YAML file, whatever the label.
        changed: Options that differ from the file, by dotted names.
        width: The role's `width`, as given; None too where it is an option of the model.
    """

    role: str
    node: dict[str, Any]
    yaml_name: str = ""
    changed: Mapping[str, Any] = field(default_factory=dict)
    width: Any = None


@dataclass(frozen=True)
class Composed:
    """A composed configuration as nested dicts and lists.

    Attributes:
        settings: All values, every interpolation resolved; labels as names of the models.
        models: Models by role; by name where the option `models` lists some.
    """

    settings: dict[str, Any]
    models: dict[str, RoleModel]


def compose_config(overrides: list[str], config_name: str = "config") -> Composed:
    """Compose a configuration from Python, without a command line.

    Args:
        overrides: As on the command line, such as `["encoder=nf", "data.n_test=64"]`.
        config_name: `config` (a cell), `encode`, `check` or `train`.

    Raises:
        ValueError: An override does not fit, or a name belongs to another model.
    """
    register_roles()
    if GlobalHydra.instance().is_initialized():
        raise ValueError("stitching's Python functions cannot compose inside a Hydra application")
    try:
        with initialized():
            cfg = compose(config_name, overrides, return_hydra_config=True)
    except HydraException as error:
        raise ValueError(str(error)) from error
    choices = {str(key): value for key, value in cfg.hydra.runtime.choices.items()}
    with open_dict(cfg):
        del cfg["hydra"]
    return resolve(cfg, config_name, choices)


def resolve(
    cfg: DictConfig,
    config_name: str = "config",
    choices: Mapping[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
) -> Composed:
    """Check the keys of a composed configuration, label its models, and make it plain.

    Args:
        cfg: What Hydra composed; the models of a cell are labelled in place.
        config_name: The primary configuration that the program starts from.
        choices: The option chosen for each group; None takes those of the running Hydra.
        settings: The plain values, if the models are labelled and these were made before.

    Raises:
        ValueError: A key is not used, a value is missing, or a model is unknown.
    """
    check_keys(cfg, config_name)
    if settings is None:
        if config_name == "config":
            label_models(cfg, choices)
        settings = to_plain(cfg)
    if config_name == "encode" and settings["models"] is not None:
        return Composed(settings, _listed_models(cfg, settings["models"]))
    roles = [role for role in ROLES if role in settings]
    if config_name == "config" and settings.get("via") is not None:
        roles.append("via")
    return Composed(settings, {role: role_model(cfg, role) for role in roles})


def role_model(cfg: DictConfig, role: str) -> RoleModel:
    """Return the model of a role in a composed configuration.

    Raises:
        ValueError: There is no model of this name, or `untrained` names one of its own kind.
    """
    if role == "via":
        return RoleModel(role, to_plain(model_node(str(cfg.via), cfg, "via")))
    node = cfg[role]
    if not isinstance(node, DictConfig):
        return RoleModel(role, node)  # refused when built
    plain, width = without_width(to_plain(_named_model(node, cfg, role)))
    return RoleModel(role, plain, model_name(node), changed_options(cfg, role), width)


def _listed_models(cfg: DictConfig, names: Any) -> dict[str, RoleModel]:
    if not isinstance(names, list) or not names:
        raise ValueError(f"models={names}: use a list of names, such as [vae,nf], or null")
    nodes = {str(name): model_node(str(name), cfg, "models") for name in names}
    return {
        name: RoleModel("models", to_plain(_named_model(node, cfg, "models")))
        for name, node in nodes.items()
    }


def _named_model(node: DictConfig, cfg: DictConfig, role: str) -> DictConfig:
    """Return the configuration of a model; of `untrained` and `shuffled`, that of the one `of`.

    It has an `init_seed` or a `shuffle_seed`, and their name; further keys replace its options.
    """
    if "_target_" in node or "of" not in node:
        return node
    named = model_node(node.of, cfg, f"{role}.of")
    if "_target_" not in named:
        raise ValueError(f"{role}.of={node.of}: give a model of its own, such as {role}.of=vae")
    if node.seed < 0:
        raise ValueError(f"{role}.seed must be >= 0, got {node.seed}")
    for key, value in node.items():
        if key not in ("of", "seed", "weights", "shuffle") and (key, value) != ("width", None):
            named[key] = value
    named["shuffle_seed" if node.get("shuffle") else "init_seed"] = node.seed
    return named


def check_keys(cfg: DictConfig, name: str = "config") -> None:
    """Check that every key at the top of a configuration is used.

    A key that some value refers to as `${KEY}` is used. A primary configuration of the user may
    have any keys.

    Args:
        cfg: A composed configuration.
        name: The primary configuration that the program starts from.

    Raises:
        ValueError: A key is not used; the message names the nearest known one.
    """
    if HydraConfig.initialized() and HydraConfig.get().job.config_name not in (name, None):
        return
    text = json.dumps(OmegaConf.to_container(cfg, resolve=False), default=str)
    for key in map(str, cfg):
        read = key in _top_keys(name) or re.search(rf"\$\{{{re.escape(key)}[.}}\[]", text)
        if not read:
            raise ValueError(
                f"{unknown_key(key, cfg)}. Nothing reads it: leave it out, or refer to it "
                f"as ${{{key}}}"
            )


@functools.cache
def _top_keys(name: str) -> frozenset[str]:
    """Return the keys at the top of one of this project's primary configurations."""
    plain = OmegaConf.to_container(OmegaConf.load(conf_dir() / f"{name}.yaml"), resolve=False)
    assert isinstance(plain, dict)
    found = {str(key) for key in plain} | {"hydra"}
    for entry in plain.get("defaults", []):
        if not isinstance(entry, dict):
            found |= _top_keys(entry) if (conf_dir() / f"{entry}.yaml").is_file() else set()
            continue
        group = str(next(iter(entry)))
        found.add(group.rpartition(" ")[2].rpartition("@")[2])
    return frozenset(found - {"defaults", "experiment"})
