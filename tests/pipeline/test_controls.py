"""Cells whose encoder is shuffled, cut to its leading components, or the labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA as SklearnPCA
from sklearn.linear_model import Ridge as SklearnRidge

from stitching.compute.rows import ReorderedRows
from stitching.compute.seeding import derangement
from stitching.data.faces import Faces
from stitching.data.label_columns import label_columns, set_labels
from stitching.maps import Ridge
from stitching.models.controls import Labels
from stitching.pipeline.cache import Cache
from stitching.pipeline.encoding import FrozenModel, encode_split, latent_rows
from tests.small import Pixels, small_cell, small_vae, small_vae_options

pytestmark = [
    pytest.mark.filterwarnings("ignore::stitching.maps.PenaltyEdgeWarning"),
    pytest.mark.filterwarnings("ignore::stitching.maps.InterpolationWarning"),
]


@pytest.fixture
def data():
    return Faces("faces", 150, 40, 32, 0, 1)


def vae(**changes):
    return FrozenModel(small_vae(), small_vae_options(), "float32", **changes)


def pixels(**changes):
    return FrozenModel(Pixels().freeze(), {"name": "pixels"}, "float32", **changes)


def run(*parts, **options):
    options = {"round_trip": False, "geometry": False, "probe_suite": None} | options
    return small_cell(*parts, **options).run()


@pytest.mark.parametrize("n", [2, 3, 10, 101])
def test_a_derangement_is_an_order_without_fixed_places(n):
    for seed in range(20):
        order = derangement(n, seed)
        assert sorted(order.tolist()) == list(range(n))
        assert not bool((order == torch.arange(n)).any())
    assert torch.equal(derangement(n, 5), derangement(n, 5))


def test_every_other_place_is_equally_likely():
    found = np.bincount([int(derangement(5, seed)[0]) for seed in range(2000)], minlength=5)
    assert found[0] == 0
    assert np.abs(found[1:] - 500).max() < 100  # 5 deviations of a binomial


def test_there_is_no_derangement_of_one():
    with pytest.raises(ValueError, match="needs 2 items, got 1"):
        derangement(1, 0)


def test_a_shuffled_model_gives_images_the_latents_of_others(tmp_path, data):
    cache, images = Cache(tmp_path), data.split("train")
    own, encoded = encode_split(vae(), images, cache, 8)
    mixed, again = encode_split(vae(shuffled_with=4), images, cache, 3)
    assert (encoded, again) == (150, 0)  # latents are shared with the model itself
    assert torch.equal(mixed, own[derangement(150, 4)])
    rows, _ = latent_rows(vae(shuffled_with=4), images, cache, 8)
    assert isinstance(rows, ReorderedRows)
    assert torch.equal(rows[0:70], mixed[:70])
    assert torch.equal(rows[:], mixed)


@pytest.mark.parametrize("chunk", [None, 64])
def test_a_shuffled_model_shares_nothing_with_itself(tmp_path, data, chunk):
    fit = Ridge(chunk=chunk)
    metrics = run(vae(shuffled_with=0), vae(), data, Cache(tmp_path), fit).metrics
    assert metrics["map"] == "ridge"
    assert metrics["latent/r2"] < 0.05


# Primal, streamed, and dual: 16 and 3,072 values.
@pytest.mark.parametrize(("make", "chunk"), [(vae, None), (vae, 64), (pixels, None)])
def test_a_width_is_the_regression_on_scikit_learns_components(tmp_path, data, make, chunk):
    alpha, width = 0.3, 5
    fit = Ridge(alpha=alpha, chunk=chunk)
    result = run(make(width=width), vae(), data, Cache(tmp_path), fit)
    split = [data.split(name).images(slice(None)) for name in ("train", "test")]
    source, target = ([m.model.encode(x).double().numpy() for x in split] for m in (make(), vae()))
    pca = SklearnPCA(width, svd_solver="full").fit(source[0])
    oracle = SklearnRidge(alpha).fit(pca.transform(source[0]), target[0])
    mapped = oracle.predict(pca.transform(source[1]))
    mse = np.square(target[1] - mapped).mean()
    assert result.metrics["latent/mse"] == pytest.approx(mse, rel=1e-4)
    assert result.metrics["d_source"] == width


def test_the_own_space_at_a_width_is_mapped(tmp_path, data):
    metrics = run(vae(width=5), vae(), data, Cache(tmp_path)).metrics
    assert metrics["map"] == "ridge"
    assert metrics["latent/r2"] < 0.999


def test_all_components_give_the_map_of_the_latents_themselves(tmp_path, data):
    fit, cache = Ridge(alpha=0.1), Cache(tmp_path)
    found = [run(vae(width=width), pixels(), data, cache, fit).metrics for width in (16, None)]
    assert found[0]["latent/r2"] == pytest.approx(found[1]["latent/r2"], abs=1e-5)


def test_more_components_than_the_fit_images_have_are_refused_unless_fewer_do(tmp_path):
    few, cache = Faces("faces", 12, 9, 32, 0, 1), Cache(tmp_path)
    with pytest.raises(ValueError, match=r"encoder\.width=14, but .* vary in 11 directions"):
        run(vae(width=14), vae(), few, cache)
    fewer = run(vae(width=14, at_most=True), vae(), few, cache)
    assert fewer.metrics["d_source"] == 11


def test_components_of_other_fit_images_are_another_space(tmp_path, data):
    cache = Cache(tmp_path)
    first = run(vae(width=5), vae(), data, cache, geometry=True).metrics
    again, fresh = (
        run(vae(width=5), vae(), Faces("faces", 60, 40, 32, 0, 1), at, geometry=True)
        for at in (cache, Cache(tmp_path / "other"))
    )
    assert again.metrics == fresh.metrics
    assert first["latent/r2"] != fresh.metrics["latent/r2"]


def labels_of(data):
    model = Labels("labels", 32).freeze()
    set_labels("encoder", model, data)
    return FrozenModel(model, {"_target_": "Labels", "name": "labels"}, "float32")


def test_labels_are_looked_up_and_cached_by_their_values(tmp_path, data):
    cache, frozen, images = Cache(tmp_path), labels_of(data), data.split("test")
    z, encoded = encode_split(frozen, images, cache, 8)
    assert encoded == 0
    assert torch.equal(z, frozen.model.label_latents(label_columns(images)))
    other = {name: ~values for name, values in images.attributes.items()}
    changed, _ = encode_split(frozen, replace(images, attributes=other), cache, 8)
    assert not torch.equal(z, changed)


def test_labels_explain_a_part_of_drawn_faces(tmp_path, data):
    found = run(labels_of(data), pixels(), data, Cache(tmp_path)).metrics
    assert 0.1 < found["latent/r2"] < 0.9


def test_data_without_labels_have_no_label_latents(data):
    bare = Faces("faces", 5, 4, 32, 0, 1)
    for split in ("train", "test"):
        bare._built[split] = replace(bare.split(split), attributes={}, factors={}, classes={})
    with pytest.raises(ValueError, match="encoder=labels needs labels, but data=faces has none"):
        set_labels("encoder", Labels("labels", 32), bare)
