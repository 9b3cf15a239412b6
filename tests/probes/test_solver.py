import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from stitching.probes import Coordinates
from stitching.probes.solver import log_losses, minimise
from tests.probes.clouds import two_clouds


def problem(width=30):
    latents, labels = two_clouds(20, 30, width)
    coordinates = Coordinates(latents.double())
    return coordinates, torch.from_numpy(labels[None]).double()


def solve(coordinates, targets, kept, alphas, tolerance=1e-9):
    alphas = torch.tensor(alphas, dtype=torch.float64)
    return minimise(
        coordinates.points, coordinates.squares, targets, kept, alphas, tolerance, 1000
    )


def test_problems_side_by_side_have_the_minima_of_each_alone():
    coordinates, targets = problem()
    kept = (torch.arange(50) % 5 != torch.arange(3)[:, None]).double()
    alphas = [0.01, 1.0, 100.0]
    together = solve(coordinates, targets, kept, alphas)
    for k in range(3):
        alone = solve(coordinates, targets, kept[[k]], alphas[k : k + 1])
        torch.testing.assert_close(together.weight[[k]], alone.weight, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(together.bias[[k]], alone.bias, rtol=1e-6, atol=1e-9)


def test_items_that_do_not_count_change_nothing():
    coordinates, targets = problem()
    kept = (torch.arange(50) < 40).double()[None]
    flipped = torch.where(kept > 0, targets, 1 - targets)
    first, second = (solve(coordinates, t, kept, [1.0]) for t in (targets, flipped))
    assert torch.equal(first.weight, second.weight)


def test_at_the_minimum_the_gradient_is_gone():
    coordinates, targets = problem()
    found = solve(coordinates, targets, torch.ones(1, 50), [0.5])
    logits = coordinates.points @ found.weight[0, 0] + found.bias[0]
    residual = logits.sigmoid() - targets[0]
    torch.testing.assert_close(
        coordinates.points.T @ residual, -0.5 * found.weight[0, 0], rtol=1e-6, atol=1e-8
    )
    assert float(residual.mean()) == pytest.approx(0, abs=1e-9)
    assert float(found.gradient) <= 1e-9


def test_iterations_stop_at_the_limit():
    coordinates, targets = problem()
    found = minimise(
        coordinates.points,
        coordinates.squares,
        targets,
        torch.ones(2, 50),
        torch.tensor([1e-4, 1e9]).double(),
        1e-9,
        4,
    )
    assert found.n_iter.tolist()[0] == 4
    assert found.converged.tolist() == [False, True]


@pytest.mark.parametrize("n_classes", [1, 3])
def test_log_losses_are_those_of_scikit_learn(n_classes):
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.standard_normal((n_classes, 20)) * 3)
    labels = rng.integers(0, max(2, n_classes), 20)
    classes = torch.arange(n_classes)[:, None] if n_classes > 1 else torch.ones(1, 1)
    targets = (torch.from_numpy(labels) == classes).double()
    shares = logits.sigmoid()[0] if n_classes == 1 else logits.softmax(0).T
    expected = log_loss(labels, shares.numpy())
    assert float(log_losses(logits, targets).mean()) == pytest.approx(expected)
