"""Folders of cells as runs leave them, made from a score for each test item."""

import csv
import json
from functools import cache

import numpy as np
import pandas as pd
from PIL import Image

N, R = 60, 200

#: Files of every report of one grid, beside its pictures.
TABLES = {"summary.csv", "grid.parquet", "table.md", "table.tex"}

#: Those with measures besides the main ones.
APPENDIX = {"tables.md", "tables.tex"}


@cache
def weights(n=N, r=R):
    """Weight of each item in each resample, (r, n); the same for all cells, as in runs."""
    return np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=r) / n


def write(folder, name, values):
    (folder / name).write_text(json.dumps(values))


def scores(mean, *, shared=0.0, own=0.0, seed=1, n=N):
    """Scores of n items with a mean: difficulty that all cells share, and noise of its own."""

    def standard(seed):
        noise = np.random.default_rng([seed, n]).normal(size=n)
        return (noise - noise.mean()) / noise.std()

    return mean + shared * standard(0) + own * standard(seed)


def drawn(items, function=lambda mean: mean):
    """The value and the draws of a function of the mean score."""
    items = np.asarray(items, dtype=np.float64)
    return float(function(items.mean())), function(weights(len(items)) @ items)


def make_cell(
    root, encoder, decoder, number=0, *, sweep="s1", state="done", draws=None, config=None, **facts
):
    """Write the files of a cell as a run does.

    `facts` have __ for /; `draws` is key to (value, draws), as `drawn` returns them.
    """
    folder = root / f"{encoder}-to-{decoder}_{number}"
    folder.mkdir(parents=True)
    error = {"error": "ValueError: broken"} if state == "failed" else {}
    write(folder, "status.json", {"state": state, "sweep": sweep} | error)
    if config is not None:
        write(folder, "config.yaml", config)  # JSON is YAML
    if state == "done":
        kind = "identity" if encoder == decoder else "ridge"
        metrics = {"encoder": encoder, "decoder": decoder, "data": "faces", "map": kind}
        metrics |= {"n_train": 100, "n_test": 20, "seed": 0, "image/rmse": 0.1}
        if draws:
            metrics |= {"data/test_ids": "ids", "n_test": N} | with_draws(folder, draws)
        metrics |= {key.replace("__", "/"): value for key, value in facts.items()}
        write(folder, "metrics.json", metrics)
        write(folder, "resources.json", {"time/total_s": 1.5, "sweep": sweep})
    return folder


def with_draws(folder, draws):
    """Write `resamples.npz`, and return what `metrics.json` says of these measures."""
    metrics = {}
    for key, (value, found) in draws.items():
        low, high = np.percentile(found, [2.5, 97.5])
        metrics |= {key: value, f"{key}.low": float(low), f"{key}.high": float(high)}
    arrays = {key: found.astype(np.float32) for key, (_, found) in draws.items()}
    np.savez(folder / "resamples.npz", **arrays)
    return metrics


def make_sweep(root, encoders=("vae", "nf"), decoders=("vae", "nf"), **facts):
    pairs = [(e, d) for e in encoders for d in decoders]
    for number, (encoder, decoder) in enumerate(pairs):
        make_cell(root, encoder, decoder, number, **facts)
    return root


def make_pictures(folder, stitched, original=(0, 0, 0), size=4):
    for name, colour in (("picture", stitched), ("picture_original", original)):
        Image.new("RGB", (size, size), colour).save(folder / f"{name}.png")


def cells_of(folder):
    """All values of the finished cells in a report's folder, one row each."""
    frame = pd.read_parquet(folder / "grid.parquet")
    return pd.concat([frame, pd.DataFrame([frame.attrs] * len(frame))], axis=1)


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
