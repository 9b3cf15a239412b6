"""Weights and expected values of public code, kept in `tests/data/parity` (see its README)."""

import lzma
from pathlib import Path

import torch
from safetensors.torch import load

from stitching import config
from stitching.weights.containers import read_weights
from stitching.weights.loading import load_weights

FOLDER = Path(__file__).parent / "data" / "parity"


def tensors(name):
    """All tensors of a packed safetensors file."""
    return load(lzma.decompress((FOLDER / name).read_bytes()))


def full_size_entries(name):
    """Name, dtype and shape of every entry of a full-size public state dict."""
    text = lzma.decompress((FOLDER / name).read_bytes()).decode()
    lines = [line.split(maxsplit=3)[1:] for line in text.splitlines()]
    return {name: (f"torch.{kind}", shape) for name, kind, shape in lines}


def full_size(name, **options):
    """The model of a published option at its full size, without memory."""
    plain = config.compose_config([f"encoder={name}"]).settings["encoder"]
    options = config.model_options(plain) | options
    with torch.device("meta"):
        return config.build(options)


def entries_of(state):
    """The same of a state dict."""
    return {name: (str(value.dtype), str(list(value.shape))) for name, value in state.items()}


def parameters_of(model):
    return sum(parameter.numel() for parameter in model.parameters())


def loaded(family, path, dtype=torch.float32, **options):
    """A model built and filled as `config.build_model` does it."""
    file = read_weights(path)
    completed = family.complete_options(options, file)
    model = family(**completed)
    load_weights(model, file, completed)
    return model.to(dtype).freeze()


def largest_difference(a, b):
    return float((a.double() - b.double()).abs().max())
