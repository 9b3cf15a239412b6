"""Checks a sweep before its first cell: each distinct choice is composed and built once.

A sweep of N encoders and M decoders has N + M distinct models, not N times M. The overrides of its
jobs are therefore divided into those for the encoder, for the decoder, and all else.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from stitching import config
from stitching.compute.devices import check_device_name
from stitching.config.assemble import Models, Setting, build_frozen_model, build_setting, node_key
from stitching.config.compatibility import check_pair
from stitching.config.compose import ROLES
from stitching.config.labels import changed_options, check_labels, label_models, model_name
from stitching.config.plain import check_keys, role_model
from stitching.pipeline.encoding import FrozenModel

#: Launchers that compute in this process, so that its devices are those of the cells.
_HERE = ("basic",)

#: Jobs that a message names at most.
_NAMED = 3

_Key = tuple[str, ...]


class SweepError(ValueError):
    """Cells of a sweep cannot run; the message has each distinct fault once."""


class Planned(NamedTuple):
    """Name of a job's folder, and labels of its models."""

    folder: str
    encoder: str
    decoder: str


class _Job(NamedTuple):
    """The overrides of a job, divided into those for encoder, decoder, and all else."""

    overrides: Sequence[str]
    encoder: _Key
    decoder: _Key
    rest: _Key

    def unit(self, role: str) -> tuple[str, _Key, _Key]:
        """Return what determines the model of a role: its own overrides, and the rest."""
        return role, (self.encoder if role == "encoder" else self.decoder), self.rest


class _Model(NamedTuple):
    """The model of a role.

    Attributes:
        name: Its name before labels are set, as in names of folders.
        label: Its label.
        facts: What distinguishes it from others of that label.
        frozen: The model without its weights; None if it could not be built.
    """

    name: str
    label: str
    facts: tuple[str, dict[str, Any]]
    frozen: FrozenModel | None


def check_sweep(
    master: DictConfig,
    jobs: Sequence[Sequence[str]],
    picked: Mapping[str, Sequence[str]] | None = None,
) -> tuple[list[Planned], dict[tuple[str, str], str]]:
    """Compose and check every distinct choice of a sweep.

    Settings, models and pairs of models are checked as in their cells. Models are built one after
    the other on the CPU, and their weights are dropped. No image is encoded.

    Args:
        master: Hydra's configuration of the sweep, as callbacks get it.
        jobs: The overrides of each job.
        picked: Models that a `glob()` found, by role. One whose cells would all fail is left out.

    Returns:
        The names of the jobs that can run, in order, numbered anew; and the models left out, by
        role and name, with the reason.

    Raises:
        SweepError: Some cell of the others cannot run, or none is left.
    """
    check = _Check(master, [_job(overrides) for overrides in jobs])
    check.run()
    failing = set().union(*check.faults.values())
    left_out = {
        (role, name): check.reason(role, name)
        for role, names in (picked or {}).items()
        for name in names
        if set() < check.choosing(role, name) <= failing
    }
    dropped = set().union(*(check.choosing(*model) for model in left_out))
    if failing - dropped or len(dropped) == len(jobs):
        lines = ["the sweep was not started, because of what its cells would fail at:"]
        for message, numbers in check.faults.items():
            some = ", ".join(f"#{job}" for job in sorted(numbers)[:_NAMED])
            some += ", ..." if len(numbers) > _NAMED else ""
            where = f"in {len(numbers)} of {len(jobs)} cells: {some}"
            where = "in every cell" if len(numbers) == len(jobs) else where
            lines.append(f"  {message} ({where})")
        raise SweepError("\n".join(lines))
    kept = [number for number in range(len(jobs)) if number not in dropped]
    return [check.planned(job, number) for number, job in enumerate(kept)], left_out


