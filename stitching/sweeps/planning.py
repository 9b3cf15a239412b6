"""The jobs of a sweep: those of its overrides, and those that a `glob()` picks."""

import contextlib
import logging
from collections.abc import Mapping, Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from stitching.config import ROLES

log = logging.getLogger(__name__)


def planned_jobs(config: DictConfig) -> list[Sequence[str]] | None:
    """Return the overrides of the jobs of a sweep, in order; None if they are not fixed.

    Args:
        config: Hydra's configuration of the sweep.
    """
    if config.hydra.runtime.choices.get("hydra/sweeper") != "basic":
        return None
    try:
        parsed = _parsed([*_parameters(config), *config.hydra.overrides.task])
        (jobs,) = BasicSweeper.split_arguments(parsed, None)
    except HydraException:
        return None  # the sweeper refuses it with a message of its own
    return list(jobs)


def _parameters(config: DictConfig) -> list[str]:
    """Return the overrides that a configuration gives the sweeper, as a preset does."""
    params = OmegaConf.to_container(config.hydra.sweeper.get("params") or OmegaConf.create())
    assert isinstance(params, dict)
    return [f"{key!s}={value}" for key, value in params.items()]


def picked_models(config: DictConfig) -> dict[str, tuple[str, list[str]]]:
    """Return, for each role whose models a `glob()` picks, the override and the models."""
    found: dict[str, tuple[str, list[str]]] = {}
    if config.hydra.runtime.choices.get("hydra/sweeper") != "basic":
        return found
    with contextlib.suppress(HydraException):  # the sweeper refuses it
        for override in _parsed([*_parameters(config), *config.hydra.overrides.task]):
            role, text = override.key_or_group, override.input_line
            if role in ROLES:
                found.pop(role, None)  # the last one counts
            if role in ROLES and text and isinstance(override.value(), Glob):
                found[role] = text, [str(name) for name in override.sweep_string_iterator()]
    return found


def leave_out(
    config: DictConfig,
    picked: Mapping[str, tuple[str, Sequence[str]]],
    lacking: Mapping[tuple[str, str], str],
) -> dict[str, str]:
    """Replace each `glob()` by the models that can run here; log what is left out, and why.

    Args:
        config: Hydra's configuration of the sweep; changed.
        picked: As `picked_models` returns it.
        lacking: Reasons by role and model.

    Returns:
        The new overrides by those they replace.
    """
    task, narrowed = config.hydra.overrides.task, {}
    for role, (text, names) in picked.items():
        reasons = [f"{name} ({lacking[role, name]})" for name in names if (role, name) in lacking]
        if not reasons:
            continue
        kept = ",".join(name for name in names if (role, name) not in lacking)
        log.warning("%s picks %s; left out: %s", text, kept, ", ".join(reasons))
        narrowed[text] = f"{role}={kept}"
        with read_write(config.hydra), open_dict(config.hydra):
            if text in task:
                task[task.index(text)] = narrowed[text]
            else:
                config.hydra.sweeper.params[role] = kept
    return narrowed


def fixed(config: DictConfig) -> list[str]:
    """Return the overrides of a search that are equal in all of its jobs."""
    parsed = _parsed(config.hydra.overrides.task)
    return [x.input_line for x in parsed if x.input_line and not x.is_sweep_override()]


def _parsed(texts: Sequence[str]) -> list[Override]:
    hydra = GlobalHydra.instance()
    # A glob() looks for options in the loader's folders.
    loader = hydra.config_loader() if hydra.is_initialized() else None
    return OverridesParser.create(config_loader=loader).parse_overrides(list(texts))
