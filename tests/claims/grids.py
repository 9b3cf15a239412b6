"""Grids in which it is known how much of an image, an attribute or a class comes through."""

import numpy as np

from stitching.claims import read_evidence
from tests.report.made import drawn, make_cell, scores

MODELS = ("vae", "vqvae", "nf", "dm")
WIDTHS = {"vae": 512, "vqvae": 768, "nf": 12288, "dm": 12288, "gan": 512, "random": 512}
FLOOR, OWN = 0.08, 0.02


def make_grid(
    root, models=MODELS, share=0.8, noise=0.002, shared=0.005, floor=True, extra=None, **facts
):
    """Cells of models, `random` and the diagonal, of which a share of the image comes through.

    Args:
        root: Folder.
        models: Names.
        share: Recovered share of off-diagonal pairs: a number, or a function of (encoder,
            decoder) that may return None for a cell that is not there.
        noise: Standard deviation over items that a cell does not share with others.
        shared: The same, shared by all cells.
        floor: Whether there is the encoder `random`.
        extra: Function of (encoder, decoder) that returns more draws for a cell.
        facts: Of every cell.
    """
    root.mkdir(parents=True, exist_ok=True)
    pairs = [(e, d) for e in ([*(["random"] if floor else []), *models]) for d in models]
    for number, (encoder, decoder) in enumerate(pairs):
        kept: float | None = {"random": 0.0, decoder: 1.0}.get(encoder)
        if kept is None:
            kept = share(encoder, decoder) if callable(share) else share
        if kept is None:
            continue
        level = FLOOR - kept * (FLOOR - OWN)
        items = scores(level, shared=shared, own=noise, seed=number + 1)
        draws = {"image/rmse": drawn(items, np.sqrt), "image/lpips": drawn(items)}
        draws |= extra(encoder, decoder) if extra else {}
        make_cell(root, encoder, decoder, number, draws=draws, **widths(encoder, decoder), **facts)
    return root


def widths(encoder, decoder):
    return {"d_source": WIDTHS.get(encoder, 512), "d_target": WIDTHS.get(decoder, 512)}


def answer(claim, *roots):
    """The answer of the only grid to a claim."""
    (evidence,) = read_evidence(roots)
    assert claim.applies(evidence)
    return claim.assess(evidence)


def values(numbers):
    return {number.name: number.quantity.value for number in numbers}
