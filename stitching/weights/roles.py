"""Messages about a model name the role that it plays, and options as they are typed for it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

#: Stands in messages for the role of a model, which its own code does not know:
#: `<role>.weights=PATH` becomes `decoder.weights=PATH`.
ROLE = "<role>"
#: Roles whose options cannot be given on the command line.
_BY_NAME = frozenset({"via", "models"})
_OPTION = re.compile(re.escape(ROLE) + r"\.(\w+)=(\w+)")


@contextmanager
def naming_role(role: str, name: object) -> Iterator[None]:
    """Put the role into the message of an error that a model raises while it is built.

    Args:
        role: What precedes an option of the model on the command line, such as `decoder`.
        name: Of the model.
    """
    try:
        yield
    except (ValueError, TypeError, OSError, ModuleNotFoundError) as error:
        # The same exception: its class and its other attributes are what callers look at.
        if len(error.args) == 1 and isinstance(error.args[0], str):
            error.args = (_named(error.args[0], role, name),)
        raise


def _named(text: str, role: str, name: object) -> str:
    typed = r"\1: \2 in the model's YAML" if role in _BY_NAME else rf"{role}.\1=\2"
    text = _OPTION.sub(typed, text)
    return text if text.startswith(f"{role}=") else f"{role}={name}: {text}"
