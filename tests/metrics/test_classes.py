import json

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, cohen_kappa_score

from stitching.metrics.classes import ClassPredictions, class_scores
from stitching.metrics.resampling import Resamples, flatten

NAMES = ("zero", "one", "two")


def as_scores(predictions, n_classes=3):
    return np.eye(n_classes)[predictions]


def predicted(truth, own, mapped, name="digit", train=(5, 9, 3), **options):
    """A set of classes whose predictions are known."""
    return ClassPredictions(
        name, np.array(truth), as_scores(own), as_scores(mapped), NAMES, train, **options
    )


def noisy(n, seed=0, resamples=None, name="digit"):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    own = as_scores(truth) + rng.standard_normal((n, 3))
    mapped = own + rng.standard_normal((n, 3))
    return ClassPredictions(name, truth, own, mapped, NAMES, (5, 9, 3), resamples=resamples)


def values(*predictions, missing=None):
    return flatten(class_scores(predictions, missing or {}))[0]


def test_measures_equal_scikit_learn():
    prediction = noisy(60)
    own, mapped = prediction.own.argmax(1), prediction.mapped.argmax(1)
    found = values(prediction)
    assert found["class/accuracy_own"] == pytest.approx(accuracy_score(prediction.truth, own))
    assert found["class/accuracy_mapped"] == pytest.approx(
        accuracy_score(prediction.truth, mapped)
    )
    expected = balanced_accuracy_score(prediction.truth, mapped)
    assert found["class/balanced_accuracy_mapped"] == pytest.approx(expected)
    assert found["class/consistency"] == pytest.approx(accuracy_score(own, mapped))
    assert found["class/kappa"] == pytest.approx(cohen_kappa_score(own, mapped))


def test_measures_of_a_resample_are_those_of_the_repeated_rows():
    resamples = Resamples(40, 15, 0)
    prediction = noisy(40, resamples=resamples)
    weights = torch.cat([torch.ones(40, 1).double(), resamples.counts.T], dim=1)
    found = prediction.measures(weights)  # without pseudo-items
    for k, counts in enumerate(resamples.counts.long().numpy()):
        truth, own, mapped = (
            np.repeat(column, counts)
            for column in (prediction.truth, prediction.own.argmax(1), prediction.mapped.argmax(1))
        )
        expected = {
            "accuracy_mapped": accuracy_score(truth, mapped),
            "balanced_accuracy_own": balanced_accuracy_score(truth, own),
            "kappa": cohen_kappa_score(own, mapped),
        }
        for key, value in expected.items():
            assert float(found[key][1 + k]) == pytest.approx(value), key


def test_kappa_of_three_classes_by_hand():
    own, mapped = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 0]
    # 4 of 6 agree; by chance 3/6 * 3/6 + 2/6 * 3/6 + 1/6 * 0.
    chance = (3 * 3 + 2 * 3) / 36
    found = values(predicted(own, own, mapped))
    assert found["class/kappa"] == pytest.approx((4 / 6 - chance) / (1 - chance))


def test_a_class_is_scored_against_the_rest():
    truth, own, mapped = [0, 0, 1, 1, 2], [0, 1, 1, 1, 2], [0, 0, 1, 2, 0]
    found = values(predicted(truth, own, mapped))
    assert found["class/consistency/digit/zero"] == pytest.approx(3 / 5)
    assert found["class/accuracy_own/digit/zero"] == pytest.approx(4 / 5)
    assert found["class/accuracy_mapped/digit/two"] == pytest.approx(3 / 5)
    assert found["class/n_positive/digit/one"] == 2
    assert found["class/n_positive_train/digit/one"] == 9
    expected = cohen_kappa_score(np.equal(own, 1), np.equal(mapped, 1))
    assert found["class/kappa/digit/one"] == pytest.approx(expected)


def test_the_majority_is_the_most_frequent_training_class():
    truth = [0, 1, 1, 2, 2, 2]
    found = values(predicted(truth, truth, truth, train=(1, 8, 3)))
    assert found["class/majority"] == pytest.approx(2 / 6)
    assert found["class/majority/digit/zero"] == pytest.approx(5 / 6)  # always "another"


