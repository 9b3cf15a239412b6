"""Builds and checks what Hydra composed; with `composition` the only place that knows it.

Everything is built and checked before the first image is encoded, so that wrong input costs
seconds and one message.
"""

import copy
import functools
import json
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from stitching.composition import (
    ROLES,
    absolute,
    cache_root,
    compose_config,
    conf_dir,
    model_node,
    model_options,
    register_roles,
    role_node,
    to_plain,
)

if TYPE_CHECKING:
    import torch

    from stitching.cache import Cache
    from stitching.cell import Cell
    from stitching.data.base import ImageData
    from stitching.fitting import Factorisations
    from stitching.maps import Map
    from stitching.metrics.base import ImageMetric
    from stitching.models.base import GenerativeModel
    from stitching.models.containers import WeightFile

log = logging.getLogger(__name__)

__all__ = [
    "DTYPES", "ROLES", "USER_ERRORS", "SlowDtypeWarning", "absolute", "build", "build_cell",
    "build_data", "build_model", "cache_root", "check_dtype", "compose_config", "conf_dir",
    "model_node", "model_options", "open_cache", "pick_device", "register_roles", "role_node",
    "to_plain", "warn_of_slow_dtype", "weight_file",
]  # fmt: skip

DTYPES = ("float32", "bfloat16", "float64")

#: Errors whose message is meant for the user; a traceback would only hide it.
USER_ERRORS = (ValueError, TypeError, FileNotFoundError, ModuleNotFoundError)


def pick_device(device: str) -> "torch.device":
    """Return the device: `auto` is CUDA where there is one.

    Raises:
        ValueError: Unknown, or not on this machine.
    """
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device={device!r}: use auto, cpu, cuda or cuda:N") from error
    if chosen.type not in ("cpu", "cuda"):
        raise ValueError(f"device={device!r}: use auto, cpu, cuda or cuda:N")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={device!r}: {torch.cuda.device_count()} CUDA devices here; use device=cpu"
        )
    return chosen


class SlowDtypeWarning(UserWarning):
    """The precision asked for is slow on this machine."""


