"""The project's weight files: safetensors with a card in the header, loaded strictly.

The card says which model and data the weights belong to, so that a file under the wrong
configuration is an error and not a wrong number.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from stitching.records.files import replacing
from stitching.weights.containers import WeightFile
from stitching.weights.locations import ZOO, resolve
from stitching.weights.roles import ROLE
from stitching.weights.state_dicts import hash_values, plain_names

__all__ = [
    "ZOO",
    "architecture",
    "load_weights",
    "parameters_hash",
    "resolve",
    "save_weights",
    "weights_bytes",
]

#: Options that may differ between training and use, because they do not change what the
#: weights mean: names, files, and how encoding and decoding are carried out.
USE_TIME_OPTIONS = frozenset(
    {
        "name", "weights", "training", "space", "n_steps", "inversion_iterations", "clip_x0",
        "truncation", "noise",
    }
)  # fmt: skip


#: Entry of the card: SHA-256 of names and values.
_VALUES = "values_sha256"


class Loadable(Protocol):
    """What `load_weights` needs of a model, a torch module."""

    name: str
    weights_hash: str | None
    card: dict[str, str]

    def state_dict(self) -> dict[str, Tensor]:
        """Return its values by name."""

    def load_state_dict(self, state: Mapping[str, Tensor], /, strict: bool) -> object:
        """Take values by name."""

    def state_from(self, file: WeightFile) -> dict[str, Tensor]:
        """Return the values of a foreign file under the model's own names."""


def architecture(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a model's configuration that its weights depend on."""
    return {key: value for key, value in options.items() if key not in USE_TIME_OPTIONS}


def parameters_hash(model: nn.Module) -> str | None:
    """Return SHA-256 (hex) of a model's own values, if it has any."""
    state = model.state_dict()
    return hash_values(state) if state else None


def save_weights(
    model: nn.Module, path: Path, options: Mapping[str, Any], card: Mapping[str, str]
) -> None:
    """Write `weights_bytes` to a file, whole; folders are made."""
    data = weights_bytes(model, options, card)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        # Not safetensors' `save_file`, which makes files that nobody else may read.
        partial.write_bytes(data)


def weights_bytes(model: nn.Module, options: Mapping[str, Any], card: Mapping[str, str]) -> bytes:
    """Return a weight file: a model's weights in half precision, with its card.

    Half precision halves the file; values are rounded once, here, so every reader computes in
    float32 with the same numbers. The card holds the hash of the values, so that damage is
    noticed. Equal arguments give equal bytes.

    Args:
        model: The model.
        options: The model's configuration.
        card: Further entries of the card, such as the data set.

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
    """A safetensors file whose metadata, written in a random order, are sorted by name."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # as the format aligns its tensors
    return len(text).to_bytes(8, "little") + text + data[start:]


def load_weights(model: Loadable, file: WeightFile, options: Mapping[str, Any]) -> None:
    """Load a weight file strictly, and set the model's `weights_hash` and `card`.

    Args:
        model: Model to fill; it keeps its own precision.
        file: What `read_weights` returned.
        options: The model's configuration, compared with the file's card if it has one.

    Raises:
        ValueError: Another configuration, missing or unexpected keys, another shape, or values
            that are not finite.
    """
    path, card = file.path, dict(file.card)
    if _VALUES in card and card[_VALUES] != hash_values(file.content):
        raise ValueError(
            f"{path} is damaged: its values are not those that were written to it; copy or train "
            "it anew"
        )
    _check_architecture(path, card, options)
    # A file of this project holds the model's own names; others are the family's business.
    tensors = file.state_dict() if "architecture" in card else model.state_from(file)
    # A model may hold a compiled or parallel network: names are compared without such marks.
    state = model.state_dict()
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
            f"{path} does not fit model {model.name}: {len(missing)} keys missing {missing[:3]}, "
            f"{len(extra)} unexpected {extra[:3]}, {len(wrong)} of another shape {wrong[:3]}; "
            f"make the model's options (in its YAML, or {ROLE}.OPTION=VALUE) equal to those it "
            "was trained with"
        )
    typed = {names[key]: value.to(own[key].dtype) for key, value in tensors.items()}
    model.load_state_dict(typed, strict=True)
    for key, value in model.state_dict().items():
        if not (value.is_floating_point() or value.is_complex()):
            continue
        # Dtypes of 8 bits have no `isfinite`.
        if not bool(torch.isfinite(value.float() if value.itemsize == 1 else value).all()):
            raise ValueError(f"{path}: weight {key} has values that are not finite")
    model.weights_hash = file.sha256
    model.card = card


def _check_architecture(path: Path, card: Mapping[str, str], options: Mapping[str, Any]) -> None:
    if "architecture" not in card:
        return
    # Cards written before an option became one of use name it still.
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
                "size with `python -m stitching.train`"
            )
        raise ValueError(f"{path} was trained with other options: {'; '.join(wrong)}: {hint}")
