"""Pseudo-items: what a resample of the test items cannot contain because none of them shows it.

Where all of n predictions are right, so they are in every resample: the bootstrap's interval is
[1, 1], however small n is. Each draw therefore counts a few pseudo-items beside its items, one for
every combination of true label and predictions, with weights of a Gamma distribution that add up
to about two items. The draws of a share are then close to its posterior under a Beta prior, whose
interval of k of n covers as it should up to k = n. Values have no pseudo-items.

Weights depend on a seed, the label's name and the number of draws, not on the predictions: in all
cells draw k has the same pseudo-items, so differences between cells stay paired. In an average of
A labels each label has a part of one set of pseudo-items, shape / A: A times as many predictions
were made, and pseudo-items of every label would move the average as much as those of one move it.

Shapes were chosen by simulation, see docs/MEASURES.md. A prior of 1/2 for either outcome is
Jeffreys' (Brown, Cai and DasGupta 2001, doi:10.1214/ss/1009213286); near a share of 1 its
interval covers too seldom, one of 1 too often.
"""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

#: Shape of a pseudo-item on which both predictions are equal, and of one on which they differ; of
#: two classes there are four each. Shares have a prior of 1/2 to 1 for either outcome.
EQUAL, DIFFERENT = 1 / 8, 1 / 4

#: Shapes of two classes by truth, own and mapped prediction: 000, 001, 010, 011, 100, ...
BINARY = tuple(
    EQUAL if own == mapped else DIFFERENT for _ in (0, 1) for own in (0, 1) for mapped in (0, 1)
)


def pseudo_weights(
    shapes: Sequence[float], name: str, n_draws: int, seed: int, n_labels: int = 1
) -> Tensor:
    """Return weights of pseudo-items in every sample.

    Args:
        shapes: Shapes of their Gamma distributions, > 0, P numbers.
        name: Of the label: each has weights of its own.
        n_draws: Number R of draws.
        seed: Of the resamples.
        n_labels: Number of labels that are averaged.

    Returns:
        Shape (P, 1 + R), float64; 0 in sample 0, which is the value.
    """
    digest = hashlib.sha256(f"pseudo/{n_labels}/{name}".encode()).digest()
    generator = np.random.Generator(np.random.PCG64([seed, int.from_bytes(digest[:8])]))
    weights = np.zeros((len(shapes), 1 + n_draws))
    scaled = np.array(shapes, dtype=np.float64)[:, None] / n_labels
    weights[:, 1:] = generator.standard_gamma(scaled, (len(shapes), n_draws))
    return torch.from_numpy(weights)


def with_pseudo(
    measures: Callable[[Tensor], dict[str, Tensor]], pseudo: Tensor
) -> dict[str, Tensor]:
    """Return measures with pseudo-items, NaN where those of the items alone are undefined.

    Args:
        measures: Returns measures (S,) by name; takes weights of pseudo-items (P, S).
        pseudo: These weights.
    """
    alone = measures(torch.zeros_like(pseudo))
    found = measures(pseudo)
    return {
        name: samples.where(~alone[name].isnan(), torch.nan) for name, samples in found.items()
    }
