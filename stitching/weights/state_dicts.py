"""State dicts: names without the marks of wrappers, and a hash of values of any dtype."""

import hashlib
from collections.abc import Iterable, Mapping
from itertools import groupby

import torch
from torch import Tensor

#: Parts of names added by wrappers: `torch.compile`, sharded training, recomputed activations.
_MARKS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
#: Added by parallel wrappers and averaged models; a layer may have this name too.
_MODULE = "module"
#: Buffer of `torch.optim.swa_utils.AveragedModel`.
_COUNTER = "n_averaged"


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Return the names of a state dict without the parts that wrappers add.

    These are `_orig_mod` (`torch.compile`) and the marks of sharding and recomputation anywhere,
    and `module` (`DataParallel`) where all names of a network, or of a submodule, have it.

    Returns:
        The plain name by the name given, in the order given.

    Raises:
        ValueError: Two names become one.
    """
    given = list(names)
    parts = [[p for p in name.split(".") if p not in _MARKS] or [name] for name in given]
    plain = dict(zip(given, _without_module(parts), strict=True))
    first: dict[str, str] = {}
    for name, short in plain.items():
        if short in first:
            raise ValueError(
                f"{first[short]!r} and {name!r} are both {short!r} without the marks of wrappers "
                "such as torch.compile: save one of the two networks alone"
            )
        first[short] = name
    return plain


def unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict under its `plain_names`; an averaged model's counter is left out.

    Raises:
        ValueError: Two names become one.
    """
    names = [name for name in state if name != _COUNTER]
    if not names or not all(name.startswith(f"{_MODULE}.") for name in names):
        names = list(state)
    return {short: state[name] for name, short in plain_names(names).items()}


def hash_values(state: Mapping[str, Tensor]) -> str:
    """Return SHA-256 (hex) of names and values, of any dtype that torch has.

    Dtypes that numpy has too are hashed by their bytes alone.
    """
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode())
        value = state[key].detach().cpu().resolve_conj().resolve_neg().contiguous()
        try:
            value.numpy()
        except TypeError:  # of equal bytes, such as float16 and bfloat16
            digest.update(str(value.dtype).encode())
        if value.is_quantized:
            digest.update(_quantisation(value))
            value = value.int_repr()
        digest.update(value.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _quantisation(value: Tensor) -> bytes:
    """Scales and zero points, as text."""
    if value.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return repr((value.q_scale(), value.q_zero_point())).encode()
    scales, zeros = value.q_per_channel_scales(), value.q_per_channel_zero_points()
    return repr((scales.tolist(), zeros.tolist(), value.q_per_channel_axis())).encode()


def _without_module(paths: list[list[str]]) -> list[str]:
    """Join paths, without `module` where all paths of the same prefix have it."""
    while paths and all(len(path) > 1 and path[0] == _MODULE for path in paths):
        paths = [path[1:] for path in paths]
    joined = [""] * len(paths)
    order = sorted(range(len(paths)), key=lambda i: paths[i][0])
    for first, group in groupby(order, key=lambda i: paths[i][0]):
        places = list(group)
        inner = [i for i in places if len(paths[i]) > 1]
        rests = dict(zip(inner, _without_module([paths[i][1:] for i in inner]), strict=True))
        for i in places:
            joined[i] = f"{first}.{rests[i]}" if i in rests else first
    return joined
