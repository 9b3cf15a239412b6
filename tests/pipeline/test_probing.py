"""Probes in a cell: fitted once per model and label, predicting from the protocol's images."""

import numpy as np
import pytest

from stitching.data.base import ClassLabels
from stitching.data.faces import Faces
from stitching.pipeline.cache import Cache
from stitching.pipeline.encoding import FrozenModel
from stitching.pipeline.probing import _columns
from stitching.probes import FittedProbe, LassoProbes, LogisticProbes
from tests.small import Pixels, probe_suite, small_cell, small_vae, small_vae_options, strict

pytestmark = [
    pytest.mark.filterwarnings("ignore::stitching.maps.PenaltyEdgeWarning"),
    pytest.mark.filterwarnings("ignore::stitching.maps.InterpolationWarning"),
]


def pixels():
    return FrozenModel(Pixels().freeze(), {"name": "pixels"}, "float32")


def vae():
    return FrozenModel(small_vae(), small_vae_options(), "float32")


def run(cache, encoder, data=None, attributes=None, **protocol):
    data = data or Faces("faces", 120, 40, 32, 0, 1)
    switches = strict(**protocol)
    suite = probe_suite(cache, switches, attributes)
    return small_cell(encoder, pixels(), data, cache, protocol=switches, probe_suite=suite).run()


@pytest.fixture
def fits(monkeypatch):
    """Names of the labels that logistic probes were fitted to, in the order of the fits."""
    names, fit = [], LogisticProbes.fit

    def counted(self, latents, labels):
        names.extend(labels)
        return fit(self, latents, labels)

    monkeypatch.setattr(LogisticProbes, "fit", counted)
    return names


def test_a_probe_is_fitted_once_for_all_cells_of_its_decoder(tmp_path, fits):
    cache = Cache(tmp_path)
    first = run(cache, vae()).metrics
    second = run(cache, pixels()).metrics
    assert fits == ["Male", "Smiling"]
    assert first["probe/accuracy_own"] == second["probe/accuracy_own"]
    assert first["probe/alpha/Male"] == second["probe/alpha/Male"]
    # The ceiling is the decoder's, whatever is mapped to it.
    ceiling = first["probe/kappa_ceiling/Male"]
    assert 0 < ceiling <= 1
    assert second["probe/kappa_ceiling/Male"] == ceiling


def test_a_changed_label_refits_its_own_probe_alone(tmp_path, fits):
    class Relabelled(Faces):
        def _build(self, split):
            built = super()._build(split)
            built.attributes["Male"][:5] ^= True
            return built

    cache = Cache(tmp_path)
    run(cache, vae())
    run(cache, vae(), Relabelled("faces", 120, 40, 32, 0, 1))
    assert fits == ["Male", "Smiling", "Male"]


def test_another_kind_of_probe_is_another_fit(tmp_path):
    cache = Cache(tmp_path)
    logistic = run(cache, vae()).metrics
    lasso = run(cache, vae(), attributes=LassoProbes(["Male", "Smiling"], alpha=0.05)).metrics
    assert (logistic["probe"], lasso["probe"]) == ("logistic", "lasso")
    assert logistic["protocol"] == "strict"
    assert lasso["protocol"] == "strict, probe=lasso"
    assert lasso["probe/alpha/Male"] == 0.05
    assert lasso["probe/accuracy_own"] != logistic["probe/accuracy_own"]


def test_held_out_probes_predict_from_every_test_image(tmp_path):
    found = run(Cache(tmp_path), vae()).metrics
    assert found["probe/n_test"] == 40
    data = Faces("faces", 120, 40, 32, 0, 1)
    male = data.split("train").attributes["Male"]
    assert found["probe/n_positive_train/Male"] == male.sum()
    assert found["probe/n_positive/Male"] == data.split("test").attributes["Male"].sum()


