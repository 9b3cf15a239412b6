"""Sweeps for pages, and a reader of pages that is independent of the code that writes them."""

import base64
import gzip
import json
import re

from PIL import Image

from stitching.report.page import write_page
from stitching.results.reading import read_cells
from tests.report.made import drawn, make_cell, scores, write

#: Text that would do harm if any of it were read as HTML or as the end of a script.
NASTY = "</script><b>bold</b><img src=x onerror=alert(1)>\"'&<!--"

PENALTY = "alpha,dof,cv_mse,chosen\n0.1,8.0,0.9,0.0\n1.0,6.0,0.5,0.0\n10.0,3.0,0.7,1.0\n"
RANKS = "rank,latent/r2,image/lpips\n1,0.1,0.5\n2,0.3,\n4,0.5,0.2\n"


def config_of(encoder, decoder, **settings):
    config = {
        "data": {"name": "faces", "n_train": 100},
        "map": {"alpha": None},
        "encoder": {"name": encoder},
        "decoder": {"name": decoder},
        "seed": 0,
    }
    for key, value in settings.items():
        part, _, name = key.rpartition("__")
        (config[part] if part else config)[name] = value
    return config


def write_config(folder, config):
    """Write settings as runs do: one block for each key."""
    lines = []
    for key, value in config.items():
        lines += (
            [f"{key}:", *(f"  {k}: {json.dumps(v)}" for k, v in value.items())]
            if (isinstance(value, dict))
            else [f"{key}: {json.dumps(value)}"]
        )
    (folder / "config.yaml").write_text("\n".join(lines) + "\n")


def cell(root, encoder, decoder, number, *, settings=None, seed=1, mean=0.1, **facts):
    """A finished cell with intervals, attributes, curves and a picture."""
    values = {
        "image/rmse": drawn(scores(mean, own=0.02, seed=seed)),
        "probe/kappa": drawn(scores(0.5 + mean, own=0.1, seed=seed)),
        "probe/kappa/Male": drawn(scores(0.6, own=0.1, seed=seed)),
        "probe/kappa/No_Beard": drawn(scores(0.4, own=0.1, seed=seed)),
    }
    folder = make_cell(root, encoder, decoder, number, draws=values, protocol="strict", **facts)
    write_config(folder, config_of(encoder, decoder, **(settings or {})))
    (folder / "penalty_curve.csv").write_text(PENALTY)
    (folder / "rank_curve.csv").write_text(RANKS)
    Image.new("RGB", (60, 30), (200, 40 * number % 255, 90)).save(folder / "reconstructions.png")
    return folder


def failed(root, encoder, decoder, number, error="ValueError: broken", **settings):
    folder = make_cell(root, encoder, decoder, number, state="failed")
    write(folder, "status.json", {"state": "failed", "sweep": "s1", "error": error})
    write_config(folder, config_of(encoder, decoder, **settings))
    (folder / "error.txt").write_text(f"Traceback (most recent call last):\n{error}\n")
    return folder


def sweep(root, encoders=("random", "vae", "nf"), decoders=("vae", "nf"), **facts):
    """A grid in which `random` to `nf` failed."""
    pairs = [(encoder, decoder) for encoder in encoders for decoder in decoders]
    for number, pair in enumerate(pairs):
        if pair == ("random", "nf"):
            failed(root, *pair, number)
        else:
            cell(root, *pair, number, seed=number, mean=0.1 + 0.05 * number, **facts)
    return root


def page_of(root, **options):
    cells, notes = read_cells(root)
    return write_page(root, cells, notes, **options)


class Page:
    """Contents of a page."""

    def __init__(self, path):
        self.html = path.read_text(encoding="utf-8")
        elements = re.findall(r'<script type="([\w/]+)" id="([\w-]+)">(.*?)</script>', self.html)
        found = {name: text for _, name, text in elements}
        self.index = json.loads(found.pop("index"))
        self.chunks = {
            name.removeprefix("chunk-"): json.loads(gzip.decompress(base64.b64decode(text)))
            for name, text in found.items()
        }


def read(root, **options):
    return Page(page_of(root, **options))
