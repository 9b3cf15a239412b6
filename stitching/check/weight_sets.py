"""Check whether a model uses the averaged or the raw weights of its file."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from stitching.check.findings import Finding, Level
from stitching.models.base import GenerativeModel
from stitching.weights.containers import WeightFile

#: Names of averaged weights in training code; without `exp_avg` of optimisers.
_AVERAGED = re.compile(
    r"(?:^|[^a-z])(?:ema|swa|averaged?|shadow|polyak)(?:[^a-z]|$)", re.IGNORECASE
)

#: Share of the model's tensors whose sizes a candidate set must have.
_COMPLETE = 0.9


@dataclass(frozen=True)
class WeightSet:
    """Tensors of one dict in a file, their place, and whether it is named like an average."""

    label: str
    tensors: tuple[Tensor, ...]
    averaged: bool


def weight_sets(content: Any, place: tuple[str, ...] = ()) -> Iterator[WeightSet]:
    """Yield the sets of tensors in nested dicts and lists.

    Tensors of one dict are two sets if some of their names have a part such as `ema`.
    """
    if isinstance(content, list | tuple):
        content = {f"entry {i}": value for i, value in enumerate(content)}
    if not isinstance(content, Mapping):
        return
    inside = any(_AVERAGED.search(part) for part in place)
    groups: dict[bool, list[Tensor]] = {False: [], True: []}
    for key, value in content.items():
        if isinstance(value, Tensor):
            groups[inside or _AVERAGED.search(str(key)) is not None].append(value)
        else:
            yield from weight_sets(value, (*place, str(key)))
    for averaged, tensors in groups.items():
        if tensors:
            label = "/".join(place) or "the file"
            label += ", the part named as averaged" if averaged and not inside else ""
            yield WeightSet(label, tuple(tensors), averaged)


def weights_in_use(model: GenerativeModel, file: WeightFile, averages: bool) -> Finding:
    """Identify the weight set of a file that a model uses, and check that it is the average.

    Tensors are compared by value, which recognises renamed and reshaped ones. If no set is named
    like an average, the last one counts as the average, as in DDIM's checkpoints. `averages` means
    that the model's recipe keeps an average.
    """
    check = "averaged weights"
    if "weights" in file.card:
        kind = file.card["weights"]
        if kind == "raw" and averages:
            text = "the file holds raw weights, but the model's recipe averages: train it again"
            return Finding(check, Level.WARNING, text)
        return Finding(check, Level.OK, f"the file's card says: {kind}")
    own = [value for value in model.parameters() if value.numel() > 1]
    if not own:
        return Finding(check, Level.SKIPPED, "the model has no weights")
    sizes, values = Counter(v.numel() for v in own), Counter(map(_signature, own))
    candidates = [
        found
        for found in weight_sets(file.content)
        if _share(Counter(t.numel() for t in found.tensors), sizes) >= _COMPLETE
    ]
    if len(candidates) < 2:
        return Finding(check, Level.OK, "the file holds one set of weights")
    shares = [_share(Counter(map(_signature, c.tensors)), values) for c in candidates]
    used = max(range(len(candidates)), key=lambda i: (shares[i], candidates[i].averaged))
    labels = " and ".join(c.label for c in candidates)
    if shares[used] < 0.5:
        text = f"the file holds {len(candidates)} sets of weights ({labels}), none as in the model"
        return Finding(check, Level.WARNING, f"{text}: make sure that the averaged ones are used")
    text = f"the file holds {labels}; in use: {candidates[used].label}"
    named = [c.averaged for c in candidates]
    best = named[used] if any(named) else used == len(candidates) - 1
    if best:
        return Finding(check, Level.OK, text)
    return Finding(check, Level.WARNING, f"{text}: take the averaged set, such as by ema=true")


def _signature(value: Tensor) -> tuple[int, str, str]:
    """Properties of a tensor that renaming, reshaping and transposing do not change."""
    flat = value.detach().cpu().double()
    return value.numel(), f"{float(flat.sum()):.6e}", f"{float(flat.square().sum()):.6e}"


def _share(there: Counter[Any], wanted: Counter[Any]) -> float:
    """Share of the wanted items that exist."""
    return (there & wanted).total() / wanted.total()
