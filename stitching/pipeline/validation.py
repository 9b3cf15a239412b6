"""Choice of a map by R2 on held-out fit images, without test images."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from stitching.maps.matrix import Rows, blocks
from stitching.metrics.latent import latent_scores
from stitching.metrics.resampling import Estimate
from stitching.pipeline.cache import content_key
from stitching.pipeline.fitting import Fitting, PickedRows, Space

#: R2 needs two items to vary over, a map two to be fitted to.
_FEWEST = 2


def held_out(ids: Sequence[str], share: float, seed: int) -> Tensor:
    """Return which items are held out, (N,) bool.

    Each item is held out with probability `share`, by its id and the seed alone, whatever the
    order and number of items.

    Args:
        ids: Of the items.
        share: Between 0 and 1.
        seed: Seed of the choice.

    Raises:
        ValueError: share is not between 0 and 1, or fewer than 2 items are on one of the sides.
    """
    if not 0 < share < 1:
        raise ValueError(f"validation={share}: use a share of the fit images between 0 and 1")
    chosen = torch.tensor([_place(item, seed) < share for item in ids], dtype=torch.bool)
    n = int(chosen.sum())
    if min(n, len(ids) - n) < _FEWEST:
        raise ValueError(
            f"validation={share} holds out {n} of {len(ids)} fit images: at least {_FEWEST} are "
            "needed on both sides, so raise data.n_train, or change the share"
        )
    return chosen


def validation_r2(
    fitting: Fitting, source: Space, target: Space, ids: Sequence[str], share: float, seed: int
) -> float:
    """Fit the map to a part of the fit images, and return R2 of the target's latents on the rest.

    Both parts are of the training latents.

    Args:
        fitting: With the map to score.
        source: Space of the encoder.
        target: Space of the decoder.
        ids: Of the training latents, N.
        share: Of the images to hold out, see `held_out`.
        seed: Of that choice.

    Returns:
        `latent/r2` of the held-out images; 1 is perfect, 0 is their mean, no lower bound.

    Raises:
        ValueError: Both are one space, so that there is no map to choose; `held_out` fails; or
            the target's latents do not vary over the held-out images.
    """
    if source.frozen.identity() == target.frozen.identity():
        raise ValueError(
            "validation scores a map between two spaces, but encoder and decoder are the same "
            f"model, {source.frozen.model.name}: choose two"
        )
    chosen = held_out(ids, share, seed)
    parts = [_divided(space, chosen, ids) for space in (source, target)]
    fitted = fitting.fit(*parts)
    mapped = fitting.apply(fitted, parts[0].test)
    scores = latent_scores(parts[1].test, mapped)
    r2 = scores["latent/r2"]
    if r2 is None:
        raise ValueError(f"validation: {scores['latent/r2_missing']}")
    assert isinstance(r2, Estimate)
    assert r2.value is not None
    return r2.value


def _place(item: str, seed: int) -> float:
    """Return a number in [0, 1) for an id under a seed."""
    text = f"validation {seed} {item}".encode("utf-8", "surrogateescape")
    # 53 bits are what a float holds exactly.
    return (int.from_bytes(hashlib.sha256(text).digest()[:8]) >> 11) / 2**53


def _divided(space: Space, chosen: Tensor, ids: Sequence[str]) -> Space:
    """Return a space with the chosen items for testing and the others for fitting."""
    if space.train.shape[0] != len(ids):
        raise ValueError(
            f"{space.frozen.model.name} has {space.train.shape[0]} training latents but there "
            f"are {len(ids)} ids: give the ids of the split they are of"
        )
    kept, tried = (PickedRows(space.train, rows.nonzero()[:, 0]) for rows in (~chosen, chosen))
    in_memory = isinstance(space.train, Tensor)
    # Factorisations are cached by fingerprint.
    without = [item for item, out in zip(ids, chosen.tolist(), strict=True) if out]
    fingerprint = content_key({"images": space.fingerprint, "without": without})
    images = space.images
    return replace(
        space,
        fingerprint=fingerprint,
        train=_read(kept) if in_memory else kept,
        test=_read(tried),
        images=images.pick((~chosen).nonzero()[:, 0].tolist()) if images is not None else None,
    )


def _read(rows: Rows) -> Tensor:
    return torch.cat([rows[part] for part in blocks(rows.shape[0])])
