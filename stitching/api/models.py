"""Models for use from Python: packaged ones by name, and functions of a user's."""

import functools
import hashlib
import inspect
import json
import math
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from stitching import config
from stitching.api.options import compose, override
from stitching.config.labels import check_name
from stitching.config.plain import RoleModel

if TYPE_CHECKING:
    import torch

    from stitching.models.base import GenerativeModel
    from stitching.models.wrapped import Function


@dataclass(frozen=True)
class Loaded:
    """What `load_model` made a model from.

    Attributes:
        chosen: Its configuration.
        settings: The same as part of a cell's configuration.
        device: Where it was put.
        dtype: Precision option.
        state: Hash of its values and options as loaded.
    """

    chosen: RoleModel
    settings: Any
    device: str
    dtype: str
    state: str


@dataclass(frozen=True, eq=False)
class WrappedModel:
    """Functions as a model; made by `wrap`, with its arguments."""

    name: str
    latent_shape: tuple[int, ...]
    value_range: tuple[float, float]
    encode: "Function" = field(repr=False)
    decode: "Function | None" = field(repr=False)
    device: "torch.device"


#: What models were made from, as long as they exist.
_LOADED: "WeakKeyDictionary[GenerativeModel, Loaded]" = WeakKeyDictionary()


def load_model(
    name: str,
    *overrides: str,
    image_size: int | None = None,
    device: str = "auto",
    dtype: str = "float32",
    **options: Any,
) -> "GenerativeModel":
    """Load a frozen model by the name of its YAML file.

    Args:
        name: An option of `encoder=`, such as `vae`.
        overrides: Further settings as on the command line, such as `"zoo=my/weights"`.
        image_size: Height and width of its images; None for 64. Packaged weights have one size.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        dtype: `float32`, `bfloat16` (autocast) or `float64`.
        options: Options of the model, such as `n_steps=50`.

    Returns:
        The model; `.encode(x)` takes (N, 3, S, S) in [0, 1] to (N, D), `.decode(z)` back. One
        that is fitted to images, such as `pca`, needs `.fit_images(x)` before that; `stitch` and
        `grid` fit it to the fit images of their data, whatever it was fitted to.

    Raises:
        ValueError: Unknown name or option, or the weights do not fit.
        FileNotFoundError: The weight file is missing.

    Example:
        >>> import stitching as st
        >>> vae = st.load_model("vae")
        >>> vae.encode(st.load_images("faces", n=2)).shape
        torch.Size([2, 512])
        >>> st.load_model("thumbnail", image_size=32, size=8).latent_shape
        (3, 8, 8)
    """
    from stitching.compute.devices import pick_device

    size = [] if image_size is None else [override("data.image_size", image_size)]
    own = [override(f"++encoder.{key}", value) for key, value in options.items()]
    composed = compose(f"encoder={name}", *size, *own, *overrides)
    chosen = composed.models["encoder"]
    if chosen.width is not None:
        raise ValueError(
            f"encoder.width={chosen.width} takes components over the fit images of a cell, which "
            "a model alone does not have: leave it out"
        )
    model = config.build_model(chosen.node, device, dtype)
    place = str(pick_device(device))
    _LOADED[model] = Loaded(chosen, composed.settings["encoder"], place, dtype, _state(model))
    return model


def loaded(model: "GenerativeModel") -> Loaded:
    """Return what a model was made from.

    Raises:
        ValueError: It does not come from `load_model`, or was changed since.
    """
    found = _LOADED.get(model)
    as_functions = (
        "st.wrap(encode=model.encode, decode=model.decode_unclamped, name=..., "
        "latent_shape=(model.latent_dim,))"
    )
    if found is None:
        raise ValueError(
            f"model {model.name} does not come from st.load_model: use st.load_model, or "
            f"{as_functions}"
        )
    if not model.needs_fit and found.state != _state(model):
        raise ValueError(
            f"model {model.name} was changed since it was loaded, so its cached latents are not "
            f"its own: load it again, or {as_functions}"
        )
    return found


