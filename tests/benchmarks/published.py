"""Write the measured tables of README.md and docs/ZOO.md from files, so that none is typed.

python tests/benchmarks/published.py grid SWEEP      # README.md and docs/grid.png
python tests/benchmarks/published.py zoo ZOO.json    # docs/ZOO.md, from benchmarks/zoo.py
"""

import json
import re
import shutil
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[2]
MODELS = ["vae", "nf", "vqvae", "dm"]
COLUMNS = {
    "RMSE": ("image/rmse", ".3f"),
    "R2": ("latent/r2", ".2f"),
    "probes": ("probe/consistency", ".2f"),
}


def replace(path, name, text):
    """Replace what stands between `<!-- name -->` and `<!-- /name -->`."""
    marks = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    old = path.read_text()
    new, count = re.subn(marks, lambda m: m[1] + text + m[2], old, flags=re.DOTALL)
    if count != 1:
        sys.exit(f"{path} has {count} blocks named {name}")
    path.write_text(new)


def table(head, rows, align):
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in [head, *rows]]
    return "\n".join([lines[0], "|" + "|".join(align) + "|", *lines[1:]]) + "\n"


def grid(folder):
    """The grid of a sweep, encoders down, decoders across, measure by measure."""
    cells = pd.read_csv(folder / "grid.csv")
    head, rows = [""], {name: [f"`{name}`"] for name in ["random", *MODELS]}
    for title, (key, form) in COLUMNS.items():
        values = cells.pivot(index="encoder", columns="decoder", values=key)
        for decoder in MODELS:
            head.append(f"{title} `{decoder}`")
            for encoder, row in rows.items():
                row.append(format(values.loc[encoder, decoder], form))
    first = cells.iloc[0]
    minutes, seconds = divmod(round(cells["time/total_s"].sum()), 60)
    text = table(head, rows.values(), ["---"] + ["---:"] * (len(head) - 1))
    text += (
        f"\n{first['n_train']:,} drawn faces to fit, {first['n_test']} to test, {first['dtype']}; "
        f"{len(cells)} cells in {minutes} min {seconds} s on 2 CPU cores without AVX-512, "
        f"{cells['count/images_encoded'].sum():,} images encoded, none cached before.\n"
    )
    replace(ROOT / "README.md", "grid", text)
    shutil.copyfile(folder / "pictures.png", ROOT / "docs" / "grid.png")


def zoo(path):
    """Reconstruction and samples of each model, and the floors."""
    found = json.loads(path.read_text())
    n, rows = found.pop("n"), []
    for name, row in found.items():
        if not isinstance(row, dict):
            rows.append([name, "", "", f"{row:.0f}"])
            continue
        keys = {"rmse": "#.2g", "fd_effnet_reconstructions": ".0f", "fd_effnet_samples": ".0f"}
        shown = [format(row[key], form) if key in row else "" for key, form in keys.items()]
        rows.append([f"`{name}`", *shown])
    head = ["model", "own reconstruction, RMSE", "reconstructions, Fréchet", "samples, Fréchet"]
    text = table(head, rows, ["---", "---:", "---:", "---:"])
    replace(ROOT / "docs" / "ZOO.md", "zoo", text + f"\n{n} held-out faces.\n")


if __name__ == "__main__":
    {"grid": grid, "zoo": zoo}[sys.argv[1]](Path(sys.argv[2]))
