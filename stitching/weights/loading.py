"""Strict loading of weights, and the project's weight files: safetensors with a card.

The card in the header names the model and the data of the weights, so that a file under the wrong
configuration is an error and not a wrong number.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from stitching.records.program import command_line
from stitching.weights.containers import WeightFile
from stitching.weights.roles import ROLE
from stitching.weights.state_dicts import hash_values, plain_names

#: Options that may differ between training and use: names, files, and settings of encoding and
#: decoding that weights do not depend on.
USE_TIME_OPTIONS = frozenset(
    {
        "name", "weights", "training", "space", "n_steps", "inversion_iterations", "clip_x0",
        "truncation", "noise",
    }
)  # fmt: skip
#: Entry of the card: SHA-256 of names and values.
_VALUES = "values_sha256"


class _Module(Protocol):
    """What strict loading needs of a torch module."""

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(
        self, state: Mapping[str, Tensor], /, strict: bool, assign: bool
    ) -> object: ...


#: Present names of options in the cards of earlier weight files, by class.
_RENAMED = {"stitching.models.flow.Glow": {"width": "hidden_channels"}}


class _Model(_Module, Protocol):
    """What `load_weights` needs of a generative model."""

    name: str
    weights_hash: str | None
    card: dict[str, str]

    def state_from(self, file: WeightFile) -> dict[str, Tensor]: ...


def architecture(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a model that its weights depend on, by their present names."""
    present = _RENAMED.get(str(options.get("_target_")), {})
    found = {key: value for key, value in options.items() if key not in USE_TIME_OPTIONS}
    return {present.get(key, key): value for key, value in found.items()}


def parameters_hash(model: nn.Module) -> str | None:
    """Return SHA-256 (hex) of a model's values, or None where it has none."""
    state = model.state_dict()
    return hash_values(state) if state else None


def weights_bytes(model: nn.Module, options: Mapping[str, Any], card: Mapping[str, str]) -> bytes:
    """Return a model's weights in half precision, with a card, as the bytes of a safetensors file.

    Values are rounded once, here, so that every reader computes in float32 with the same numbers.
    The card contains the options, a hash of the values, which reveals damage, and the entries of
    `card`, such as the data set. Equal arguments give equal bytes.

    Raises:
        ValueError: A weight is not finite or too large for half precision.
    """
    from safetensors.torch import save

    tensors = {}
    for key, value in model.state_dict().items():
        half = value.detach().cpu()
        half = half.half() if half.is_floating_point() else half
        if half.is_floating_point() and not bool(half.isfinite().all()):
            raise ValueError(f"weight {key} does not fit half precision; training has diverged?")
        tensors[key] = half.contiguous()
    metadata = {
        **card,
        "architecture": json.dumps(architecture(options), sort_keys=True),
        _VALUES: hash_values(tensors),
    }
    return _with_sorted_card(save(tensors, metadata=metadata))


def _with_sorted_card(data: bytes) -> bytes:
    """The bytes of a safetensors file with its metadata, of random order, sorted by name."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # as the format aligns its tensors
    return len(text).to_bytes(8, "little") + text + data[start:]


def load_weights(model: _Model, file: WeightFile, options: Mapping[str, Any]) -> None:
    """Load a weight file strictly, and set the model's `weights_hash` and `card`.

    The options are compared with the file's card, if it has one.

    Raises:
        ValueError: Damaged values, another configuration, or tensors that do not fit, see
            `load_strictly`.
    """
    path, card = file.path, dict(file.card)
    if _VALUES in card and card[_VALUES] != hash_values(file.content):
        raise ValueError(
            f"{path} is damaged: its values are not those that were written to it; copy or train "
            "it anew"
        )
    _check_architecture(path, card, options)
    # A file of this project has the model's own names; the family maps those of others.
    tensors = file.state_dict() if "architecture" in card else model.state_from(file)
    remedy = (
        f"make the model's options (in its YAML, or {ROLE}.OPTION=VALUE) equal to those it was "
        "trained with"
    )
    load_strictly(model, tensors, path, f"model {model.name}", remedy)
    model.weights_hash = file.sha256
    model.card = card


def load_strictly(
    module: _Module,
    tensors: Mapping[str, Tensor],
    path: Path,
    what: str,
    remedy: str = "replace it",
    assign: bool = False,
) -> None:
    """Load every tensor of a module, after comparing names and shapes.

    Args:
        module: Keeps its own dtypes. May hold a compiled or parallel network: names are compared
            without the marks of such wrappers.
        tensors: Values by name.
        path: The file they come from, for messages.
        what: The module, for messages.
        remedy: What to do about a file that does not fit, for messages.
        assign: Whether tensors replace the module's instead of being copied into them, for
            modules on the meta device.

    Raises:
        ValueError: A tensor is missing, unexpected, of another shape, or not finite.
    """
    state = module.state_dict()
    names = {plain: name for name, plain in plain_names(state).items()}
    own = {plain: state[name] for plain, name in names.items()}
    tensors = {plain: tensors[name] for name, plain in plain_names(tensors).items()}
    missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    wrong = [
        f"{key} {tuple(tensors[key].shape)} instead of {tuple(own[key].shape)}"
        for key in sorted(own.keys() & tensors.keys())
        if own[key].shape != tensors[key].shape
    ]
    if missing or extra or wrong:
        raise ValueError(
            f"{path} does not fit {what}: {len(missing)} keys missing {missing[:3]}, "
            f"{len(extra)} unexpected {extra[:3]}, {len(wrong)} of another shape {wrong[:3]}; "
            f"{remedy}"
        )
    typed = {names[key]: value.to(own[key].dtype) for key, value in tensors.items()}
    for key, value in typed.items():
        if not (value.is_floating_point() or value.is_complex()):
            continue
        # Dtypes of 8 bits have no `isfinite`.
        if not bool(torch.isfinite(value.float() if value.itemsize == 1 else value).all()):
            raise ValueError(f"{path}: weight {key} has values that are not finite")
    module.load_state_dict(typed, strict=True, assign=assign)


def merge_options(
    options: Mapping[str, Any], found: Mapping[str, Any], path: Path
) -> dict[str, Any]:
    """Return a model's options with those that are null taken from `found` in a published file.

    Raises:
        ValueError: An option contradicts the file.
    """
    wrong = [
        f"{key}={options[key]!r} but the file was made with {value!r}"
        for key, value in found.items()
        if options.get(key) is not None and options[key] != value
    ]
    if wrong:
        raise ValueError(
            f"{path} does not fit model {options.get('name')}: {'; '.join(wrong)}: change these "
            "options, or set them to null to take those of the file"
        )
    return {**options, **found}


def _check_architecture(path: Path, card: Mapping[str, str], options: Mapping[str, Any]) -> None:
    if "architecture" not in card:
        return
    # Older cards contain options that are use-time options now.
    trained = architecture(json.loads(card["architecture"]))
    wanted = architecture(options)
    wrong = [
        f"{key}={wanted.get(key)!r} but trained with {trained.get(key)!r}"
        for key in sorted(trained.keys() | wanted.keys())
        if trained.get(key) != wanted.get(key)
    ]
    if wrong:
        hint = f"change these options (in the model's YAML, or {ROLE}.OPTION=VALUE)"
        if trained.get("image_size") != wanted.get("image_size"):
            hint = (
                f"set data.image_size={trained.get('image_size')}, or train the model at this "
                f"size with `{command_line('train')}`"
            )
        raise ValueError(f"{path} was trained with other options: {'; '.join(wrong)}: {hint}")
