"""Builds and checks what Hydra composed; with `composition` the only place that knows it.

Everything is built and checked before the first image is encoded, so that wrong input costs
seconds and one message.
"""

import functools
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from stitching.arguments import check_arguments
from stitching.compatibility import (
    check_map,
    check_metrics,
    check_penalty,
    check_picture,
    check_rank_curve,
    check_role,
    check_size,
    check_test_images,
    say_selection,
    warn_of_crop,
)
from stitching.composition import (
    NOT_OPTIONS,
    ROLES,
    absolute,
    cache_root,
    check_keys,
    compose_config,
    conf_dir,
    job_number,
    model_node,
    model_options,
    register_roles,
    role_node,
    to_plain,
)
from stitching.devices import (
    DTYPES,
    SlowDtypeWarning,
    check_dtype,
    pick_device,
    warn_of_slow_dtype,
)
from stitching.values import check_values

if TYPE_CHECKING:
    import torch

    from stitching.cache import Cache
    from stitching.cell import Cell
    from stitching.data.base import ImageData
    from stitching.fitting import Factorisations
    from stitching.metrics.base import ImageMetric
    from stitching.models.base import GenerativeModel
    from stitching.models.containers import WeightFile
    from stitching.probes import AttributeProbes
    from stitching.protocol import Protocol
    from stitching.readouts import Readouts

log = logging.getLogger(__name__)

__all__ = [
    "DTYPES", "ROLES", "USER_ERRORS", "SlowDtypeWarning", "absolute", "build", "build_cell",
    "build_data", "build_model", "build_protocol", "cache_root", "check_dtype", "check_keys",
    "compose_config",
    "conf_dir",
    "model_node", "model_options", "open_cache", "pick_device", "register_roles", "role_node",
    "to_plain", "warn_of_slow_dtype", "weight_file",
]  # fmt: skip

#: Errors whose message is meant for the user; a traceback would only hide it.
USER_ERRORS = (ValueError, TypeError, OSError, ModuleNotFoundError)


def build(node: DictConfig | dict[str, Any], where: str = "", /, **extra: Any) -> Any:
    """Instantiate `_target_`; the one call site. Errors of constructors keep their own type.

    Args:
        node: A configuration with `_target_`.
        where: Its key, for messages.
        extra: Further arguments.

    Raises:
        ValueError: The constructor has no such argument, or not of this type.
    """
    from hydra.errors import InstantiationException

    check_arguments(to_plain(node) if isinstance(node, DictConfig) else node, where)
    try:
        return instantiate(node, _convert_="all", **extra)
    except InstantiationException as error:
        # Hydra wraps what the constructor raised; the user needs the message inside.
        if isinstance(error.__cause__, USER_ERRORS):
            raise error.__cause__ from None
        raise


def build_data(node: DictConfig) -> "ImageData":
    """Build the data set; a relative `root` is taken from the launch folder."""
    plain = to_plain(node)
    for key in ("root", "attributes"):
        if isinstance(plain.get(key), str):
            plain[key] = absolute(plain[key])
    extra = {}
    if isinstance(node.get("model"), DictConfig):
        # What draws is built on the CPU in float32, so that the images are the same wherever the
        # roles run.
        from stitching.latents import code_version

        del plain["model"]
        model = build_model(node.model, "cpu")
        code = code_version(*{type(module) for module in model.modules()})
        extra = {"model": model, "code": code}
    data: ImageData = build(plain, "data", **extra)
    return data


@functools.lru_cache(maxsize=1)
def _drawn_data(text: str) -> "ImageData":
    """Drawn images of this process, so that cells of a sweep share what was drawn."""
    return build_data(OmegaConf.create(json.loads(text)))


def weight_file(node: DictConfig) -> "WeightFile | None":
    """Find and read the weight file of a model's configuration, if it names one.

    With a `checkpoint` that is the file of its training after so many images.

    Raises:
        ValueError: It is damaged, or loading it would run code.
        FileNotFoundError: There is none.
    """
    from stitching.models.checkpoints import at_checkpoint
    from stitching.models.containers import read_weights
    from stitching.models.weights import resolve

    weights, images = node.get("weights"), node.get("checkpoint")
    launched_in = Path(absolute("."))
    if images is not None:
        weights = at_checkpoint(weights, images, launched_in)
    if weights is None:
        return None
    path = resolve(weights, node.get("subfolder"), node.get("revision"), launched_in)
    return read_weights(path)


