"""Builds and checks a cell from its configuration, before the first image is encoded.

A `Setting` is what cells of a sweep have in common; a cell adds its models. The check at the start
of a sweep builds the same parts, each distinct one once.
"""

import functools
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from stitching import config
from stitching.compute import devices
from stitching.compute.notes import log_once
from stitching.config.compatibility import (
    check_measures,
    check_pair,
    check_penalty,
    check_rank_curve,
    check_role,
    check_test_images,
    warn_of_crop,
)
from stitching.config.compose import CHOICE, ROLES, job_number
from stitching.config.labels import check_penalty_names
from stitching.config.plain import Composed, RoleModel
from stitching.config.values import check_values
from stitching.config.widths import check_width, matched, wants_match
from stitching.pipeline.encoding import FrozenModel
from stitching.records.words import nearest

if TYPE_CHECKING:
    from stitching.data.base import ImageData
    from stitching.maps import Map
    from stitching.metrics.base import ImageMetric
    from stitching.models.base import GenerativeModel
    from stitching.pipeline.cache import Cache
    from stitching.pipeline.cell import Cell
    from stitching.pipeline.fitting import Factorisations
    from stitching.pipeline.probing import ProbeSuite
    from stitching.pipeline.protocol import Protocol
    from stitching.probes import AttributeProbes

log = logging.getLogger(__name__)

#: Builds the model of a role from its configuration, or returns an equal one.
Models = Callable[[dict[str, Any], str], "GenerativeModel"]


@dataclass(frozen=True, eq=False)
class Setting:
    """All of a cell but its models.

    Attributes:
        plain: All values of the configuration.
        template: The map, unfitted.
        probes: Probes of binary attributes; None with `probe=none`.
        rank_curve: Ranks, "auto" or None.
    """

    plain: dict[str, Any]
    device: torch.device
    dtype: str
    data: "ImageData"
    protocol: "Protocol"
    template: "Map"
    metrics: dict[str, "ImageMetric"]
    probes: "AttributeProbes | None"
    rank_curve: str | list[int] | None
    cache: "Cache"

    @property
    def drawn_with(self) -> int | None:
        """Seed of latents drawn from posteriors; None for posterior means."""
        seed: int = self.plain["seed"]
        return seed if self.protocol.latents == "sampled" else None


def build_setting(plain: dict[str, Any], data: "ImageData | None" = None) -> Setting:
    """Build and check what does not depend on the models of a cell.

    Args:
        plain: All values of the configuration.
        data: The data set, where it was built before.

    Raises:
        ValueError: An option is wrong, or two of them do not go together.
        FileNotFoundError: Data are missing.
    """
    check_values(plain)
    device = devices.pick_device(plain["device"], job_number())
    dtype = devices.check_dtype(plain["dtype"])
    devices.warn_of_slow_dtype(device, dtype)
    if data is not None:
        data.cache = config.cache_root(plain["cache"])
    elif isinstance(plain["data"].get("model"), dict):
        data = _drawn_data(json.dumps(plain["data"]))
    else:
        data = config.build_data(plain["data"], plain["cache"])
    protocol = config.build_protocol(plain["protocol"])
    check_measures(protocol.measures, plain["metric"])
    check_penalty_names(protocol)
    check_test_images(protocol, data, plain["picture"])
    data.check()
    template = config.build(plain["map"], "map")
    check_penalty(protocol, template)
    return Setting(
        plain=plain,
        device=device,
        dtype=dtype,
        data=data,
        protocol=protocol,
        template=template,
        metrics=_metrics(plain["metric"], device, data.image_size),
        probes=_probes(plain["probe"], data),
        rank_curve=check_rank_curve(plain["rank_curve"], template),
        cache=config.open_cache(plain["cache"]),
    )


