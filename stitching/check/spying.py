"""Record or change the arguments and results of a model's `_encode` and `_decode`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor

from stitching.models.base import GenerativeModel

Wrapper = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]


@contextmanager
def wrapped(model: GenerativeModel, **wrappers: Wrapper) -> Iterator[None]:
    """Wrap `_encode` or `_decode` of a model within a context.

    A wrapper is called with the method and its argument, and returns the result.
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
    """Yield a list of arguments and results of `_encode` or `_decode`, in the network's range."""
    seen: list[tuple[Tensor, Tensor]] = []

    def record(method: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        # A copy, because the method may write into its argument.
        before = x.clone()
        out = method(x)
        seen.append((before, out))
        return out

    with wrapped(model, **{name: record}):
        yield seen