def build_model(
    node: DictConfig, device: str = "auto", dtype: str = "float32"
) -> "GenerativeModel":
    """Build a model, load its weights, freeze it and move it to its device.

    Args:
        node: A model's configuration. With an `init_seed` it is left at its initialisation, and
            a weight file is at most asked for the options that are null.
        device: See `pick_device`.
        dtype: `float32`, `bfloat16` (float32 weights, autocast in the networks) or `float64`.

    Raises:
        ValueError: An option, the device, or the weight file is wrong.
        FileNotFoundError: No such weight file.
    """
    import torch

    from stitching.models.weights import load_weights, parameters_hash

    options = model_options(node)
    key = str(node._key() or "_")
    key = str(node.name) if key.startswith("_") else key
    # Those that are null may still be taken from the weight file.
    check_arguments({k: v for k, v in options.items() if v is not None}, key, NOT_OPTIONS)
    place = pick_device(device)
    file, seed = None, node.get("init_seed")
    if seed is not None and node.get("checkpoint") is not None:
        raise ValueError(
            f"model {node.name} is left untrained, so checkpoint={node.checkpoint} has no "
            "meaning: set checkpoint=null, or choose the model itself"
        )
    if seed is None or None in options.values():
        file = weight_file(node)
    if file is not None and "architecture" not in file.card:
        family: type[Any] = get_class(options["_target_"])
        options = family.complete_options(options, file)
    with torch.random.fork_rng(devices=[]):
        # An untrained model is the same wherever in a sweep it is built.
        torch.manual_seed(seed or 0)
        model: GenerativeModel = build(options, key)
    model.options = options
    if seed is not None and (model.needs_fit or next(model.parameters(), None) is None):
        raise ValueError(f"{model.name}: there are no weights to leave untrained; use it as it is")
    if file is None or seed is not None:
        # What is still to be fitted has no values to go by.
        model.weights_hash = None if model.needs_fit else parameters_hash(model)
    else:
        load_weights(model, file, options)
    if check_dtype(dtype) == "float64":
        model = model.double()
    elif dtype == "bfloat16":
        model.autocast_dtype = torch.bfloat16
    if place.type == "cuda":
        # Convolutions on tensor cores read channels last; elsewhere the layout is the family's.
        model = model.to(memory_format=torch.channels_last)
    return model.to(place).freeze()


@functools.lru_cache(maxsize=32)
def _metric(key: str, text: str, device: str) -> "ImageMetric":
    """Build a metric once per process: its networks serve every cell of a sweep."""
    metric: ImageMetric = build(json.loads(text), f"metric.{key}")
    if metric.unavailable is not None:
        log.warning("image/%s will be absent: %s", metric.name, metric.unavailable)
    return metric.to(device)


def build_cell(cfg: DictConfig) -> "Cell":
    """Build and check all of a cell before any image is encoded.

    Raises:
        ValueError: An option is wrong or two of them do not go together.
        FileNotFoundError: Data or weights are missing.
    """
    from stitching.cell import Cell
    from stitching.fitting import Fitting
    from stitching.latents import Subject
    from stitching.seeding import set_numerics

    check_keys(cfg)
    plain = to_plain(cfg)
    check_values(plain)
    device = pick_device(plain["device"], job_number())
    if device.type == "cuda":
        import torch

        torch.cuda.set_device(device)  # whose memory is recorded, and where libraries allocate
    dtype = check_dtype(plain["dtype"])
    warn_of_slow_dtype(device, dtype)
    drawn = isinstance(cfg.data.get("model"), DictConfig)
    data = _drawn_data(json.dumps(to_plain(cfg.data))) if drawn else build_data(cfg.data)
    protocol = build_protocol(plain["protocol"])
    check_picture(plain["picture"], check_test_images(protocol, data))
    data.check()
    drawn_with = plain["seed"] if protocol.latents == "sampled" else None
    models: dict[str, GenerativeModel] = {}

    def shared_model(node: DictConfig) -> "GenerativeModel":
        key = json.dumps(to_plain(node), sort_keys=True)
        if key not in models:
            models[key] = build_model(node, str(device), dtype)
        return models[key]

    subjects = {}
    for role in ROLES:
        node = role_node(cfg, role)
        model = shared_model(node)
        check_role(role, model, data)
        warn_of_crop(model.name, node.get("trained_crop"), plain["data"].get("crop"))
        subjects[role] = Subject(model, model.options, dtype, drawn_with)
    via = None
    if plain["via"] is not None:
        model = shared_model(model_node(str(plain["via"]), cfg))
        check_role("via", model, data)
        via = Subject(model, model.options, dtype, drawn_with)
    template = build(cfg.map, "map")
    if subjects["encoder"].identity() != subjects["decoder"].identity():
        check_map(template, subjects["encoder"].model, subjects["decoder"].model)
    check_penalty(protocol, template)
    probes = build_probes(plain["probe"], data)
    rank_curve = check_rank_curve(plain["rank_curve"], template)
    cache = open_cache(plain["cache"])
    set_numerics(plain["seed"])
    return Cell(
        encoder=subjects["encoder"],
        decoder=subjects["decoder"],
        data=data,
        fitting=Fitting(
            template,
            _factorisations(cache),
            device,
            protocol.map_alpha if protocol.penalty == "by_hand" else None,
        ),
        protocol=protocol,
        metrics=_metrics(plain["metric"], device, data.image_size),
        readouts=_readouts(
            plain["probe"],
            probes,
            protocol,
            plain["seed"],
            subjects["decoder"].model.name,
            cache,
        ),
        cache=cache,
        batch_size=plain["batch_size"],
        seed=plain["seed"],
        via=via,
        round_trip=plain["round_trip"],
        geometry=plain["geometry"],
        rank_curve=rank_curve,
        validation=plain["validation"],
    )


