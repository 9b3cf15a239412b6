"""Labels of models in rows, columns and files, derived from their configurations.

A label is the name in a model's YAML file, followed by the options that differ from the file:
`dm`, `dm[n_steps=5]`. A name set on the command line replaces the label; it may not be that of
another model.
"""

import functools
import json
import re
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from stitching.config.compose import (
    CHOICE,
    ROLES,
    conf_dir,
    config_folders,
    model_node,
    to_plain,
)
from stitching.pipeline.protocol import Protocol
from stitching.records.words import nearest

#: Allowed names: they become parts of folder names and of W&B run names.
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")

#: Keys of a model's YAML that change none of its latents or images.
_ASIDE = frozenset({"name", "source", "training", "trained_crop", CHOICE})

#: Longer paths are shortened in labels, in characters.
_PATH_LENGTH = 40


def label_models(cfg: DictConfig, choices: Mapping[str, Any] | None = None) -> None:
    """Set the name of each role's model to its label, and add the name of its YAML file.

    Args:
        cfg: A composed configuration; modified.
        choices: The option chosen for each group; by default those of the running Hydra.

    Raises:
        ValueError: A name is not allowed, or belongs to another model or data set.
    """
    choices = _chosen() if choices is None else choices
    _check_not_hidden(choices)
    if isinstance(cfg.get("data"), DictConfig) and "data" in choices:
        check_name("data", str(cfg.data.get("name")), choices["data"])
    for role in ROLES:
        node, choice = cfg.get(role), choices.get(role)
        if not isinstance(node, DictConfig) or "name" not in node or CHOICE in node:
            continue
        with open_dict(node):
            node[CHOICE] = str(choice or node.name)
        node.name = _label(cfg, role)


def _check_not_hidden(choices: Mapping[str, Any]) -> None:
    """Check that no chosen option is in two folders: Hydra would read this project's alone."""
    first, *others = _folders()
    chosen = [
        (str(key), name)
        for key, names in choices.items()
        for name in (names if isinstance(names, list | ListConfig) else [names])
    ]
    for (key, name), folder in product(chosen, others):
        group = "model" if key in ROLES else key
        if name in _options((first,), group) and name in _options((folder,), group):
            raise ValueError(
                f"{key}={name} is read from {first}, so that {folder}/{group}/{name}.yaml has no "
                f"effect: give your file, and the name in it, one of their own, such as my-{name}"
            )


def check_name(key: str, name: str, choice: str | None = None, group: str = "") -> None:
    """Check a name of a model or data set, which files and rows are named after.

    Args:
        key: Its key on the command line, such as `encoder` or `data`.
        name: The name.
        choice: The option it comes from, such as `vae`; by default that of the running Hydra.
        group: Folder of YAML files whose names are taken, its own aside; `key` by default.

    Raises:
        ValueError: The name has other characters than allowed, or is that of another YAML file.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{key}.name={name!r} is no name: use 1 to 64 letters, digits, '.', '_' and '-', "
            "since files and runs are named after it"
        )
    choice = _chosen().get(key) if choice is None else choice
    if choice is not None and name != choice and name in _options(_folders(), group or key):
        raise ValueError(
            f"{key}={choice} is called {name}, which is the name of another one: set {key}.name, "
            f"or `name` in {choice}.yaml, to a name that no other has, such as {choice}"
        )


def check_penalty_names(protocol: Protocol) -> None:
    """Raise ValueError if a protocol's penalties picked by hand are of unknown models."""
    known = {
        name.partition("-")[0] for folder in _folders() for name in _options((folder,), "model")
    }
    rows = {"map_alphas": protocol.map_alphas, "probe_alphas": protocol.probe_alphas}
    rows |= {f"map_alphas.{name}": row for name, row in protocol.map_alphas.items()}
    for key, row in rows.items():
        for name in row:
            if name.partition("-")[0] not in known:
                raise ValueError(
                    f"protocol.{key}.{name}: there is no model {name}{nearest(name, known)}"
                )


def model_name(node: DictConfig) -> str:
    """Return the name of the YAML file of a role's model, whatever its label."""
    return str(node.get(CHOICE) or node.name)


def changed_options(cfg: DictConfig, role: str) -> dict[str, Any]:
    """Return the options of a role's model that differ from its YAML file, by dotted names.

    Both are resolved with the same global settings, such as `data.image_size`, `seed` and `zoo`.
    """
    own = _own_node(cfg, role)
    if own is None:
        return {}
    given, usual = (dict(_flat(to_plain(node))) for node in (cfg[role], own))
    keys = [key for key in given | usual if key.partition(".")[0] not in _ASIDE]
    return {key: given.get(key) for key in keys if given.get(key) != usual.get(key)}


def check_labels(models: Iterable[tuple[str, str, Mapping[str, Any]]]) -> None:
    """Raise ValueError if a label stands for two models.

    Each is given as its label, the name of its YAML file, and its changed options.
    """
    known: dict[str, tuple[str, str]] = {}
    for label, name, options in models:
        this = (name, json.dumps(options, sort_keys=True, default=str))
        other = known.setdefault(label, this)
        if other != this:
            raise ValueError(
                f"the name {label} stands for two models: {_shown(*other)}, and {_shown(*this)}. "
                "Give each a name of its own (encoder.name=, decoder.name=), or a sweep of its own"
            )


def _shown(name: str, options: str) -> str:
    found = _listed(json.loads(options), ", ")
    return f"{name} with {found}" if found else f"{name} as it is"


def _listed(options: Mapping[str, Any], separator: str) -> str:
    return separator.join(f"{key}={_text(value)}" for key, value in options.items())


def _label(cfg: DictConfig, role: str) -> str:
    node = cfg[role]
    name = str(node.name)
    check_name(role, name, node[CHOICE], "model")
    own = _own_node(cfg, role)
    if own is None:
        return name
    given, known = (list(x.get("training") or ()) for x in (node, own))
    for key in given:
        if key not in known:
            raise ValueError(
                f"{role}.training.{key} is not an option of the training of {name}"
                f"{nearest(str(key), map(str, known))}"
            )
    raw, usual = (_raw_name(x) for x in (node, own))
    if raw != usual:
        return name
    # Options that the name refers to are not repeated: `untrained-nf` for of=nf.
    inside = set(re.findall(r"\$\{\.(\w+)\}", raw))
    changed = {key: v for key, v in changed_options(cfg, role).items() if key not in inside}
    return f"{name}[{_listed(changed, ',')}]" if changed else name


def _own_node(cfg: DictConfig, role: str) -> DictConfig | None:
    """Return a role's model as in its YAML file; None where there is no such file."""
    choice = cfg[role].get(CHOICE)
    return model_node(choice, cfg) if choice in _options(_folders(), "model") else None


def _raw_name(node: DictConfig) -> str:
    found = OmegaConf.to_container(node, resolve=False)
    assert isinstance(found, dict)
    return str(found.get("name"))


def _folders() -> tuple[str, ...]:
    """Return the folders of configurations: the user's, and this project's."""
    return tuple(dict.fromkeys([*config_folders(), str(conf_dir())]))


@functools.cache
def _options(folders: tuple[str, ...], group: str) -> frozenset[str]:
    return frozenset(p.stem for folder in folders for p in Path(folder, group).glob("*.yaml"))


def _chosen() -> Mapping[str, Any]:
    return HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    if isinstance(value, str):
        if len(value) > _PATH_LENGTH and "/" in value:
            return "/".join(["...", *value.split("/")[-2:]])
        return value
    return json.dumps(value, separators=(",", ":"), default=str)