class _Check:
    """The checks of one sweep; `faults` are messages with the numbers of the failing jobs."""

    def __init__(self, master: DictConfig, jobs: Sequence[_Job]) -> None:
        self.master, self.jobs = master, jobs
        self.faults: dict[str, set[int]] = {}
        self.settings: dict[_Key, Setting | None] = {}
        self.models: dict[tuple[str, _Key, _Key], _Model | None] = {}
        self._built: dict[tuple[str, str], Any] = {}

    def run(self) -> None:
        """Compose few jobs that together have every choice, and check all pairs of models."""
        for number in _representatives(self.jobs):
            self._check_job(self.jobs[number])
        seen = set()
        for job in self.jobs:
            pair = [self.models.get(job.unit(role)) for role in ROLES]
            setting = self.settings.get(job.rest)
            encoder, decoder = (model.frozen if model else None for model in pair)
            key = (id(encoder), id(decoder), id(setting))
            if setting is None or encoder is None or decoder is None or key in seen:
                continue
            seen.add(key)
            with self._caught(partial(self._like, job, *ROLES)):
                check_pair(setting.template, encoder, decoder)
        models = [model for model in self.models.values() if model and model.frozen]
        for label in dict.fromkeys(model.label for model in models):
            with self._caught(partial(self._called, label)):
                check_labels((label, *model.facts) for model in models if model.label == label)

    def choosing(self, role: str, name: str) -> set[int]:
        """Return the numbers of the jobs with this model in a role."""
        text = f"{role}={name}"
        return {number for number, job in enumerate(self.jobs) if text in job.overrides}

    def reason(self, role: str, name: str) -> str:
        """Return the first clause of the message about a model in a role."""
        about, jobs = f"{role}={name}: ", self.choosing(role, name)
        concerned = [message for message, numbers in self.faults.items() if numbers & jobs]
        own = [message for message in concerned if message.startswith(about)]
        return re.split(": |, ", (own or concerned)[0].removeprefix(about))[0]

    def planned(self, job: int, number: int) -> Planned:
        """Return the names of a job without faults, with its number among those that run."""
        encoder, decoder = (self.models[self.jobs[job].unit(role)] for role in ROLES)
        assert encoder is not None
        assert decoder is not None
        folder = f"{encoder.name}-to-{decoder.name}_{number}"
        return Planned(folder, encoder.label, decoder.label)

    @contextmanager
    def _caught(self, concerned: Callable[[], Sequence[int]]) -> Iterator[None]:
        """Turn an error of the user's into a fault of the jobs that it concerns."""
        try:
            yield
        except (*config.USER_ERRORS, HydraException) as error:
            # Hydra's messages end with the folders it looked in, and have several lines.
            text = " ".join(str(error).partition("Config search path")[0].split())
            self.faults.setdefault(text or type(error).__name__, set()).update(concerned())

    def _called(self, label: str) -> list[int]:
        """Return the jobs with a model of this label."""
        units = {unit for unit, model in self.models.items() if model and model.label == label}
        return [
            number
            for number, job in enumerate(self.jobs)
            if units & {job.unit(role) for role in ROLES}
        ]

    def _like(self, job: _Job, *roles: str) -> list[int]:
        """Return the jobs with the same settings, and the same models in these roles."""
        wanted = [job.unit(role) for role in roles]
        return [
            number
            for number, other in enumerate(self.jobs)
            if other.rest == job.rest and [other.unit(role) for role in roles] == wanted
        ]

    def _check_job(self, job: _Job) -> None:
        """Compose a job, and check what no job before it had."""
        missing = [role for role in ROLES if job.unit(role) not in self.models]
        self.models |= {job.unit(role): None for role in missing}
        with (
            self._caught(lambda: self._guilty(job)),
            _composed(self.master, job.overrides) as cfg,
        ):
            if job.rest not in self.settings:
                self.settings[job.rest] = None
                with self._caught(lambda: self._like(job)):
                    self.settings[job.rest] = self._setting(cfg)
            names = {role: str(cfg[role].name) for role in missing}
            label_models(cfg)
            for role in missing:
                self.models[job.unit(role)] = self._model(cfg, role, names[role], job)

    def _guilty(self, job: _Job) -> list[int]:
        """Return the jobs that cannot be composed for the same reason as this one."""
        for roles in ((), ("encoder",), ("decoder",)):
            own = [text for role in roles for text in job.unit(role)[1]]
            try:
                with _composed(self.master, [*job.rest, *own]) as cfg:
                    label_models(cfg)
            except (*config.USER_ERRORS, HydraException):
                return self._like(job, *roles)
        return self._like(job, *ROLES)

    def _setting(self, cfg: DictConfig) -> Setting:
        if self.master.hydra.runtime.choices.get("hydra/launcher") not in _HERE:
            check_device_name(cfg.device)
            cfg.device = "cpu"  # that of the cells is on another machine, or another process's
        check_keys(cfg)
        setting = build_setting(config.to_plain(cfg))
        if cfg.via is not None:
            build_frozen_model(role_model(cfg, "via"), setting, self._builder(setting))
        return setting

    def _model(self, cfg: DictConfig, role: str, name: str, job: _Job) -> _Model:
        node, frozen, setting = cfg[role], None, self.settings[job.rest]
        facts = changed_options(cfg, role) | {"weights": node.get("weights")}
        if setting is not None:
            with self._caught(lambda: self._like(job, role)):
                chosen = role_model(cfg, role)
                frozen = build_frozen_model(chosen, setting, self._builder(setting))
        return _Model(name, str(node.name), (model_name(node), facts), frozen)

    def _builder(self, setting: Setting) -> Models:
        """Return a function that builds each distinct model once, and keeps no weights."""

        def build(node: dict[str, Any], role: str) -> Any:
            key = node_key(node), setting.dtype
            if key not in self._built:
                model = config.build_model(node, "cpu", setting.dtype, role)
                self._built[key] = model.to("meta")
            return self._built[key]

        return build


def _job(overrides: Sequence[str]) -> _Job:
    parts: dict[str, list[str]] = {"encoder": [], "decoder": [], "rest": []}
    for text in overrides:
        key = text.lstrip("+~").partition("=")[0].removeprefix("model@").partition(".")[0]
        parts[key if key in ROLES else "rest"].append(text)
    both = [*parts["encoder"], *parts["decoder"]]
    if any("${" in text.replace("${.", "") for text in both):
        parts |= {role: both for role in ROLES}  # one role may refer to the other
    return _Job(overrides, *(tuple(parts[key]) for key in ("encoder", "decoder", "rest")))


def _representatives(jobs: Sequence[_Job]) -> list[int]:
    """Return the numbers of a few jobs that together have every distinct choice."""
    known: set[object] = set()
    found = []
    for new in (2, 1):  # first jobs that bring two, such as those on the diagonal of a grid
        for number, job in enumerate(jobs):
            units = {job.unit(role) for role in ROLES}
            if len(units - known) >= new:
                known |= units
                found.append(number)
    return found


@contextmanager
def _composed(master: DictConfig, overrides: Sequence[str]) -> Iterator[DictConfig]:
    """Compose a job as a launcher does, and make it Hydra's current one."""
    loader = GlobalHydra.instance().config_loader()
    cfg = loader.load_sweep_config(master, list(overrides))
    with open_dict(cfg.hydra.job):
        cfg.hydra.job.id = cfg.hydra.job.num = 0
    state = HydraConfig.instance()
    before = state.cfg
    state.set_config(cfg)
    try:
        with open_dict(cfg):
            del cfg["hydra"]
        OmegaConf.set_struct(cfg, True)
        yield cfg
    finally:
        state.cfg = before