def build_frozen_model(
    chosen: RoleModel, setting: Setting, models: Models, other: int | None = None
) -> FrozenModel:
    """Build the model of a role, and check it with the setting.

    Args:
        chosen: Configuration of the model.
        setting: The rest of the cell.
        models: Builds or finds the model.
        other: Width of the other role's latents, for `width: match`; None where it is not known.

    Raises:
        ValueError: An option is wrong, or the model does not go with the role or the data.
        FileNotFoundError: Weights are missing.
    """
    shuffled_with = chosen.node.get("shuffle_seed")
    if shuffled_with is not None and chosen.role != "encoder":
        raise ValueError(
            f"{chosen.role}={chosen.node['name']}: only an encoder can be shuffled; use the model "
            "itself"
        )
    model = models(matched(chosen.node, other), chosen.role)
    check_role(chosen.role, model, setting.data)
    if chosen.role != "via":
        trained_crop = chosen.node.get("trained_crop")
        warn_of_crop(model.name, trained_crop, setting.plain["data"].get("crop"))
    width, at_most = check_width(chosen.role, chosen.width, model.latent_dim, other)
    if width is not None and setting.plain["export_map"]:
        raise ValueError(
            f"export_map=true writes a map of the encoder's own latents, but {chosen.role}.width="
            f"{chosen.width} maps their components: leave one of them out"
        )
    return FrozenModel(
        model,
        model.options,
        setting.dtype,
        setting.drawn_with,
        chosen.yaml_name,
        chosen.changed,
        width=width,
        at_most=at_most,
        shuffled_with=shuffled_with,
    )


def build_cell(
    composed: Composed,
    data: "ImageData | None" = None,
    built_before: "Mapping[str, GenerativeModel] | None" = None,
) -> "Cell":
    """Build and check all of a cell before any image is encoded.

    Args:
        composed: Its configuration.
        data: The data set, where it was built before.
        built_before: Models by role, where they were built before, of the configuration.

    Raises:
        ValueError: An option is wrong or two of them do not go together.
        FileNotFoundError: Data or weights are missing.
    """
    from stitching.compute.seeding import set_numerics
    from stitching.pipeline.cell import Cell
    from stitching.pipeline.fitting import Fitting

    setting = build_setting(composed.settings, data)
    plain, protocol, cache = setting.plain, setting.protocol, setting.cache
    if setting.device.type == "cuda":
        # Whose memory is recorded, and where libraries allocate.
        torch.cuda.set_device(setting.device)
    models: dict[str, GenerativeModel] = {}

    def shared(node: dict[str, Any], role: str) -> "GenerativeModel":
        if built_before and role in built_before:
            return built_before[role]
        key = node_key(node)
        if key not in models:
            models[key] = config.build_model(node, str(setting.device), setting.dtype, role)
        return models[key]

    built: dict[str, FrozenModel] = {}
    # A role that matches the other comes after it.
    for role, chosen in sorted(composed.models.items(), key=lambda item: _matches(item[1])):
        other = built.get(ROLES[role == ROLES[0]]) if role in ROLES else None
        if other is None and _matches(chosen):
            raise ValueError("encoder.width=match and decoder.width=match: give one a number")
        width = other.model.latent_dim if other else None
        built[role] = build_frozen_model(chosen, setting, shared, width)
    encoder, decoder = (built[role] for role in ROLES)
    check_pair(setting.template, encoder, decoder)
    set_numerics(plain["seed"])
    return Cell(
        encoder=encoder,
        decoder=decoder,
        data=setting.data,
        fitting=Fitting(
            setting.template,
            _factorisations(cache),
            setting.device,
            protocol.map_alpha if protocol.penalty == "by_hand" else None,
            plain["batch_size"],
        ),
        protocol=protocol,
        metrics=setting.metrics,
        probe_suite=_probe_suite(setting, decoder.model_name),
        cache=cache,
        batch_size=plain["batch_size"],
        seed=plain["seed"],
        via=built.get("via"),
        pixels=_pixels(setting) if plain["controls"] else None,
        round_trip=plain["round_trip"],
        geometry=plain["geometry"],
        rank_curve=setting.rank_curve,
        validation=plain["validation"],
    )


def _pixels(setting: Setting) -> FrozenModel:
    """Return the images themselves as a model: with the latents of `encoder=pixels`."""
    node = {
        "_target_": "stitching.models.baseline.Pixels",
        "name": "pixels",
        "image_size": setting.data.image_size,
    }
    model = config.build_model(node, str(setting.device), setting.dtype)
    return FrozenModel(model, model.options, setting.dtype, yaml_name="pixels")


