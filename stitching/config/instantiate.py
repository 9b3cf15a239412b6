"""Builds and checks what Hydra composed; by `_target_`, with Hydra's `instantiate`.

Everything is built and checked before the first image is encoded, so that wrong input costs
seconds and one message.
"""

import functools
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import get_class, instantiate
from omegaconf import DictConfig

from stitching.compute.devices import check_dtype, pick_device
from stitching.config.arguments import check_arguments
from stitching.config.compatibility import warn_of_low_precision
from stitching.config.compose import (
    CHOICE,
    NOT_OPTIONS,
    absolute,
    cache_root,
    compose_with_choices,
    model_options,
    to_plain,
)
from stitching.config.labels import label_models

if TYPE_CHECKING:
    import torch

    from stitching.data.base import ImageData
    from stitching.models.base import GenerativeModel
    from stitching.pipeline.cache import Cache
    from stitching.pipeline.protocol import Protocol
    from stitching.weights.containers import WeightFile

log = logging.getLogger(__name__)

#: Errors whose message is meant for the user; a traceback would only hide it.
USER_ERRORS = (ValueError, TypeError, OSError, ModuleNotFoundError)


def compose_config(overrides: list[str], config_name: str = "config") -> DictConfig:
    """Compose the configuration from Python, without a command line.

    Args:
        overrides: As on the command line, such as `["encoder=nf", "data.n_test=64"]`.
        config_name: `config` (a cell) or `train`.

    Raises:
        ValueError: An override does not fit, or a name belongs to another model.
    """
    cfg, choices = compose_with_choices(overrides, config_name)
    label_models(cfg, choices)
    return cfg


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


def build_data(node: DictConfig, cache: str | None = None) -> "ImageData":
    """Build the data set; a relative `root` is taken from the launch folder.

    Args:
        node: The configuration of the data set.
        cache: As `cache_root`: where a data set of files keeps what it found in them.
    """
    plain = to_plain(node)
    for key in ("root", "attributes"):
        if isinstance(plain.get(key), str):
            plain[key] = absolute(plain[key])
    extra = {}
    if isinstance(node.get("model"), DictConfig):
        # What draws is built on the CPU in float32, so that the images are the same wherever the
        # roles run.
        from stitching.compute.source import code_version

        del plain["model"]
        model = build_model(node.model, "cpu", role="data.model")
        code = code_version(*{type(module) for module in model.modules()})
        extra = {"model": model, "code": code}
    data: ImageData = build(plain, "data", **extra)
    data.cache = cache_root(cache)
    return data


def weight_file(node: DictConfig) -> "WeightFile | None":
    """Find and read the weight file of a model's configuration, if it names one.

    With a `checkpoint` that is the file of its training after so many images.

    Raises:
        ValueError: It is damaged, or loading it would run code.
        FileNotFoundError: There is none.
    """
    from stitching.weights.checkpoints import at_checkpoint
    from stitching.weights.containers import read_weights
    from stitching.weights.loading import resolve

    weights, images = node.get("weights"), node.get("checkpoint")
    launched_in = Path(absolute("."))
    if images is not None:
        weights = at_checkpoint(weights, images, launched_in)
    if weights is None:
        return None
    path = resolve(weights, node.get("subfolder"), node.get("revision"), launched_in)
    return read_weights(path)


def build_model(
    node: DictConfig, device: str = "auto", dtype: str = "float32", role: str = "encoder"
) -> "GenerativeModel":
    """Build a model, load its weights, freeze it and move it to its device.

    Args:
        node: A model's configuration. With an `init_seed` it is left at its initialisation, and
            a weight file is at most asked for the options that are null.
        device: See `pick_device`.
        dtype: `float32`, `bfloat16` (float32 weights, autocast in the networks) or `float64`.
        role: What precedes an option of the model on the command line; messages name it.

    Raises:
        ValueError: An option, the device, or the weight file is wrong.
        FileNotFoundError: No such weight file.
    """
    from stitching.weights.roles import naming_role

    place, dtype = pick_device(device), check_dtype(dtype)
    name = node.get("name") if isinstance(node, DictConfig) else node
    with naming_role(role, name):
        return _built_model(node, place, dtype, role)


def _built_model(
    node: DictConfig, place: "torch.device", dtype: str, role: str
) -> "GenerativeModel":
    import torch

    from stitching.weights.loading import load_weights, parameters_hash

    options = model_options(node)
    # Those that are null may still be taken from the weight file.
    given = {key: value for key, value in options.items() if value is not None}
    check_arguments(given, role, [key for key in NOT_OPTIONS if key != CHOICE])
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
        model: GenerativeModel = build(options, role)
    model.options = options
    if seed is not None and (model.needs_fit or next(model.parameters(), None) is None):
        raise ValueError(f"{model.name}: there are no weights to leave untrained; use it as it is")
    if file is None or seed is not None:
        # What is still to be fitted has no values to go by.
        model.weights_hash = None if model.needs_fit else parameters_hash(model)
    else:
        load_weights(model, file, options)
    warn_of_low_precision(model, dtype)
    if dtype == "float64":
        model = model.double()
    elif dtype == "bfloat16":
        model.autocast_dtype = torch.bfloat16
    if place.type == "cuda":
        # Convolutions on tensor cores read channels last; elsewhere the layout is the family's.
        model = model.to(memory_format=torch.channels_last)
    return model.to(place).freeze()


def build_protocol(node: dict[str, Any]) -> "Protocol":
    """Build and check the measuring protocol.

    Raises:
        ValueError: A switch has a value that is not allowed.
    """
    from stitching.pipeline.protocol import Protocol

    check_arguments(node | {"_target_": "stitching.pipeline.protocol.Protocol"}, "protocol")
    if not isinstance(node["measures"], list):
        raise ValueError(f"protocol.measures must be a list, got {node['measures']!r}")
    return Protocol(**(node | {"measures": tuple(node["measures"])}))


def open_cache(path: str | None) -> "Cache":
    """Return the cache below `cache_root`."""
    return _cache(cache_root(path))


@functools.lru_cache(maxsize=1)
def _cache(root: Path) -> "Cache":
    """The cache of this process, so that cells of a sweep share what is in memory."""
    from stitching.pipeline.cache import Cache

    return Cache(root)
