"""Signs beside numbers: the best, ties with it, bias."""

import pytest

from stitching.report import Measure, read_grid
from stitching.results.marks import BEST, BIAS, FLAT, TIE, legend, marks
from stitching.results.measures import measure_of
from tests.report.made import drawn, make_cell, scores

LPIPS = measure_of("image/lpips")


def signs(root, measure=LPIPS):
    return {encoder: sign for (encoder, _), sign in marks(read_grid(root), measure).items()}


def column(root, levels, key="image/lpips", decoder="d", own=0.05, **facts):
    """A column of encoders whose scores share the items' difficulty."""
    for number, (encoder, level) in enumerate(levels.items()):
        items = scores(level, shared=0.2, own=own, seed=number + 1)
        make_cell(root, encoder, decoder, number, draws={key: drawn(items)}, **facts)


def test_the_best_and_what_cannot_be_told_from_it_are_marked(tmp_path):
    column(tmp_path, {"a": 0.50, "b": 0.302, "c": 0.30})
    assert signs(tmp_path) == {"a": "", "b": TIE, "c": BEST}


def test_pairing_resolves_what_wide_intervals_hide(tmp_path):
    column(tmp_path, {"a": 0.32, "b": 0.30}, own=0.01)  # items differ by 0.2
    assert signs(tmp_path) == {"a": "", "b": BEST}


def test_higher_may_be_better(tmp_path):
    column(tmp_path, {"a": 0.9, "b": 0.5}, key="probe/kappa")
    assert signs(tmp_path, measure_of("probe/kappa")) == {"a": BEST, "b": ""}


def test_the_decoder_itself_is_no_competitor(tmp_path):
    column(tmp_path, {"a": 0.5, "b": 0.3, "d": 0.1})
    assert signs(tmp_path) == {"a": "", "b": BEST, "d": ""}


def test_one_encoder_alone_is_not_the_best(tmp_path):
    column(tmp_path, {"a": 0.5, "d": 0.1})
    assert signs(tmp_path) == {"a": "", "d": ""}


def test_columns_are_ranked_on_their_own(tmp_path):
    for number, (decoder, a, b) in enumerate((("d", 0.1, 0.5), ("e", 0.5, 0.1))):
        for encoder, level in (("a", a), ("b", b)):
            draws = {"image/lpips": drawn(scores(level, own=0.05))}
            make_cell(tmp_path, encoder, decoder, 2 * number + (encoder == "b"), draws=draws)
    found = marks(read_grid(tmp_path), LPIPS)
    assert [pair for pair, sign in found.items() if sign == BEST] == [("a", "d"), ("b", "e")]


def test_cells_without_draws_are_not_ranked(tmp_path):
    make_cell(tmp_path, "a", "d", 0, image__lpips=0.5)
    make_cell(tmp_path, "b", "d", 1, image__lpips=0.1)
    assert signs(tmp_path) == {"a": "", "b": ""}


def test_what_tells_of_the_decoder_alone_is_not_ranked(tmp_path):
    column(tmp_path, {"a": 0.9, "b": 0.9}, key="probe/accuracy_own")
    assert signs(tmp_path, measure_of("probe/accuracy_own")) == {"a": "", "b": ""}


@pytest.mark.parametrize(("key", "sign"), [("image/fid", BIAS), ("image/kid", "")])
@pytest.mark.parametrize(("n", "few"), [(64, True), (65, False)])
def test_a_biased_distance_of_few_images_is_marked(tmp_path, key, sign, n, few):
    make_cell(tmp_path, "a", "d", **{key: 9.0, f"{key}_n": n, f"{key}_dim": 64})
    assert signs(tmp_path, measure_of(key)) == {"a": sign if few else ""}


def test_a_distance_is_a_tie_by_paired_half_samples_whatever_its_unpaired_floor(tmp_path):
    levels = {"a": 30.4, "b": 30.0, "c": 35.1}
    column(tmp_path, levels, key="image/fid", own=0.01, image__fid_floor=50.0)
    assert signs(tmp_path, measure_of("image/fid")) == {"a": "", "b": BEST, "c": ""}


@pytest.mark.parametrize("floor", ["random", "mean"])
def test_no_best_where_it_cannot_be_told_from_a_floor(tmp_path, floor):
    column(tmp_path, {floor: 0.301, "a": 0.30, "b": 0.50})
    assert signs(tmp_path) == {floor: "", "a": "", "b": ""}


def test_no_best_among_equals_of_a_floor_without_any_spread(tmp_path):
    column(tmp_path, {"random": 0.0, "a": 0.0, "b": 0.0}, key="image/precision", own=0.0)
    assert set(signs(tmp_path, measure_of("image/precision")).values()) == {""}


def test_a_floor_that_is_better_than_all_models_leaves_no_best(tmp_path):
    column(tmp_path, {"random": 0.1, "a": 0.30, "b": 0.50})
    assert set(signs(tmp_path).values()) == {""}


def test_a_column_far_from_its_floor_has_a_best(tmp_path):
    column(tmp_path, {"random": 0.9, "mean": 0.8, "a": 0.30, "b": 0.50})
    assert signs(tmp_path) == {"random": "", "mean": "", "a": BEST, "b": ""}


def test_controls_are_no_best_model_but_may_tie_with_it(tmp_path):
    column(tmp_path, {"pixels": 0.10, "pca": 0.302, "a": 0.30, "b": 0.50})
    assert signs(tmp_path) == {"pixels": "", "pca": TIE, "a": BEST, "b": ""}


def test_controls_among_themselves_have_a_best(tmp_path):
    column(tmp_path, {"pixels": 0.10, "pca": 0.30})
    assert signs(tmp_path) == {"pixels": BEST, "pca": ""}


def test_the_legend_explains_the_signs_that_occur():
    assert [line[0] for line in legend(["", BEST + BIAS, BEST])] == [BEST, BIAS]
    assert legend([""]) == []


def test_a_measure_of_one_label_is_shown_as_its_mean_is():
    found = measure_of("probe/accuracy_mapped/Male")
    assert found == Measure(
        found.key, "Probe accuracy, mapped latents (%), Male", percent=True, pictured=True
    )


def test_an_unknown_measure_is_shown_by_its_name():
    assert measure_of("mine/score") == Measure("mine/score", "mine/score", good="")


@pytest.mark.parametrize("key", ["image/mine", "geometry/cka", "probe/control_mapped"])
def test_a_measure_without_a_better_end_ranks_nobody(tmp_path, key):
    column(tmp_path, {"a": 0.9, "b": 0.5}, key=key)
    assert signs(tmp_path, measure_of(key)) == {"a": "", "b": ""}


def test_measures_of_a_cell_whose_penalty_is_not_determined_are_marked(tmp_path):
    flat = {"map__flat": 1, "map__flat_alpha": 3.9, "flat__image__lpips": 0.2}
    make_cell(tmp_path, "a", "d", 0, image__lpips=0.5, latent__r2=0.4, **flat)
    make_cell(tmp_path, "b", "d", 1, image__lpips=0.5, map__flat=0)
    assert signs(tmp_path) == {"a": FLAT, "b": ""}
    # Without a value at the other penalty there is nothing to show.
    assert signs(tmp_path, measure_of("latent/r2")) == {"a": "", "b": ""}
    assert "another one scores as well" in legend([FLAT])[0]