def _matches(chosen: RoleModel) -> bool:
    return wants_match(chosen.node, chosen.width)


def node_key(node: Mapping[str, Any]) -> str:
    """Return a text that is equal for equal configurations, whatever YAML they come from."""
    return json.dumps({k: v for k, v in node.items() if k != CHOICE}, sort_keys=True)


@functools.lru_cache(maxsize=1)
def _drawn_data(text: str) -> "ImageData":
    """Build drawn images once per process: cells of a sweep share them."""
    return config.build_data(json.loads(text))


@functools.lru_cache(maxsize=32)
def _metric(key: str, text: str, device: str) -> "ImageMetric":
    """Build a metric once per process: cells of a sweep share its networks."""
    metric: ImageMetric = config.build(json.loads(text), f"metric.{key}")
    return metric.to(device)


def _probes(node: dict[str, Any], data: "ImageData") -> "AttributeProbes | None":
    """Build the probes of binary attributes; None with `probe=none`."""
    if not node.get("_target_"):
        for key in node.keys() - {"_target_"}:
            raise ValueError(f"probe.{key}: probe=none has no options; choose another probe")
        return None
    probes: AttributeProbes = config.build(node, "probe")
    names = data.split("train").attributes
    selected = probes.selected(names)
    if probes.attributes == "auto":
        shown = f" ({', '.join(selected)})" if selected else ""
        log_once(log, logging.INFO, "probes of attributes: %s%s", probes.selection(names), shown)
    return probes


def _probe_suite(setting: Setting, decoder: str) -> "ProbeSuite | None":
    """Return all probes of a cell, with the penalty picked by hand for its decoder, if any."""
    from stitching.pipeline.probing import ProbeSuite
    from stitching.probes import FactorProbes, LassoProbes, SoftmaxProbes

    probes, protocol, plain = setting.probes, setting.protocol, setting.plain
    if probes is None:
        return None
    if protocol.penalty == "by_hand" and isinstance(probes, LassoProbes):
        alpha = protocol.probe_alpha(decoder)
        if alpha is not None:
            probes = config.build(plain["probe"], "probe", alpha=alpha, standardise=False)
    others = SoftmaxProbes(), FactorProbes()
    return ProbeSuite(probes, *others, protocol, setting.cache, plain["seed"])


def _metric_options(node: dict[str, Any]) -> dict[str, Any]:
    """Return a metric's configuration with absolute paths of weight files."""
    fixed = dict(node)
    if isinstance(node.get("weights"), str):
        fixed["weights"] = config.absolute(node["weights"])
    if isinstance(node.get("space"), dict):
        fixed["space"] = _metric_options(node["space"])
    return fixed


def _metrics(nodes: dict[str, Any], device: "torch.device", size: int) -> dict[str, "ImageMetric"]:
    """Build the metrics and check that they can measure images of this size."""
    for key, node in nodes.items():
        if not isinstance(node, dict) or "_target_" not in node:
            raise ValueError(
                f"metric.{key} is not a metric{nearest(key, nodes.keys() - {key}, 'metric.')}; "
                "metrics are chosen as in metric=[rmse,lpips]"
            )
    metrics = {
        key: _metric(key, json.dumps(_metric_options(node)), str(device))
        for key, node in nodes.items()
    }
    absent: dict[str, list[str]] = {}
    for metric in metrics.values():
        if metric.unavailable is not None:
            absent.setdefault(metric.unavailable, []).append(f"image/{metric.name}")
    for reason, names in absent.items():
        log_once(log, logging.WARNING, "%s will be absent: %s", ", ".join(names), reason)
    for key, metric in metrics.items():
        if metric.unavailable is None and size < metric.smallest_image:
            raise ValueError(
                f"metric {key} needs images of at least {metric.smallest_image} pixels a side, "
                f"but data.image_size={size}: leave it out with '~metric.{key}'"
            )
    return metrics


@functools.lru_cache(maxsize=1)
def _factorisations(cache: "Cache") -> "Factorisations":
    """Return the factorisations of this process: cells of a sweep share them."""
    from stitching.pipeline.fitting import Factorisations

    return Factorisations(cache)
