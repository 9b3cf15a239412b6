"""The only place that knows Hydra and OmegaConf: composes, checks and builds.

Everything is built and checked before the first image is encoded, so that wrong input costs
seconds and one message.
"""

import functools
import json
import logging
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_class, instantiate, to_absolute_path
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

if TYPE_CHECKING:
    import torch

    from stitching.cache import Cache
    from stitching.cell import Cell
    from stitching.data.base import ImageData
    from stitching.metrics.base import ImageMetric
    from stitching.models.base import GenerativeModel

log = logging.getLogger(__name__)

ROLES = ("encoder", "decoder")
DTYPES = ("float32", "bfloat16", "float64")

#: Errors whose message is meant for the user; a traceback would only hide it.
USER_ERRORS = (ValueError, TypeError, FileNotFoundError, ModuleNotFoundError)


def conf_dir() -> Path:
    """Return the folder of configurations: in an installed package, or beside it in a checkout."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "conf"


def register_roles() -> None:
    """Make every model an option of the groups `encoder` and `decoder`.

    The option itself is empty; what it selects is loaded by `model@encoder: ${encoder}`. Without
    these entries `--help` would not list them and `encoder=glob(*)` would find none.
    """
    store = ConfigStore.instance()
    for path in sorted((conf_dir() / "model").glob("*.yaml")):
        for role in ROLES:
            store.store(group=role, name=path.stem, node={})


def compose_config(overrides: list[str], config_name: str = "config") -> DictConfig:
    """Compose the configuration from Python, without a command line.

    Args:
        overrides: As on the command line, such as `["encoder=nf", "data.n_test=64"]`.
        config_name: `config` (a cell) or `train`.

    Raises:
        ValueError: An override does not fit.
    """
    from hydra.errors import HydraException

    register_roles()
    if GlobalHydra.instance().is_initialized():
        raise ValueError("stitching's Python functions cannot compose inside a Hydra application")
    try:
        with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
            return compose(config_name, overrides)
    except HydraException as error:
        raise ValueError(str(error)) from error


def to_plain(cfg: DictConfig) -> dict[str, Any]:
    """Return nested plain dicts and lists, every interpolation resolved.

    Raises:
        ValueError: A value is missing (`???`) or an interpolation fails; the message names it.
    """
    try:
        plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ValueError(f"configuration is incomplete: {error}") from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def absolute(path: str) -> str:
    """Return a path of the user's relative to the folder the command was started in."""
    path = os.path.expanduser(path)
    return to_absolute_path(path) if HydraConfig.initialized() else os.path.abspath(path)


def cache_root(path: str | None) -> Path:
    """Return the cache folder: configured, `STITCHING_CACHE`, or the user's cache folder."""
    chosen = path or os.environ.get("STITCHING_CACHE")
    if chosen:
        return Path(absolute(chosen))
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "stitching"


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
    data: ImageData = build(plain)
    return data


def model_options(node: DictConfig) -> dict[str, Any]:
    """Return the options of a model that its constructor takes, plus `_target_`.

    Raises:
        ValueError: The node is not a model's configuration.
    """
    plain = to_plain(node) if isinstance(node, DictConfig) else {}
    if "_target_" not in plain or "name" not in plain:
        raise ValueError(f"not a model: {node!r}; a model YAML has at least _target_ and name")
    return {key: value for key, value in plain.items() if key not in ("weights", "training")}


def build_model(
    node: DictConfig, device: str = "auto", dtype: str = "float32"
) -> "GenerativeModel":
    """Build a model, load its weights, freeze it and move it to its device.

    Args:
        node: A model's configuration.
        device: See `pick_device`.
        dtype: `float32`, `bfloat16` (float32 weights, autocast in the networks) or `float64`.

    Raises:
        ValueError: An option, the device, or the weight file is wrong.
        FileNotFoundError: No such weight file.
    """
    import torch

    from stitching.models.containers import read_weights
    from stitching.models.weights import PACKAGED, load_weights, parameters_hash, resolve

    options = model_options(node)
    place = pick_device(device)
    file = None
    if (weights := node.get("weights")) is not None:
        path = resolve(weights if weights.startswith(PACKAGED) else absolute(weights))
        file = read_weights(path)
        if "architecture" not in file.card:
            family: type[Any] = get_class(options["_target_"])
            options = family.complete_options(options, file)
    with torch.random.fork_rng(devices=[]):
        # An untrained model is the same wherever in a sweep it is built.
        torch.manual_seed(0)
        model: GenerativeModel = build(options)
    if file is None:
        model.weights_hash = parameters_hash(model)
    else:
        load_weights(model, file, options)
    if check_dtype(dtype) == "float64":
        model = model.double()
    elif dtype == "bfloat16":
        model.autocast_dtype = torch.bfloat16
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
    from stitching.latents import Subject
    from stitching.seeding import set_numerics

    plain = to_plain(cfg)
    if plain["batch_size"] < 1:
        raise ValueError(f"batch_size must be >= 1, got {plain['batch_size']}")
    device = pick_device(plain["device"])
    dtype = check_dtype(plain["dtype"])
    warn_of_slow_dtype(device, dtype)
    data = build_data(cfg.data)
    if not 0 <= plain["picture"] < data.n_test:
        raise ValueError(
            f"picture={plain['picture']} is not a test image: use 0 to data.n_test - 1 = "
            f"{data.n_test - 1}"
        )
    data.check()
    subjects = {}
    for role in ROLES:
        model = build_model(cfg[role], plain["device"], dtype)
        _check_role(role, model, data)
        subjects[role] = Subject(model, model_options(cfg[role]), dtype)
    set_numerics(plain["seed"])
    return Cell(
        encoder=subjects["encoder"],
        decoder=subjects["decoder"],
        data=data,
        map=build(cfg.map),
        metrics={
            key: _metric(json.dumps(_metric_options(node)), str(device))
            for key, node in plain["metric"].items()
        },
        probes=build(cfg.probe) if cfg.probe.get("_target_") else None,
        cache=_cache(cache_root(plain["cache"])),
        batch_size=plain["batch_size"],
        seed=plain["seed"],
    )


def _metric_options(node: dict[str, Any]) -> dict[str, Any]:
    if isinstance(node.get("weights"), str):
        return node | {"weights": absolute(node["weights"])}
    return node


@functools.lru_cache(maxsize=1)
def _cache(root: Path) -> "Cache":
    """The cache of this process, so that cells of a sweep share what is in memory."""
    from stitching.cache import Cache

    return Cache(root)


def _check_role(role: str, model: "GenerativeModel", data: "ImageData") -> None:
    if role == "decoder" and not model.can_decode:
        raise ValueError(f"decoder={model.name}: this model cannot decode; use it as encoder")
    if role == "encoder" and not model.can_encode:
        raise ValueError(f"encoder={model.name}: this model cannot encode; use it as decoder")
    if model.image_size != data.image_size:
        raise ValueError(
            f"{role}={model.name} takes images of {model.image_size} pixels but "
            f"data.image_size={data.image_size}: make them equal"
        )
    trained_on = model.card.get("data")
    if trained_on and trained_on != data.name:
        log.warning(
            "%s=%s was trained on %s, the data are %s: train it with `python -m stitching.train "
            "model=%s data=%s` and give zoo=FOLDER",
            *(role, model.name, trained_on, data.name, model.name, data.name),
        )
