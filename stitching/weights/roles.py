"""Error messages with the role of a model, and its options as typed for that role."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

#: Placeholder in messages of models: `<role>.weights=PATH` becomes `decoder.weights=PATH`.
ROLE = "<role>"
#: Roles whose options cannot be given on the command line.
_BY_NAME = frozenset({"via", "models"})
_OPTION = re.compile(re.escape(ROLE) + r"\.(\w+)=(\w+)")


@contextmanager
def naming_role(role: str, name: object) -> Iterator[None]:
    """Put role (such as `decoder`) and name into the message of an error of a model's building."""
    try:
        yield
    except (ValueError, TypeError, OSError, ModuleNotFoundError) as error:
        # The same exception, because callers use its class and other attributes.
        if len(error.args) == 1 and isinstance(error.args[0], str):
            error.args = (_named(error.args[0], role, name),)
        raise


def _named(text: str, role: str, name: object) -> str:
    typed = r"\1: \2 in the model's YAML" if role in _BY_NAME else rf"{role}.\1=\2"
    text = _OPTION.sub(typed, text)
    return text if text.startswith(f"{role}=") else f"{role}={name}: {text}"