def build_protocol(node: dict[str, Any]) -> "Protocol":
    """Build and check the measuring protocol.

    Raises:
        ValueError: A switch has a value that is not allowed.
    """
    from stitching.protocol import Protocol

    check_arguments(node | {"_target_": "stitching.protocol.Protocol"}, "protocol")
    if not isinstance(node["measures"], list):
        raise ValueError(f"protocol.measures must be a list, got {node['measures']!r}")
    return Protocol(**(node | {"measures": tuple(node["measures"])}))


def build_probes(node: dict[str, Any], data: "ImageData") -> "AttributeProbes | None":
    """Build the probes of binary attributes; None with `probe=none`.

    Raises:
        ValueError: An option is wrong, or the data lack an attribute that is asked for.
    """
    if not node.get("_target_"):
        for key in node.keys() - {"_target_"}:
            raise ValueError(f"probe.{key}: probe=none has no options; choose another probe")
        return None
    probes: AttributeProbes = build(node, "probe")
    names = data.split("train").attributes
    selected = probes.selected(names)
    if probes.attributes == "auto":
        say_selection(probes.selection(names), ", ".join(selected))
    return probes


def _readouts(
    node: dict[str, Any],
    probes: "AttributeProbes | None",
    protocol: "Protocol",
    seed: int,
    decoder: str,
    cache: "Cache",
) -> "Readouts | None":
    from stitching.probes import FactorProbes, LassoProbes, SoftmaxProbes
    from stitching.readouts import Readouts

    if probes is None:
        return None
    if protocol.penalty == "by_hand" and isinstance(probes, LassoProbes):
        alpha = protocol.probe_alpha(decoder)
        if alpha is not None:
            probes = build(node, "probe", alpha=alpha, standardise=False)
    return Readouts(probes, SoftmaxProbes(), FactorProbes(), protocol, cache, seed)


def _metric_options(node: dict[str, Any]) -> dict[str, Any]:
    """A metric's configuration, weight files of the user's relative to the launch folder."""
    fixed = dict(node)
    if isinstance(node.get("weights"), str):
        fixed["weights"] = absolute(node["weights"])
    if isinstance(node.get("space"), dict):
        fixed["space"] = _metric_options(node["space"])
    return fixed


def _metrics(nodes: dict[str, Any], device: "torch.device", size: int) -> dict[str, "ImageMetric"]:
    """Build the metrics and check that they can measure images of this size."""
    check_metrics(nodes)
    metrics = {
        key: _metric(key, json.dumps(_metric_options(node)), str(device))
        for key, node in nodes.items()
    }
    for key, metric in metrics.items():
        check_size(key, metric, size)
    return metrics


def open_cache(path: str | None) -> "Cache":
    """Return the cache below `cache_root`."""
    return _cache(cache_root(path))


@functools.lru_cache(maxsize=1)
def _cache(root: Path) -> "Cache":
    """The cache of this process, so that cells of a sweep share what is in memory."""
    from stitching.cache import Cache

    return Cache(root)


@functools.lru_cache(maxsize=1)
def _factorisations(cache: "Cache") -> "Factorisations":
    """Factorisations in memory, so that the cells of a sweep share them."""
    from stitching.fitting import Factorisations

    return Factorisations(cache)
