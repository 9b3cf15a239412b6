"""Grids in which it is known how much of an image, an attribute or a class comes through."""

import numpy as np

from stitching.claims import read_evidence
from tests.report.made import drawn, make_cell, scores

MODELS = ("vae", "vqvae", "nf", "dm")
WIDTHS = {"vae": 512, "vqvae": 768, "nf": 12288, "dm": 12288, "gan": 512, "random": 512}
FLOOR, OWN = 0.08, 0.02


def make_grid(
    root,
    models=MODELS,
    share=0.8,
    gain=0.1,
    beyond=0.2,
    noise=0.002,
    shared=0.005,
    rows=("random",),
    extra=None,
    **facts,
):
    """Cells of models, rows of controls and the diagonal, of which a share comes through.

    Args:
        root: Folder.
        models: Names.
        share: Recovered share of off-diagonal pairs: a number, or a function of (encoder,
            decoder) that may return None for a cell that is not there.
        gain: Gain over both controls, as a share of their error; or such a function.
        beyond: R2 beyond pixels, or such a function.
        noise: Standard deviation over items that a cell does not share with others.
        shared: The same, shared by all cells.
        rows: Encoders besides the models.
        extra: Function of (encoder, decoder) that returns more draws for a cell.
        facts: Of every cell.
    """
    root.mkdir(parents=True, exist_ok=True)
    pairs = [(e, d) for e in (*rows, *models) for d in models]
    for number, (encoder, decoder) in enumerate(pairs):
        kept: float | None = {"random": 0.0, decoder: 1.0}.get(encoder)
        if kept is None:
            kept = share(encoder, decoder) if callable(share) else share
        if kept is None:
            continue
        level = FLOOR - kept * (FLOOR - OWN)
        items = scores(level, shared=shared, own=noise, seed=number + 1)
        draws = {"image/rmse": drawn(items, np.sqrt), "image/lpips": drawn(items)}
        if encoder != decoder:
            values = [x(encoder, decoder) if callable(x) else x for x in (gain, beyond)]
            draws |= contrasts(draws, *values, noise, number)
        draws |= extra(encoder, decoder) if extra else {}
        make_cell(
            root, encoder, decoder, number, draws=draws, **(widths(encoder, decoder) | facts)
        )
    return root


def contrasts(draws, gain, beyond, noise, seed):
    """Gains over the controls, of whose error they are a share, and what is beyond pixels."""
    found = {"latent/r2_beyond_pixels": drawn(scores(beyond, own=10 * noise, seed=seed + 50))}
    for key in ("image/rmse", "image/lpips"):
        error = draws[key][0]
        for place, end in enumerate(("", "_pca")):
            mean, seeds = gain / (1 - gain) * error, seed + 100 * (place + 1)
            found[f"{key}_gain{end}"] = drawn(scores(mean, own=noise, seed=seeds))
    return found


def widths(encoder, decoder):
    ends = [WIDTHS.get(name.removesuffix("-2"), 512) for name in (encoder, decoder)]
    return dict(zip(("d_source", "d_target"), ends, strict=True))


def answer(claim, *roots):
    """The answer of the only grid to a claim."""
    (evidence,) = read_evidence(roots)
    assert claim.applies(evidence)
    return claim.assess(evidence)


def values(numbers):
    return {number.name: number.quantity.value for number in numbers}
