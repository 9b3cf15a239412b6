"""Builds objects from plain configurations, by `_target_`, with Hydra's `instantiate`."""

import functools
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import get_class, instantiate

from stitching.compute.devices import check_dtype, pick_device
from stitching.config.arguments import check_arguments
from stitching.config.compatibility import warn_of_low_precision
from stitching.config.compose import (
    CHOICE,
    NOT_OPTIONS,
    absolute,
    cache_root,
)

if TYPE_CHECKING:
    from stitching.data.base import ImageData
    from stitching.models.base import GenerativeModel
    from stitching.pipeline.cache import Cache
    from stitching.pipeline.protocol import Protocol
    from stitching.weights.containers import WeightFile

log = logging.getLogger(__name__)

#: Errors whose message is meant for the user; a traceback would only hide it.
USER_ERRORS = (ValueError, TypeError, OSError, ModuleNotFoundError)


def build(node: Mapping[str, Any], where: str = "", /, **extra: Any) -> Any:
    """Return what `_target_` makes of a configuration; errors of constructors are kept.

    Args:
        node: A configuration with `_target_`.
        where: Its key, for messages.
        extra: Further arguments.

    Raises:
        ValueError: The constructor has no such argument, or the value has another type.
    """
    from hydra.errors import InstantiationException

    check_arguments(node, where)
    try:
        return instantiate(node, _convert_="all", **extra)
    except InstantiationException as error:
        # Hydra wraps what the constructor raised; the user needs the message inside.
        if isinstance(error.__cause__, USER_ERRORS):
            raise error.__cause__ from None
        raise


def build_data(node: Mapping[str, Any], cache: str | None = None) -> "ImageData":
    """Build a data set; a relative `root` starts where the command was started.

    Args:
        node: Configuration of the data set.
        cache: Folder for facts about image files, see `cache_root`.
    """
    plain = dict(node)
    for key in ("root", "attributes"):
        if isinstance(plain.get(key), str):
            plain[key] = absolute(plain[key])
    extra = {}
    if isinstance(node.get("model"), dict):
        # On the CPU in float32, so that the images are the same wherever the roles run.
        from stitching.compute.source import code_version

        model = build_model(plain.pop("model"), "cpu", role="data.model")
        code = code_version(*{type(module) for module in model.modules()})
        extra = {"model": model, "code": code}
    data: ImageData = build(plain, "data", **extra)
    data.cache = cache_root(cache)
    return data


def model_options(node: Any) -> dict[str, Any]:
    """Return the options of a model that its constructor takes, and `_target_`.

    Raises:
        ValueError: The node is not a model's configuration.
    """
    if not (isinstance(node, dict) and "_target_" in node and "name" in node):
        raise ValueError(f"not a model: {node!r}; a model YAML has at least _target_ and name")
    options = {key: value for key, value in node.items() if key not in NOT_OPTIONS}
    if options.get("width", 0) is None:  # of the role, see `conf/roles.yaml`
        del options["width"]
    return options


def weight_file(node: Mapping[str, Any]) -> "WeightFile | None":
    """Return the weight file of a model's configuration; None without `weights`.

    With a `checkpoint`, it is the file of the training after so many images.

    Raises:
        ValueError: It is damaged, or loading it would run code.
        FileNotFoundError: There is none.
    """
    from stitching.weights.checkpoints import at_checkpoint
    from stitching.weights.containers import read_weights
    from stitching.weights.locations import resolve

    weights, images = node.get("weights"), node.get("checkpoint")
    launched_in = Path(absolute("."))
    if images is not None:
        weights = at_checkpoint(weights, images, launched_in)
    if weights is None:
        return None
    path = resolve(weights, node.get("subfolder"), node.get("revision"), launched_in)
    return read_weights(path)


def build_model(
    node: dict[str, Any], device: str = "auto", dtype: str = "float32", role: str = "encoder"
) -> "GenerativeModel":
    """Build a model, load its weights, freeze it and move it to its device.

    Args:
        node: Configuration of the model. With an `init_seed` the model stays untrained, and a
            weight file is read only for options that are null.
        device: `auto`, `spread`, `cpu`, `cuda` or `cuda:N`.
        dtype: `float32`, `bfloat16` (float32 weights, autocast in the networks) or `float64`.
        role: Key of the model on the command line, for messages.

    Raises:
        ValueError: An option, the device, or the weight file is wrong.
        FileNotFoundError: No such weight file.
    """
    import torch

    from stitching.weights.loading import load_weights, parameters_hash
    from stitching.weights.roles import naming_role

    place, dtype = pick_device(device), check_dtype(dtype)
    with naming_role(role, node.get("name") if isinstance(node, dict) else node):
        options = model_options(node)
        # Options that are null may be taken from the weight file.
        given = {key: value for key, value in options.items() if value is not None}
        check_arguments(given, role, [key for key in NOT_OPTIONS if key != CHOICE])
        file, seed = None, node.get("init_seed")
        if seed is not None and node.get("checkpoint") is not None:
            raise ValueError(
                f"model {node['name']} is left untrained, so checkpoint={node['checkpoint']} has "
                "no meaning: set checkpoint=null, or choose the model itself"
            )
        if seed is None or None in options.values():
            file = weight_file(node)
        if file is not None and "architecture" not in file.card:
            family: type[Any] = get_class(options["_target_"])
            options = family.complete_options(options, file)
        with torch.random.fork_rng(devices=[]):
            # An untrained model does not depend on what was built before.
            torch.manual_seed(seed or 0)
            model: GenerativeModel = build(options, role)
        model.options = options
        fixed = not model.learned or next(model.parameters(), None) is None
        if seed is not None and (model.needs_fit or fixed):
            raise ValueError(
                f"{model.name}: there are no weights to leave untrained; use it as it is"
            )
        if file is None or seed is not None:
            # A model that is still to be fitted has no values yet.
            model.weights_hash = None if model.needs_fit else parameters_hash(model)
        else:
            load_weights(model, file, options)
        warn_of_low_precision(model, dtype)
        if dtype == "float64":
            model = model.double()
        elif dtype == "bfloat16":
            model.autocast_dtype = torch.bfloat16
        if place.type == "cuda":
            # Convolutions on tensor cores read channels last; elsewhere the family chooses.
            model = model.to(memory_format=torch.channels_last)
        return model.to(place).freeze()


def build_protocol(node: dict[str, Any]) -> "Protocol":
    """Build and check the measuring protocol.

    Raises:
        ValueError: A value is not allowed.
    """
    from stitching.pipeline.protocol import Protocol

    check_arguments(node | {"_target_": "stitching.pipeline.protocol.Protocol"}, "protocol")
    if not isinstance(node["measures"], list):
        raise ValueError(f"protocol.measures must be a list, got {node['measures']!r}")
    return Protocol(**(node | {"measures": tuple(node["measures"])}))


def open_cache(path: str | None) -> "Cache":
    """Return the cache of a configured folder, see `cache_root`."""
    return _cache(cache_root(path))


@functools.lru_cache(maxsize=1)
def _cache(root: Path) -> "Cache":
    """Return the cache of this process: cells of a sweep share its memory."""
    from stitching.pipeline.cache import Cache

    return Cache(root)
