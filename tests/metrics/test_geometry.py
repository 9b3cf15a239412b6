import json

import numpy as np
import pytest
import torch

from stitching.metrics import geometry
from stitching.metrics.geometry import geometry_scores
from stitching.metrics.resampling import BOOTSTRAP, HALVES, Estimate, Resamples, flatten

MEASURES = ("cka", "knn", "cca", "procrustes")
FEW = 50, 10


def normal(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def related(n, noise=0.5, seed=0):
    signal = normal(n, 8, seed)
    return tuple(signal @ normal(8, d, d) / 3 + noise * normal(n, d, seed + d) for d in (12, 90))


def values(a, b, resamples=None, **options):
    return flatten(geometry_scores(a, b, resamples or Resamples(len(a), *FEW), **options))[0]


@pytest.mark.parametrize("n_permutations", [0, 9])
def test_the_two_spaces_may_be_given_in_either_order(n_permutations):
    a, b = related(40)
    options = {"n_permutations": n_permutations}
    assert values(a, b, **options) == values(b, a, **options)


def test_either_order_gives_the_same_draws():
    a, b = related(40)
    resamples = Resamples(40, *FEW)
    one, other = (flatten(geometry_scores(*pair, resamples))[1] for pair in ((a, b), (b, a)))
    assert one.keys() == other.keys()
    for key, draws in one.items():
        assert (draws == other[key]).all()


def test_a_rerun_gives_the_same_scores():
    a, b = related(40)
    assert values(a, b) == values(a, b)


def test_the_number_of_threads_does_not_matter(two_threads):
    a, b = related(40)
    with_two = values(a, b)
    torch.set_num_threads(1)
    assert values(a, b) == with_two


def test_torch_keeps_its_number_of_threads(two_threads):
    geometry_scores(*related(20), Resamples(20, *FEW), n_permutations=3)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("name", MEASURES)
def test_related_spaces_have_the_smallest_possible_p_value(name):
    found = values(*related(60), n_permutations=19)
    assert found[f"geometry/{name}.p"] == 1 / 20


@pytest.fixture(scope="module")
def unrelated():
    """P-values of 60 pairs of unrelated spaces, by measure."""
    scores = [
        geometry_scores(
            normal(20, 5, seed), normal(20, 9, 1000 + seed), Resamples(20, 0, 0), 9, seed
        )
        for seed in range(60)
    ]
    return {name: np.array([s[f"geometry/{name}.p"] for s in scores]) for name in MEASURES}


@pytest.mark.parametrize("name", ["cka", "cca", "procrustes"])
def test_p_values_of_unrelated_spaces_are_spread_evenly(name, unrelated):
    # Standard errors of a mean and of a share of 60 even p-values: 0.037 and 0.052.
    assert unrelated[name].mean() == pytest.approx(0.55, abs=0.11)
    assert (unrelated[name] <= 0.2).mean() == pytest.approx(0.2, abs=0.16)


def test_p_values_of_few_shared_neighbours_are_too_large_rather_than_too_small(unrelated):
    assert unrelated["knn"].mean() > 0.5
    assert (unrelated["knn"] <= 0.2).mean() <= 0.25


@pytest.mark.parametrize("name", ["cka", "knn", "cca"])
def test_the_null_of_a_similarity_lies_below_related_spaces(name):
    found = values(*related(60))
    key = f"geometry/{name}"
    assert found[f"{key}.null"] < found[f"{key}.null_high"] < found[f"{key}.low"] < found[key]


def test_the_null_of_the_distance_lies_above_related_spaces():
    found = values(*related(60))
    key = "geometry/procrustes"
    assert found[key] < found[f"{key}.high"] < found[f"{key}.null_low"] < found[f"{key}.null"]


def test_the_null_of_canonical_correlations_is_clearly_below_one_for_wide_spaces():
    found = values(normal(100, 500, 0), normal(100, 900, 1), n_permutations=20)
    assert found["geometry/cca_components"] == 10
    assert found["geometry/cca.null_high"] < 0.4


def test_chance_neighbours_are_the_null_of_the_overlap():
    found = values(*related(60))
    assert found["geometry/knn_k"] == 6
    assert found["geometry/knn.null"] == pytest.approx(6 / 59, abs=0.01)


def test_a_permutation_that_changes_nothing_counts_as_at_least_as_similar():
    a = normal(4, 3, 0)
    scores = values(a, a, Resamples(4, 0, 0), n_permutations=200)
    same = sum((order == np.arange(4)).all() for order in geometry._shuffles(4, 200, seed=0))
    assert same > 0
    for name in ("cka", "procrustes"):
        assert scores[f"geometry/{name}.p"] >= (1 + same) / 201


@pytest.mark.parametrize(
    ("n", "width", "k", "components"),
    [(9, 30, 1, 1), (35, 30, 3, 3), (35, 2, 3, 2), (128, 30, 10, 12)],
)
def test_neighbours_and_components_follow_the_number_of_items(n, width, k, components):
    found = values(normal(n, 40, 0), normal(n, width, 1), n_permutations=0)
    assert found["geometry/knn_k"] == k
    assert found["geometry/cca_components"] == components
    assert found["geometry/n"] == n


def test_many_items_get_fewer_permutations_of_the_distance(monkeypatch):
    monkeypatch.setattr(geometry, "_MANY_ITEMS", 30)
    found = values(*related(40), n_permutations=25)
    assert found["geometry/n_permutations"] == 25
    assert found["geometry/procrustes_permutations"] == 19
    assert found["geometry/procrustes.p"] == 1 / 20
    assert found["geometry/cka.p"] == 1 / 26


def test_without_permutations_there_is_no_null():
    found = values(*related(20), n_permutations=0)
    assert not [key for key in found if key.endswith((".null", ".null_high", ".null_low", ".p"))]
    assert found["geometry/n_permutations"] == 0


def test_other_shuffles_leave_the_values_unchanged():
    a, b = related(30)
    one, other = (geometry_scores(a, b, Resamples(30, *FEW), seed=seed) for seed in (0, 1))
    for name in MEASURES:
        assert one[f"geometry/{name}"].value == other[f"geometry/{name}"].value
    assert one["geometry/cka.null"] != other["geometry/cka.null"]


def test_measures_say_how_they_were_resampled():
    scores = geometry_scores(*related(30), Resamples(30, *FEW), n_permutations=0)
    methods = {name: scores[f"geometry/{name}"].method for name in MEASURES}
    assert methods == {"cka": HALVES, "knn": HALVES, "cca": HALVES, "procrustes": BOOTSTRAP}


def test_items_left_out_leave_their_weights_to_the_others():
    a, b = related(40)
    rows = np.arange(40) % 8 > 0
    found = values(a[rows], b[rows], Resamples(40, *FEW).only(rows), n_permutations=0)
    assert found["geometry/n"] == 35
    assert found["geometry/cka.low"] < found["geometry/cka"] < found["geometry/cka.high"]


def test_scores_are_valid_json():
    found = values(*related(20), n_permutations=5)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


# --- Undefined


@pytest.mark.parametrize("side", ["first", "second"])
def test_a_space_of_equal_items_has_no_similarities(side):
    constant, other = torch.full((12, 3), 0.1), normal(12, 5, 0)
    found = values(*((constant, other) if side == "first" else (other, constant)))
    for name in MEASURES:
        assert found[f"geometry/{name}"] is None
        assert found[f"geometry/{name}_missing"] == (
            f"the {side} model's latents of the 12 items are all equal"
        )


def test_three_items_have_no_geometry():
    found = values(normal(3, 5, 0), normal(3, 4, 1))
    assert found["geometry/cka"] is None
    assert "at least 4 are needed" in found["geometry/procrustes_missing"]


def test_a_measure_that_is_undefined_leaves_the_others():
    found = values(torch.eye(12), normal(12, 5, 0), n_permutations=5)
    assert found["geometry/cka"] is None
    assert "equally far" in found["geometry/cka_missing"]
    assert "geometry/cka.null" not in found
    assert isinstance(found["geometry/procrustes"], float)


def test_few_items_have_values_without_intervals_from_half_samples():
    scores = geometry_scores(*related(6), Resamples(6), n_permutations=5)
    assert isinstance(scores["geometry/cka"], Estimate)
    assert scores["geometry/cka"].value is not None
    assert scores["geometry/cka"].interval == (None, None)


# --- Bad input


def test_latents_that_are_not_finite_are_named():  # case C39
    a, b = related(20)
    b[3, 1] = torch.nan
    with pytest.raises(ValueError, match=r"second model's latents must be finite.* rows 3"):
        values(a, b)


@pytest.mark.parametrize("rows", [19, 21])
def test_latents_of_other_items_are_refused(rows):
    a, _ = related(20)
    with pytest.raises(ValueError, match="encode one split with both"):
        values(a, normal(rows, 4, 0))


def test_resamples_of_other_items_are_refused():
    with pytest.raises(ValueError, match=r"latents .* of the 19 resampled items"):
        values(*related(20), Resamples(19))


def test_a_negative_number_of_permutations_is_refused():
    with pytest.raises(ValueError, match="n_permutations must be >= 0, got -1"):
        values(*related(20), n_permutations=-1)
