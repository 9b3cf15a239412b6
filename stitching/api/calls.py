"""One call of `stitch` or `grid`: its settings, data and models, composed as launch.py does."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from stitching import config
from stitching.api.data import load_data, settings_of
from stitching.api.models import WrappedModel, load_model, loaded
from stitching.api.options import compose, override
from stitching.compute.devices import pick_device
from stitching.config import Composed
from stitching.config.assemble import build_cell, node_key
from stitching.config.plain import RoleModel
from stitching.data.base import ImageData
from stitching.data.label_columns import LabelModel
from stitching.models.base import GenerativeModel
from stitching.models.wrapped import Wrapped

if TYPE_CHECKING:
    from stitching.pipeline.cell import Cell

#: What stands for a model: its name, a loaded one, or functions.
Model = str | GenerativeModel | WrappedModel

#: First fit images, on which functions are tried.
_TRIED = 4

#: Parts of the configuration that arguments of their own set.
_APART = ("data", "encoder", "decoder", "model", "models", "hydra", "device", "dtype")


@dataclass(frozen=True, eq=False)
class Part:
    """A model of a call.

    Attributes:
        chosen: Its configuration.
        settings: The same as part of a cell's configuration.
        built: The model; None if each cell builds its own, since it is fitted to images.
        decodes: Whether it can be a decoder.
    """

    chosen: RoleModel
    settings: Any
    built: GenerativeModel | None
    decodes: bool

    @property
    def name(self) -> str:
        """Its label."""
        return str(self.chosen.node["name"])

    @property
    def lasting(self) -> bool:
        """Whether its identity is the same in other calls."""
        return not isinstance(self.built, Wrapped)


@dataclass(frozen=True, eq=False)
class Call:
    """What the cells of a call share.

    Attributes:
        settings: All values of the configuration, with its default models.
        via: Configuration of a third model, or None.
        data: The data set.
        parts: The models, in the order given; equal ones are one.
    """

    settings: dict[str, Any]
    via: RoleModel | None
    data: ImageData
    parts: Sequence[Part]

    def plain(self, encoder: Part, decoder: Part) -> dict[str, Any]:
        """Return all values of the configuration of a cell."""
        return self.settings | {"encoder": encoder.settings, "decoder": decoder.settings}

    def cell(self, encoder: Part, decoder: Part) -> "Cell":
        """Build and check a cell; errors are those of `config.assemble.build_cell`."""
        roles = {"encoder": encoder, "decoder": decoder}
        models = {role: replace(part.chosen, role=role) for role, part in roles.items()}
        models |= {"via": self.via} if self.via is not None else {}
        built = {role: part.built for role, part in roles.items() if part.built is not None}
        return build_cell(Composed(self.plain(encoder, decoder), models), self.data, built)


@contextmanager
def calling(
    models: Sequence[Model],
    data: ImageData | str,
    overrides: Sequence[str],
    options: Mapping[str, Any],
    device: str | None,
    dtype: str | None,
) -> Iterator[Call]:
    """Yield a call; at its end nothing that depends on functions is kept.

    Args:
        models: All models.
        data: The data set, or its name.
        overrides: Settings as on the command line.
        options: Settings by their names at the top of the configuration; `tracker` is `none`
            unless given.
        device: Of models given by name, and of maps; None for that of loaded models, or `auto`.
        dtype: The same of the precision, or `float32`.

    Raises:
        TypeError: An argument is of another type.
        ValueError: A setting is unknown, models differ in device or precision, or two models
            have one name.
    """
    data = load_data(data) if isinstance(data, str) else data
    known = settings_of(data)
    texts = [override(key, value) for key, value in {"tracker": "none", **options}.items()]
    for text in [*texts, *overrides]:
        _check_apart(text)
    device, dtype = _place(models, device, dtype)
    # The size is that of models which `via` names; the data themselves are built already.
    texts += [override(key, value) for key, value in (
        ("device", device), ("dtype", dtype), ("data.image_size", data.image_size))]  # fmt: skip
    composed = compose(*texts, *overrides)
    settings = composed.settings | {"data": known}
    parts = _parts(models, data, settings)
    try:
        with _each_warning_once():
            yield Call(settings, composed.models.get("via"), data, parts)
    finally:
        config.open_cache(settings["cache"]).forget_marked()


@contextmanager
def _each_warning_once() -> Iterator[None]:
    """Show equal warnings once; each cell of a grid would repeat them."""
    seen: set[str] = set()
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_new(message: Warning | str, *place: Any, **more: Any) -> None:
            if str(message) not in seen:
                seen.add(str(message))
                show(message, *place, **more)

        warnings.showwarning = show_new
        yield


def _check_apart(text: str) -> None:
    key = text.lstrip("+~").partition("=")[0].partition("@")[0].partition(".")[0]
    if key in _APART:
        raise ValueError(
            f"{text}: options of a model belong to load_model, those of data to load_data; device "
            "and dtype are arguments"
        )


def _place(models: Sequence[Model], device: str | None, dtype: str | None) -> tuple[str, str]:
    """Return the device and precision of a call.

    Raises:
        ValueError: Loaded models, and the arguments, differ in one of them.
    """
    found = {
        "device": {} if device is None else {str(pick_device(device)): "the argument"},
        "dtype": {} if dtype is None else {dtype: "the argument"},
    }
    for model in models:
        if isinstance(model, GenerativeModel):
            made = loaded(model)
            found["device"].setdefault(made.device, model.name)
            found["dtype"].setdefault(made.dtype, model.name)
    for key, values in found.items():
        if len(values) > 1:
            shown = ", ".join(f"{name} has {value}" for value, name in values.items())
            raise ValueError(f"all models of a call have one {key}, but {shown}: load them alike")
    chosen = [next(iter(values), usual) for values, usual in
              zip(found.values(), ("auto", "float32"), strict=True)]  # fmt: skip
    wrapped = [model.name for model in models if isinstance(model, WrappedModel)]
    if wrapped and chosen[1] != "float32":
        raise ValueError(
            f"dtype={chosen[1]}, but {wrapped[0]} consists of functions, which compute as they "
            "are written: use float32 for all models"
        )
    return chosen[0], chosen[1]


def _parts(models: Sequence[Model], data: ImageData, settings: dict[str, Any]) -> list[Part]:
    """Return the models; equal ones are one.

    Raises:
        TypeError: Something else than a model is given.
        ValueError: Two models have one name.
    """
    known: dict[object, Part] = {}
    named: dict[str, Part] = {}
    found = []
    for model in models:
        if isinstance(model, str):
            globals_ = [override(key, settings[key]) for key in ("seed", "zoo")]
            place = {"device": settings["device"], "dtype": settings["dtype"]}
            model = load_model(model, *globals_, image_size=data.image_size, **place)
        if not isinstance(model, GenerativeModel | WrappedModel):
            raise TypeError(
                f"a model is a name, or comes from st.load_model or st.wrap, got {model!r}"
            )
        key = id(model) if isinstance(model, WrappedModel) else node_key(loaded(model).chosen.node)
        if key not in known:
            known[key] = _part(model, data)
        part = known[key]
        if named.setdefault(part.name, part) is not part:
            raise ValueError(
                f"two models are called {part.name}: give one another with name=, in load_model "
                "or wrap"
            )
        found.append(part)
    return found


def _part(model: GenerativeModel | WrappedModel, data: ImageData) -> Part:
    if isinstance(model, WrappedModel):
        shape = model.latent_shape, model.value_range
        built = Wrapped(
            model.name, data.image_size, *shape, model.encode, model.decode, model.device
        )
        built.require_sound(data.split("train").images(slice(0, _TRIED)))
        settings = {key: value for key, value in built.options.items() if key != "call"}
        return Part(
            RoleModel("encoder", settings), settings | {"wrapped": True}, built, built.can_decode
        )
    made = loaded(model)
    # A model that takes something from the data is left as it is: each cell builds its own.
    reused = not (model.needs_fit or isinstance(model, LabelModel))
    return Part(made.chosen, made.settings, model if reused else None, model.can_decode)
