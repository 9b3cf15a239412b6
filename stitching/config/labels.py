"""Labels of models in rows, columns and files, derived from their configurations.

A label is the name in a model's YAML, followed by the options that differ from that YAML:
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

from stitching.config.compose import CHOICE, ROLES, conf_dir, model_node, to_plain
from stitching.pipeline.protocol import Protocol
from stitching.records.words import nearest

__all__ = [
    "changed_options",
    "check_labels",
    "check_name",
    "check_penalty_names",
    "label_models",
    "model_name",
]

#: What a name may consist of: it becomes part of folder names and of W&B run names.
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")

#: Keys of a model's YAML that change none of its latents or images.
_ASIDE = frozenset({"name", "source", "training", "trained_crop", CHOICE})

#: Characters of a path in a label at most.
_PATH_LENGTH = 40


def label_models(cfg: DictConfig, choices: Mapping[str, Any] | None = None) -> None:
    """Write the label of each role's model into its `name`, and its YAML's name beside it.

    Args:
        cfg: A composed configuration; modified.
        choices: The option chosen for each group; None takes those of the running Hydra.

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
    """Check that no YAML of the user's is passed over for another one of the same name.

    Hydra reads the first of its folders that has an option, and this project's comes first.

    Raises:
        ValueError: A chosen option is in two folders.
    """
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
    """Check a name that files and rows get.

    Args:
        key: What is named on the command line, such as `encoder` or `data`.
        name: Its `name`.
        choice: The option it comes from, such as `vae`; None takes that of the running Hydra.
        group: Folder of YAMLs whose names it may not have, its own aside; `key` by default.

    Raises:
        ValueError: The name has other characters than allowed, or belongs to another YAML.
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
    """Check that penalties picked by hand are of models that there are.

    Raises:
        ValueError: One is of an unknown model.
    """
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
    """Return the name of the YAML that a role's model comes from, whatever its label."""
    return str(node.get(CHOICE) or node.name)


def changed_options(cfg: DictConfig, role: str) -> dict[str, Any]:
    """Return the options in which a role's model differs from its own YAML, by dotted names.

    Both are resolved with the same global settings, such as `data.image_size`, `seed` and `zoo`.
    """
    own = _own_node(cfg, role)
    if own is None:
        return {}
    given, usual = (dict(_flat(to_plain(node))) for node in (cfg[role], own))
    keys = [key for key in given | usual if key.partition(".")[0] not in _ASIDE]
    return {key: given.get(key) for key in keys if given.get(key) != usual.get(key)}


def check_labels(models: Iterable[tuple[str, str, Mapping[str, Any]]]) -> None:
    """Check that no label stands for two models.

    Args:
        models: Label, name of the YAML, and changed options (or what else distinguishes models) of
            each role of each cell.

    Raises:
        ValueError: One does.
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
    found = ", ".join(f"{key}={_text(value)}" for key, value in json.loads(options).items())
    return f"{name} with {found}" if found else f"{name} as it is"


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
    # What the name itself is made of is not said twice: `untrained-nf` for of=nf.
    inside = set(re.findall(r"\$\{\.(\w+)\}", raw))
    changed = {key: v for key, v in changed_options(cfg, role).items() if key not in inside}
    return name + suffix(changed)


def suffix(changed: Mapping[str, Any]) -> str:
    """Return options as the end of a label, such as `[n_steps=5]`; "" for none."""
    found = ",".join(f"{key}={_text(value)}" for key, value in changed.items())
    return f"[{found}]" if found else ""


def _own_node(cfg: DictConfig, role: str) -> DictConfig | None:
    """Return a role's model as its YAML alone has it; None where there is no such file."""
    choice = cfg[role].get(CHOICE)
    if choice not in _options(_folders(), "model"):
        return None
    return model_node(choice, cfg)


def _raw_name(node: DictConfig) -> str:
    found = OmegaConf.to_container(node, resolve=False)
    assert isinstance(found, dict)
    return str(found.get("name"))


def _folders() -> tuple[str, ...]:
    """Return the folders that configurations come from: the user's, and this project's."""
    own = str(conf_dir())
    if not HydraConfig.initialized():
        return (own,)
    sources = HydraConfig.get().runtime.config_sources
    return tuple(dict.fromkeys([*(str(s.path) for s in sources if s.schema == "file"), own]))


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
