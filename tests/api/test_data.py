"""Images in memory as data: any layout, splits that do not depend on order, labels."""

import numpy as np
import pytest
import torch
from PIL import Image

import stitching as st
from stitching.compute.notes import log_once
from tests.api.conftest import QUICK

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), np.uint8)


def test_layouts_and_types_are_the_same_images():
    as_torch = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
    forms = [PIXELS, as_torch, as_torch.double() / 255, [Image.fromarray(x) for x in PIXELS]]
    found = [st.load_data(form).split("test").images(slice(None)) for form in forms]
    assert all(torch.allclose(x, found[0], atol=1e-7) for x in found)


def test_a_part_of_the_images_keeps_its_split():
    names = [f"id{i}" for i in range(60)]
    whole = st.load_data(PIXELS, ids=names)
    shuffled = np.random.default_rng(1).permutation(60)[:40]
    part = st.load_data(PIXELS[shuffled], ids=[names[i] for i in shuffled])
    for split in ("train", "test"):
        assert set(part.split(split).ids) <= set(whole.split(split).ids)
    assert not set(whole.split("train").ids) & set(whole.split("test").ids)
    places = [names.index(item) for item in whole.split("test").ids]
    assert np.array_equal(
        whole.split("test").images(slice(None)).permute(0, 2, 3, 1) * 255, PIXELS[places]
    )


def test_a_mask_marks_the_test_images():
    mask = np.arange(60) >= 50
    data = st.load_data(PIXELS, test=mask, n_test=4)
    assert {int(item) >= 50 for item in data.split("train").ids} == {False}
    assert (data.n_train, data.n_test) == (50, 4)


def test_pixels_identify_images_and_a_later_change_of_the_array_changes_nothing():
    images = PIXELS.copy()
    data = st.load_data(images, ids=[str(i) for i in range(60)])
    before = data.split("train").fingerprint
    images[:] = 0
    assert data.split("train").images([0]).max() > 0
    images = PIXELS.copy()
    images[int(data.split("train").ids[3])] ^= 1
    assert (
        st.load_data(images, ids=[str(i) for i in range(60)]).split("train").fingerprint != before
    )


def test_equal_images_in_both_parts_are_warned_of(caplog):
    log_once.cache_clear()
    st.load_data(np.repeat(PIXELS[:1], 2, axis=0), test=[True, False])
    assert "1 of 1 test images of memory have the same content as images of train" in caplog.text


@pytest.mark.filterwarnings("ignore:probe penalty at an edge")
def test_labels_in_memory_follow_their_images():
    level = PIXELS.mean((1, 2, 3)) / 255
    kinds = [("low", "mid", "high")[int(x * 3)] for x in np.argsort(np.argsort(level)) / 60]
    data = st.load_data(
        PIXELS, attributes={"light": np.where(level > 0.5, 1, -1)}, factors={"level": level},
        classes={"kind": kinds},
    )  # fmt: skip
    for split in ("train", "test"):
        found = data.split(split)
        means = found.images(slice(None)).mean((1, 2, 3)).numpy()
        assert np.allclose(found.factors["level"], means, atol=1e-6)
        assert np.array_equal(found.attributes["light"], means > 0.5)
        classes = found.classes["kind"]
        named = [classes.names[k] for k in classes.values]
        assert named == [kinds[int(item)] for item in found.ids]
    options = {**QUICK, "probe": "ridge", "controls": False, "geometry": False}
    scores = st.stitch("pixels", "thumbnail", data, **options).scores.value
    assert scores["factor/r2_own"] > 0.9
    assert {"probe/accuracy_own", "class/accuracy_own"} <= set(scores.index)


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (PIXELS[:, :, :4], {}, "crop them"),
        (PIXELS[..., :1], {}, "repeat the channel"),
        (PIXELS.astype(np.int64), {}, "uint8"),
        (PIXELS / 1.0, {}, r"\[0, 1\]"),
        (PIXELS * np.nan, {}, "finite"),
        (PIXELS, {"n_test": 50}, "n_test=50, but .* change test_share"),
        (PIXELS, {"test": [True]}, "test must have one value for each of 60 images"),
        (PIXELS, {"attributes": {"a": np.arange(60)}}, "attribute a must be bool"),
        (PIXELS, {"factors": {"a": [1.0]}}, "factor a must have one value"),
        (PIXELS, {"classes": {"a": [1] * 60}}, "two labels or more"),
        (PIXELS, {"ids": ["a"] * 60}, "unique"),
        (PIXELS, {"name": "faces"}, "name of another"),
        (PIXELS, {"n_tests": 1}, "n_tests"),
        ("folder", {"rot": "x"}, "rot is not an option, did you mean data.root"),
        (3, {}, "images must"),
    ],
)
def test_wrong_images_and_labels_are_named(images, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        st.load_data(images, **options)


def test_data_must_be_loaded():
    with pytest.raises(TypeError, match="data must come from"):
        st.stitch("thumbnail", "pixels", PIXELS, **QUICK)
