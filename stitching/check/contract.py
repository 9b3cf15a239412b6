"""Checks of the contract of `GenerativeModel`, for every family."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from stitching.check.findings import Finding, Level
from stitching.check.spying import recorded
from stitching.models.base import GenerativeModel

#: Largest difference between an item alone and in a batch, in units of the output's spread:
#: rounding of other kernels stays below, a dependence on the batch does not.
TOLERANCE = 1e-4
#: Items that are passed alone; on the CPU each costs a whole pass.
_ALONE = 2

Function = Callable[[Tensor], Tensor]


def latent_shape(model: GenerativeModel, x: Tensor) -> Finding:
    """Compare the shape that `_encode` returns with `latent_shape`."""
    check, declared = "latent shape", tuple(model.latent_shape)
    with recorded(model, "_encode") as seen:
        model.encode(x)
    shape = tuple(seen[0][1].shape[1:])
    width = seen[0][1][0].numel()
    if width != model.latent_dim:
        text = (
            f"_encode returns {shape} per image, {width} values; latent_shape is {declared}, "
            f"{model.latent_dim} values"
        )
        return Finding(check, Level.FAIL, text)
    if shape != declared:
        text = f"_encode returns {shape} per image, latent_shape is {declared}: declare the former"
        return Finding(check, Level.WARNING, text)
    return Finding(check, Level.OK, f"{declared} per image, {width} values, as declared")


def image_shape(model: GenerativeModel, z: Tensor) -> Finding:
    """Check the shape that `_decode` returns."""
    check, expected = "image shape", (3, model.image_size, model.image_size)
    with recorded(model, "_decode") as seen:
        model.decode(z)
    shape = tuple(seen[0][1].shape[1:])
    if shape != expected:
        text = f"_decode returns {shape} per latent, images are {expected}"
        return Finding(check, Level.FAIL, text)
    return Finding(check, Level.OK, f"{expected} per latent, as image_size says")


def finite(check: str, values: Tensor) -> Finding:
    """Check that all values are finite."""
    bad = ~values.flatten(1).isfinite().all(1)
    text = f"{int(bad.sum())} of {len(values)} items with values that are not finite"
    if bool(bad.any()):
        return Finding(check, Level.FAIL, text)
    return Finding(check, Level.OK, f"all, from {values.min():.4g} to {values.max():.4g}")


def repeatable(check: str, function: Function, items: Tensor, remedy: str) -> Finding:
    """Run `encode` or `decode` three times, the last time under another seed, and compare."""
    with _seeded(1):
        first = function(items)
        second = function(items)
    with _seeded(2):
        third = function(items)
    worst = max(_distance(first, second), _distance(first, third))
    text = (
        f"a repeat and another seed differ by {worst:.2g} standard deviations at most (1 is "
        f"{_spread(first):.3g})"
    )
    if worst > TOLERANCE:
        return Finding(check, Level.FAIL, f"{text}: {remedy}")
    return Finding(check, Level.OK if worst == 0 else Level.WARNING, text)


def batch_independent(check: str, function: Function, items: Tensor) -> Finding:
    """Compare items passed alone, by sevens, and all at once."""
    together = function(items)
    sevens = torch.cat([function(part) for part in items.split(7)])
    alone = torch.cat([function(part) for part in items[:_ALONE].split(1)])
    by_seven = _distance(together, sevens)
    by_one = _distance(together[:_ALONE], alone, _spread(together))
    text = (
        f"differences to all {len(items)} at once: {by_one:.2g} alone, {by_seven:.2g} by sevens, "
        f"in standard deviations; up to {TOLERANCE:g} is rounding"
    )
    if max(by_one, by_seven) > TOLERANCE:
        text += ": something looks at the whole batch, such as batch-norm in training mode"
        return Finding(check, Level.FAIL, text)
    return Finding(check, Level.OK, text)


def evaluation_mode(model: GenerativeModel, run: Callable[[], object]) -> Finding:
    """Look for submodules in training mode before, in and after `run`, and for changed values."""
    check = "evaluation mode"
    found: set[str] = set()

    def note(name: str, module: nn.Module, _: object = None) -> None:
        if module.training:
            found.add(name)

    before = {name: value.clone() for name, value in model.state_dict().items()}
    handles = []
    for name, module in model.named_modules():
        note(name, module)
        handles.append(module.register_forward_pre_hook(partial(note, name)))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    for name, module in model.named_modules():
        note(name, module)
    after = model.state_dict()
    changed = [name for name, value in before.items() if not _equal(value, after[name])]
    problems = []
    if found:
        names = sorted(name or type(model).__name__ for name in found)
        problems.append(f"modules in training mode: {_few(names)} ({len(names)})")
    if changed:
        problems.append(f"a pass changes values of the model: {_few(changed)} ({len(changed)})")
    if problems:
        remedy = "leave train and eval to the base class, keep no statistics of a batch"
        return Finding(check, Level.FAIL, f"{'; '.join(problems)}: {remedy}")
    count = sum(1 for _ in model.modules())
    return Finding(check, Level.OK, f"all {count} modules; a pass changes no value of the model")


def gradients_frozen(model: GenerativeModel) -> Finding:
    """Check that no parameter requires a gradient."""
    free = [name for name, value in model.named_parameters() if value.requires_grad]
    count = sum(value.numel() for value in model.parameters())
    if free:
        text = f"{len(free)} parameters require them: {_few(free)}: leave that to freeze()"
        return Finding("gradients", Level.FAIL, text)
    return Finding("gradients", Level.OK, f"off for all {count:,} parameters")


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of torch, numpy and Python, and restore them afterwards."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 a model may use it
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def _spread(values: Tensor) -> float:
    """Standard deviation over all values; 1 where it is 0 or NaN."""
    spread = float(values.double().std())
    return spread if spread > 0 else 1.0


def _distance(first: Tensor, second: Tensor, spread: float | None = None) -> float:
    difference = (first.double() - second.double()).abs().max()
    return float(difference) / (spread or _spread(first))


def _equal(first: Tensor, second: Tensor) -> bool:
    # Not `torch.equal`, for which NaN differs from NaN.
    return bool(((first == second) | (first.isnan() & second.isnan())).all())


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
