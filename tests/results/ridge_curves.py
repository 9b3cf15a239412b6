"""Learning curves of ridge regression whose population value is known."""

import numpy as np
from sklearn.linear_model import RidgeCV

from stitching.results.differences import Quantity

SIZES = (100, 200, 400, 800, 1600)

#: Width of the source, decay of its spectrum, and noise for a signal of variance 1.
CASES = ((120, 1.5, 0.1), (120, 2.0, 1.0), (60, 1.0, 0.2))


def ridge_curve(rng, width, decay, noise, sizes=SIZES, n_test=200, n_draws=100):
    """R2 at each size with draws, and the population R2.

    Eigenvalues of the source are powers i^-decay, as of images. No map predicts the noise, so
    the population R2 is 1 / (1 + noise). Fit images of sizes are nested, test images shared.
    """
    scale = np.arange(1, width + 1.0) ** (-decay / 2)
    slopes = rng.normal(size=(width, 4))
    slopes /= np.sqrt(((scale[:, None] * slopes) ** 2).sum(0))

    def draw(n):
        x = rng.normal(size=(n, width)) * scale
        return x, x @ slopes + np.sqrt(noise) * rng.normal(size=(n, 4))

    (x, y), (x_test, y_test) = draw(max(sizes)), draw(n_test)
    counts = rng.multinomial(n_test, np.full(n_test, 1 / n_test), n_draws) / n_test
    values = []
    for size in sizes:
        fitted = RidgeCV(np.logspace(-2, 3, 11)).fit(x[:size], y[:size])
        error = ((y_test - fitted.predict(x_test)) ** 2).sum(1)
        total = ((y_test - y_test.mean(0)) ** 2).sum(1)
        draws = 1 - (counts @ error) / (counts @ total)
        values.append(Quantity(1 - error.sum() / total.sum(), draws, ("test ids", n_test)))
    return values, 1 / (1 + noise)