def test_the_first_of_equal_scores_is_predicted():
    flat = np.zeros((4, 3))
    found = values(ClassPredictions("digit", np.array([0, 0, 1, 2]), flat, flat, NAMES, (1, 1, 1)))
    assert found["class/accuracy_own"] == 0.5
    assert found["class/constant/digit"] == "own and mapped"
    assert found["class/kappa"] is None


def test_control_probes_are_scored_on_their_own_labels():
    truth, control = [0, 1, 2, 1], np.array([2, 2, 0, 1])
    found = values(
        predicted(
            truth, truth, truth,
            control=(control, as_scores([2, 2, 0, 0]), as_scores([0, 0, 0, 0])),
        )
    )  # fmt: skip
    assert found["class/control_own"] == 0.75
    assert found["class/control_mapped"] == 0.25
    assert values(predicted(truth, truth, truth))["class/control_own"] is None


def test_a_class_without_test_items_is_missing():  # case C27
    found = values(predicted([0, 1, 1], [0, 1, 1], [0, 1, 0]))
    assert found["class/missing/digit/two"] == "test split has 0 items of this class"
    assert "class/consistency/digit/two" not in found
    assert found["class/balanced_accuracy_own"] == 1.0


def test_no_test_items_give_no_numbers():  # case C28
    found = values(
        predicted(np.zeros(0, dtype=int), np.zeros(0, dtype=int), np.zeros(0, dtype=int))
    )
    assert found["class/consistency"] is None
    assert found["class/n_sets"] == 0
    assert found["class/missing/digit"] == "test split has 0 items"


def test_overall_scores_are_means_over_sets_of_classes():
    found = values(
        predicted([0, 1], [0, 1], [0, 1]),
        predicted([0, 1, 2], [0, 1, 2], [1, 2, 0], name="colour"),
    )
    assert found["class/consistency"] == 0.5
    assert (found["class/consistency/digit"], found["class/consistency/colour"]) == (1.0, 0.0)
    assert found["class/n_sets"] == 2
    assert found["class/n_test"] is None


def test_sets_without_probe_are_missing_with_the_reason():
    found = values(missing={"digit": "data set has no classes"})
    assert found["class/missing/digit"] == "data set has no classes"


def test_scores_are_valid_json():
    found = values(noisy(20, resamples=Resamples(20, 20)))
    assert json.loads(json.dumps(found, allow_nan=False)) == found


# --- Bad input


def test_labels_that_are_no_places_of_names_are_an_error():
    with pytest.raises(ValueError, match=r"labels of digit run from 0 to 3.* from 0 to 2"):
        predicted([0, 3], [0, 1], [0, 1])


def test_labels_must_be_integers():
    with pytest.raises(TypeError, match="labels of digit must be integers, got float64"):
        predicted([0.0, 1.0], [0, 1], [0, 1])


def test_scores_need_a_column_for_each_class():
    with pytest.raises(ValueError, match=r"own scores of digit have shape \(2, 2\) .* \(2, 3\)"):
        ClassPredictions("digit", np.array([0, 1]), np.eye(2), np.eye(3)[:2], NAMES, (1, 1, 1))


def test_scores_that_are_not_finite_are_named():  # case C39
    scores = np.zeros((3, 3))
    scores[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"mapped scores of digit must be finite.* rows 1"):
        ClassPredictions("digit", np.array([0, 1, 2]), np.zeros((3, 3)), scores, NAMES, (1, 1, 1))


def test_every_class_needs_a_name_and_a_training_count():
    with pytest.raises(ValueError, match="3 classes and training counts of 2"):
        predicted([0, 1], [0, 1], [0, 1], train=(1, 1))


def test_a_class_named_twice_is_an_error():
    with pytest.raises(ValueError, match="each class of digit must be given once, got more of a"):
        ClassPredictions(
            "digit", np.array([0]), np.zeros((1, 2)), np.zeros((1, 2)), ("a", "a"), (1, 1)
        )
