"""Quality of what models draw: `samples.json` in the folder of a sweep.

    {"measure": "kd_effnet", "n": 512, "models": [{"name": "vae", "weights": SHA, "value": 0.8}]}

`value` is a distance of samples to real images: lower is better. `tests/benchmarks/samples.py`
writes the file. Cells do not have the number, as no cell draws samples.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

FILE = "samples.json"


def read_samples(folder: Path) -> tuple[str, dict[str, float]]:
    """Return the measure, and its value for each model by the hash of its weights.

    Returns:
        "" and an empty dictionary without the file.

    Raises:
        ValueError: The file has other contents.
    """
    path = folder / FILE
    if not path.is_file():
        return "", {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        values = {str(x["weights"]): float(x["value"]) for x in found["models"]}
        measure = str(found["measure"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} ({type(error).__name__}: {error}): needs measure, and for each of its models "
            "weights and value; write it with tests/benchmarks/samples.py, or remove it"
        ) from None
    if not all(map(math.isfinite, values.values())):
        raise ValueError(f"{path}: every value must be a finite number, found {values}")
    return measure, values
