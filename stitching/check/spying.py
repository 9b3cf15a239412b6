"""Look at what passes between the base class and a model, or change it on the way."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor

from stitching.models.base import GenerativeModel

Wrapper = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]


@contextmanager
def wrapped(model: GenerativeModel, **wrappers: Wrapper) -> Iterator[None]:
    """Put a function around a model's `_encode` or `_decode` for a while.

    Args:
        model: The model.
        wrappers: By method: takes the method and its argument and returns its result.
    """
    own = {name: vars(model).get(name) for name in wrappers}
    for name, wrapper in wrappers.items():
        method = getattr(model, name)
        vars(model)[name] = lambda x, method=method, wrapper=wrapper: wrapper(method, x)
    try:
        yield
    finally:
        for name, before in own.items():
            if before is None:
                vars(model).pop(name)
            else:
                vars(model)[name] = before


@contextmanager
def recorded(model: GenerativeModel, name: str) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Collect arguments and results of `_encode` or `_decode`, in the network's own range."""
    seen: list[tuple[Tensor, Tensor]] = []

    def record(method: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        # The argument as it came, should the method write into it.
        before = x.clone()
        out = method(x)
        seen.append((before, out))
        return out

    with wrapped(model, **{name: record}):
        yield seen
