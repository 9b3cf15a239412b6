import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    roc_auc_score,
)

from stitching.metrics.agreement import (
    binary_measures,
    binary_table,
    centred_ranks,
    kappa,
    roc_auc,
)


def random_predictions(n, share, seed):
    return np.random.default_rng(seed).random(n) < share


def measured(first, second, truth):
    """Measures of two sets of predictions on all items."""
    table = binary_table(truth, first, second, torch.ones(len(truth), 1).double())
    found = binary_measures(table, False)
    return {name: float(samples) for name, samples in found.items()}


@pytest.mark.parametrize("seed", range(5))
def test_measures_equal_scikit_learn(seed):
    truth, first, second = (
        random_predictions(57, share, seed + k) for k, share in enumerate((0.3, 0.2, 0.4))
    )
    found = measured(first, second, truth)
    assert found["accuracy_own"] == pytest.approx(accuracy_score(truth, first))
    assert found["accuracy_mapped"] == pytest.approx(accuracy_score(truth, second))
    expected = balanced_accuracy_score(truth, second)
    assert found["balanced_accuracy_mapped"] == pytest.approx(expected)
    assert found["kappa"] == pytest.approx(cohen_kappa_score(first, second))


# --- Kappa


def test_kappa_by_hand():
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: agreement 0.7, by chance 0.5 * 0.6 + 0.5 * 0.4.
    first = np.arange(50) < 25
    second = (np.arange(50) < 20) | ((np.arange(50) >= 25) & (np.arange(50) < 35))
    assert measured(first, second, first)["kappa"] == pytest.approx((0.7 - 0.5) / (1 - 0.5))


def test_kappa_is_one_for_perfect_and_minus_one_for_opposite_predictions():
    predictions = np.arange(40) % 2 == 0
    assert measured(predictions, predictions, predictions)["kappa"] == 1.0
    assert measured(predictions, ~predictions, predictions)["kappa"] == -1.0


@pytest.mark.parametrize("prediction", [True, False])
@pytest.mark.parametrize("n", [3, 40, 1001])
def test_kappa_of_two_equal_constants_is_undefined(prediction, n):  # case C27
    total = torch.tensor([float(n)], dtype=torch.float64)
    assert kappa(total, total * total, total).isnan()
    constant = np.full(n, prediction)
    assert np.isnan(measured(constant, constant, constant)["kappa"])


def test_kappa_with_one_constant_side_is_zero():
    predictions = np.arange(40) < 9
    assert measured(np.zeros(40, dtype=bool), predictions, predictions)["kappa"] == 0.0


# --- Area under the ROC curve


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40).filter(
        lambda rows: len({yes for _, yes in rows}) == 2
    )
)
def test_auc_equals_scikit_learns_with_ties(rows):
    scores, truth = (np.array(column) for column in zip(*rows, strict=True))
    found = roc_auc(scores.astype(np.float64), truth, torch.ones(len(truth), 1).double())
    assert float(found) == pytest.approx(roc_auc_score(truth, scores))


def test_auc_of_weighted_items_equals_scikit_learns():
    rng = np.random.default_rng(0)
    truth, scores = rng.random(80) < 0.3, rng.integers(-4, 4, 80).astype(np.float32)
    weights = rng.integers(0, 4, (80, 12)).astype(np.float64)
    found = roc_auc(scores, truth, torch.from_numpy(weights))
    expected = [roc_auc_score(truth, scores, sample_weight=column) for column in weights.T]
    assert found.numpy() == pytest.approx(np.array(expected))


# --- Ranks


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30))
def test_ranks_equal_scipys_with_ties(values):
    values = np.array(values, dtype=np.float64)
    found = centred_ranks(values, torch.ones(len(values), 1).double())[:, 0]
    assert found.numpy() == pytest.approx(2 * rankdata(values) - len(values) - 1)
