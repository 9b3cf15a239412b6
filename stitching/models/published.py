"""What a published weight file says of its model, held against the configuration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def complete(options: Mapping[str, Any], found: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return options with nulls taken from the file.

    Args:
        options: As configured.
        found: What the file says, by the same names.
        path: The file, for the message.

    Raises:
        ValueError: An option says otherwise than the file.
    """
    wrong = [
        f"{key}={options[key]!r} but the file was made with {value!r}"
        for key, value in found.items()
        if options.get(key) is not None and options[key] != value
    ]
    if wrong:
        raise ValueError(
            f"{path} does not fit model {options.get('name')}: {'; '.join(wrong)}: change these "
            "options, or set them to null to take what the file says"
        )
    return {**options, **found}