def check_dtype(dtype: str) -> str:
    """Return dtype if it is one of `DTYPES`.

    Raises:
        ValueError: It is not.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r}: use one of {', '.join(DTYPES)}")
    return dtype


def warn_of_slow_dtype(device: "torch.device", dtype: str) -> None:
    """Warn of bfloat16 on a processor without instructions for it: ten times slower there."""
    import torch

    # Older releases of torch do not say what the processor can do.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    if device.type != "cpu" or dtype != "bfloat16" or not capabilities:
        return
    if not any(value for name, value in capabilities.items() if name.endswith("bf16")):
        warnings.warn(
            "dtype=bfloat16: this processor has no bfloat16 instructions, so it is emulated, "
            "about ten times slower than dtype=float32",
            SlowDtypeWarning,
            stacklevel=2,
        )


def build(node: DictConfig | dict[str, Any], **extra: Any) -> Any:
    """Instantiate `_target_`; the one call site. Errors of constructors keep their own type."""
    from hydra.errors import InstantiationException

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
    data: ImageData = build(plain, **extra)
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
        model: GenerativeModel = build(options)
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
def _metric(text: str, device: str) -> "ImageMetric":
    """Build a metric once per process: its networks serve every cell of a sweep."""
    metric: ImageMetric = build(json.loads(text))
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

    plain = to_plain(cfg)
    if plain["batch_size"] < 1:
        raise ValueError(f"batch_size must be >= 1, got {plain['batch_size']}")
    device = pick_device(plain["device"])
    dtype = check_dtype(plain["dtype"])
    warn_of_slow_dtype(device, dtype)
    drawn = isinstance(cfg.data.get("model"), DictConfig)
    data = _drawn_data(json.dumps(to_plain(cfg.data))) if drawn else build_data(cfg.data)
    if not 0 <= plain["picture"] < data.n_test:
        raise ValueError(
            f"picture={plain['picture']} is not a test image: use 0 to data.n_test - 1 = "
            f"{data.n_test - 1}"
        )
    data.check()
    subjects = {}
    for role in ROLES:
        node = role_node(cfg, role)
        model = build_model(node, plain["device"], dtype)
        _check_role(role, model, data)
        trained, used = node.get("trained_crop"), plain["data"].get("crop")
        if trained and used and trained != used:
            _warn_of_crop(model.name, trained, used)
        subjects[role] = Subject(model, model.options, dtype)
    via = None
    if plain["via"] is not None:
        node = model_node(str(plain["via"]), cfg)
        model = build_model(node, plain["device"], dtype)
        _check_role("via", model, data)
        via = Subject(model, model.options, dtype)
    template = build(cfg.map)
    if subjects["encoder"].identity() != subjects["decoder"].identity():
        _check_map(template, subjects["encoder"].model, subjects["decoder"].model)
    rank_curve = _check_rank_curve(plain["rank_curve"], template)
    cache = open_cache(plain["cache"])
    set_numerics(plain["seed"])
    return Cell(
        encoder=subjects["encoder"],
        decoder=subjects["decoder"],
        data=data,
        fitting=Fitting(template, _factorisations(cache), device),
        metrics={
            key: _metric(json.dumps(_metric_options(node)), str(device))
            for key, node in plain["metric"].items()
        },
        probes=build(cfg.probe) if cfg.probe.get("_target_") else None,
        cache=cache,
        batch_size=plain["batch_size"],
        seed=plain["seed"],
        via=via,
        round_trip=plain["round_trip"],
        rank_curve=rank_curve,
    )


def _check_map(template: "Map", encoder: "GenerativeModel", decoder: "GenerativeModel") -> None:
    """Check that the map can connect latents of these shapes, both ways."""
    shapes = encoder.latent_shape, decoder.latent_shape
    copy.deepcopy(template).set_shapes(*shapes)


def _check_rank_curve(wanted: Any, template: "Map") -> str | list[int] | None:
    from stitching.maps import SpectralMap

    if wanted is None:
        return None
    ranks = wanted if isinstance(wanted, list) else []
    if wanted != "auto" and not (ranks and all(type(k) is int and k >= 0 for k in ranks)):
        raise ValueError(
            f"rank_curve={wanted!r}: use null, auto, or a list of ranks such as [1,4,16,64]"
        )
    if not isinstance(template, SpectralMap) or getattr(template, "alpha_per_target", False):
        raise ValueError(
            f"rank_curve needs map=ridge, ols or reduced_rank with one penalty for all targets, "
            f"got map={template.name}: set rank_curve=null, or change the map"
        )
    return ranks or "auto"


def _metric_options(node: dict[str, Any]) -> dict[str, Any]:
    if isinstance(node.get("weights"), str):
        return node | {"weights": absolute(node["weights"])}
    return node


def open_cache(path: str | None) -> "Cache":
    """Return the cache below `cache_root`."""
    return _cache(cache_root(path))


@functools.lru_cache(maxsize=1)
def _cache(root: Path) -> "Cache":
    """The cache of this process, so that cells of a sweep share what is in memory."""
    from stitching.cache import Cache

    return Cache(root)


@functools.lru_cache(maxsize=64)
def _warn_of_crop(name: str, trained: str, used: str) -> None:
    """Warn once per model and sweep, in which every cell would say the same."""
    log.warning(
        "%s was trained on images cropped as %s, but data.crop=%s: a grid shows one crop to all "
        "of its models, so this one sees faces framed unlike those it knows",
        *(name, trained, used),
    )


@functools.lru_cache(maxsize=1)
def _factorisations(cache: "Cache") -> "Factorisations":
    """Factorisations in memory, so that the cells of a sweep share them."""
    from stitching.fitting import Factorisations

    return Factorisations(cache)


def _check_role(role: str, model: "GenerativeModel", data: "ImageData") -> None:
    """Check that a model can play a role: `encoder`, `decoder` or `via`, which encodes too."""
    from stitching.data.drawn import DrawingModel, Drawn, check_drew

    if role == "decoder" and not model.can_decode:
        raise ValueError(f"decoder={model.name}: this model cannot decode; use it as encoder")
    if isinstance(model, DrawingModel):
        check_drew(role, model, data)
    elif role != "decoder" and not model.can_encode:
        raise ValueError(f"{role}={model.name}: this model cannot encode; use it as decoder")
    if model.needs_fit:
        model.check_fit(data.n_train)
    if model.image_size != data.image_size:
        raise ValueError(
            f"{role}={model.name} takes images of {model.image_size} pixels but "
            f"data.image_size={data.image_size}: make them equal"
        )
    trained_on = model.card.get("data")
    # Drawn images are of the kind that the model that drew them was trained on.
    kind = data.model.card.get("data") if isinstance(data, Drawn) else data.name
    if trained_on and trained_on != kind:
        log.warning(
            "%s=%s was trained on %s, the data are %s: train it with `python -m stitching.train "
            "model=%s data=%s` and give zoo=FOLDER",
            *(role, model.name, trained_on, data.name, model.name, data.name),
        )
