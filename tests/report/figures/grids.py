"""Cells as runs leave them, for figures."""

from stitching.results.grid import read_grid
from tests.report.made import drawn, make_cell, make_pictures, scores

ATTRIBUTES = ("Male", "No_Beard")

IMAGES = {"latent__mse": 0.4, "image__lpips": 0.2, "image__fd_effnet": 30.0}


def probed(own=0.9, majority=0.6, match=0.8, delta=-0.1, attributes=ATTRIBUTES):
    """Facts of a cell with probes: the same numbers for each attribute and their mean."""
    facts = {"probe__n_test": 20, "protocol": "strict"}
    measures = {"accuracy_own": own, "majority": majority, "consistency": match}
    for key, value in (measures | {"percent_delta": delta}).items():
        for end in ("", *(f"__{name}" for name in attributes)):
            place = f"probe__{key}{end}"
            facts |= {place: value, f"{place}.low": value - 0.05, f"{place}.high": value + 0.04}
    return facts


def make_grid(root, encoders=("random", "vae", "nf"), decoders=("vae", "nf"), size=8, **facts):
    """A grid of finished cells with pictures, images measured and probes."""
    pairs = [(e, d) for e in encoders for d in decoders]
    for number, (encoder, decoder) in enumerate(pairs):
        folder = make_cell(root, encoder, decoder, number, **(IMAGES | probed() | facts))
        make_pictures(folder, (10 * number, 0, 99), size=size)
    return read_grid(root)


def make_training(root, seen=(0, 1000, 5000), **facts):
    """Checkpoints of nf as decoders."""
    for number, images in enumerate(seen):
        weights = {"weights__decoder": f"hash {images}", "weights__decoder_images_seen": images}
        make_cell(root, "random", f"nf-{images}", number, **(probed() | weights | facts))
    return read_grid(root)


def measured(mean, **options):
    """A measure with draws, as `make_cell` takes them."""
    return drawn(scores(mean, **options))


def words(written):
    """Texts that were written, without options."""
    return [text for text, _ in written]