def wrap(
    encode: "Function",
    decode: "Function | None" = None,
    *,
    name: str,
    latent_shape: Sequence[int],
    value_range: Sequence[float] = (0.0, 1.0),
    device: "str | torch.device | None" = None,
) -> WrappedModel:
    """Make a model of functions, for `stitch` and `grid`.

    The functions are called without gradients, on batches of any size. Before long work they are
    tried on a few images: results must not change in a repeat, nor depend on the batch.

    Nothing that depends on them is kept after a call of `stitch` or `grid`, since no hash covers
    all that a function may depend on. In the next call they encode again.

    Args:
        encode: Takes images (N, 3, S, S) in `value_range`, returns latents (N, *latent_shape).
        decode: Takes such latents, returns such images; None for an encoder alone.
        name: Name in rows and columns: letters, digits, '.', '_' and '-', and not that of a
            packaged model.
        latent_shape: Shape of one latent.
        value_range: Range of the pixels that the functions take and return.
        device: Where the functions compute; None for the device of the networks they refer to.

    Raises:
        TypeError: A function cannot be called.
        ValueError: A name, shape or range is not possible.

    Example:
        >>> import stitching as st
        >>> from torch.nn import functional as F
        >>> mine = st.wrap(
        ...     encode=lambda x: F.avg_pool2d(x, 8),
        ...     decode=lambda z: F.interpolate(z, scale_factor=8),
        ...     name="mine", latent_shape=(3, 8, 8), value_range=(-1, 1),
        ... )
        >>> mine.latent_shape
        (3, 8, 8)
    """
    import torch

    for key, function in (("encode", encode), ("decode", decode)):
        if not callable(function) and not (key == "decode" and function is None):
            raise TypeError(f"{key} must be a function of a tensor, got {function!r}")
    shape = tuple(int(size) for size in latent_shape)
    if not shape or min(shape) < 1 or list(shape) != list(latent_shape):
        raise ValueError(f"latent_shape must have whole numbers >= 1, got {latent_shape!r}")
    low, high = (float(end) for end in value_range)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"value_range must be two numbers, the lower first, got {value_range!r}")
    _check_name(name)
    place = torch.device(device) if device is not None else _device_of(encode, decode)
    return WrappedModel(name, shape, (low, high), encode, decode, place)


def _check_name(name: str) -> None:
    check_name("model", name)
    packaged = {path.stem for path in (config.conf_dir() / "model").glob("*.yaml")}
    kind = name.partition("-")[0]
    if kind in packaged:
        raise ValueError(
            f"name={name!r} would be taken for the packaged model {kind}, in tables and claims: "
            f"choose another, such as my-{name}"
        )


def _device_of(*functions: Any) -> "torch.device":
    """Return the device of the first network with weights that functions refer to."""
    import torch

    for module in _modules(*functions):
        weight = next(module.parameters(), None)
        if isinstance(weight, torch.Tensor):
            return weight.device
    return torch.device("cpu")


def _modules(*values: Any, depth: int = 3) -> "Iterator[torch.nn.Module]":
    """Yield the networks that functions are, are methods of, or refer to by name."""
    import torch

    for value in values:
        if isinstance(value, torch.nn.Module):
            yield value
        elif depth and isinstance(value, functools.partial):
            parts = (value.func, *value.args, *value.keywords.values())
            yield from _modules(*parts, depth=depth - 1)
        elif depth and isinstance(value, types.MethodType):
            yield from _modules(value.__self__, depth=depth - 1)
        elif depth and isinstance(value, types.FunctionType):
            found = inspect.getclosurevars(value)
            names = [*found.nonlocals.values(), *found.globals.values()]
            yield from _modules(*names, depth=depth - 1)
        elif (
            depth and hasattr(value, "__dict__") and not isinstance(value, type | types.ModuleType)
        ):
            yield from _modules(*vars(value).values(), depth=depth - 1)


def _state(model: "GenerativeModel") -> str:
    """Return SHA-256 (hex) of a model's values and options, which reveals a change in place."""
    from stitching.weights.loading import parameters_hash

    plain = (bool, int, float, str, tuple, types.NoneType)
    methods = (types.FunctionType, types.MethodType)
    options = [
        [
            name,
            {key: repr(value) for key, value in vars(module).items() if isinstance(value, plain)},
            [key for key, value in vars(module).items() if isinstance(value, methods)],
            len(module._forward_hooks) + len(module._forward_pre_hooks),
        ]
        for name, module in model.named_modules()
    ]
    text = json.dumps([parameters_hash(model), options])
    return hashlib.sha256(text.encode()).hexdigest()