def test_overlapping_probes_predict_from_a_balanced_fifth_of_all_but_one_image(tmp_path):
    found = run(Cache(tmp_path), vae(), probe_ids="overlapping").metrics
    data = Faces("faces", 120, 40, 32, 0, 1)
    labels = [data.split(split).attributes["Male"] for split in ("train", "test")]
    pool = np.concatenate([labels[0], labels[1][:-1]])
    smaller = min(pool.sum(), (~pool).sum())
    assert found["probe/n_test/Male"] == 2 * round(0.2 * smaller)
    assert found["probe/n_positive/Male"] == found["probe/n_test/Male"] / 2
    assert found["probe/n_positive_train/Male"] == smaller - round(0.2 * smaller)
    assert -1 <= found["probe/kappa_ceiling/Male"] <= 1
    # Classes and factors have no counterpart in the paper and stay held out.
    assert found["factor/n_test"] == 40


def test_overlapping_probes_are_cached_too(tmp_path, fits):
    cache = Cache(tmp_path)
    first = run(cache, vae(), probe_ids="overlapping").metrics
    second = run(cache, vae(), probe_ids="overlapping").metrics
    assert fits == ["Male", "Smiling"]
    assert first == second


def test_too_few_images_for_two_halves_are_a_fact(tmp_path):
    class Rare(Faces):
        def _build(self, split):
            built = super()._build(split)
            built.attributes["Male"][:] = np.arange(len(built)) < 3
            return built

    probes = LogisticProbes(["Male", "Smiling"], min_per_class=2, n_folds=3)
    found = run(Cache(tmp_path), pixels(), Rare("faces", 120, 40, 32, 0, 1), probes).metrics
    assert "3 of one class: two halves need" in found["probe/ceiling_missing/Male"]
    assert found["probe/n_attributes"] == 2
    assert found["probe/n_ceiling"] == 1


def test_control_probes_score_near_the_share_of_the_larger_class(tmp_path):
    found = run(Cache(tmp_path), vae(), Faces("faces", 400, 100, 32, 0, 1)).metrics
    assert found["probe/control_own"] < found["probe/accuracy_own"]
    assert found["probe/control_own"] == pytest.approx(found["probe/majority"], abs=0.12)


def test_images_without_classes_or_factors_have_no_such_keys(tmp_path):
    class Bare(Faces):
        def _build(self, split):
            built = super()._build(split)
            object.__setattr__(built, "classes", {})
            object.__setattr__(built, "factors", {})
            return built

    found = run(Cache(tmp_path), vae(), Bare("faces", 120, 40, 32, 0, 1)).metrics
    assert not [key for key in found if key.startswith(("class/", "factor/"))]
    assert "probe/kappa" in found


def test_a_class_without_fit_images_is_never_predicted():
    probe = FittedProbe(np.zeros((2, 3)), np.zeros(2), {}, classes=(0, 2))
    scores = _columns(probe, np.array([[1.0, -5.0], [-7.0, -6.0]]), 4)
    assert scores.shape == (2, 4)
    assert scores.argmax(1).tolist() == [0, 2]


def test_classes_of_a_data_set_become_scores_by_class(tmp_path):
    class TwoTone(Faces):
        """A class that the image shows: whether it is bright."""

        def _build(self, split):
            built = super()._build(split)
            bright = built.images(slice(None)).mean((1, 2, 3)).numpy()
            values = (bright > 0.5).astype(np.int64)
            object.__setattr__(built, "classes", {"tone": ClassLabels(values, ("dark", "bright"))})
            return built

    found = run(Cache(tmp_path), pixels(), TwoTone("faces", 150, 40, 32, 0, 1)).metrics
    assert found["class/accuracy_own"] > 0.85
    assert found["class/consistency"] == 1
    assert 0.3 < found["class/kappa_ceiling"] <= 1
    assert "factor/kappa_ceiling" not in found
    assert found["class/kappa/tone/bright"] == 1
