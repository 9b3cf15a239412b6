import numpy as np
import pytest
import torch

from stitching.compute.attributes import PAPER
from stitching.data.base import assert_disjoint
from stitching.data.faces import FACTORS, Faces, describe


def faces(**options):
    defaults = {"n_train": 40, "n_test": 20, "image_size": 64, "seed": 0, "n_pretrain": 5}
    return Faces(name="faces", **(defaults | options))


def test_a_face_alone_has_the_bytes_it_has_in_a_batch():
    images = faces().split("train")
    together = images.images(slice(0, 7))
    assert torch.equal(images.images([4])[0], together[4])
    assert torch.equal(images.images([6, 0]), together[[6, 0]])


def test_a_smaller_split_is_the_start_of_a_larger_one():
    small, large = faces(n_test=3).split("test"), faces(n_test=9).split("test")
    assert small.ids == large.ids[:3]
    assert torch.equal(small.images(slice(None)), large.images(slice(0, 3)))


def test_splits_share_no_id_and_no_face():
    data = faces()
    assert_disjoint(data.split("train"), data.split("test"))
    assert_disjoint(data.split("pretrain"), data.split("test"))
    assert_disjoint(data.split("pretrain"), data.split("train"))
    train, test = (data.split(s).images(slice(0, 20)) for s in ("train", "test"))
    assert torch.cdist(train.flatten(1), test.flatten(1)).min() > 1


def test_another_seed_gives_other_faces():
    a, b = faces().split("train"), faces(seed=1).split("train")
    assert a.fingerprint != b.fingerprint
    assert not torch.equal(a.images([0]), b.images([0]))


def test_all_ten_attributes_have_both_classes_and_all_factors_vary():
    split = faces(n_train=300).split("train")
    assert set(split.attributes) == set(PAPER)
    assert set(split.factors) == set(FACTORS)
    shares = {name: values.mean() for name, values in split.attributes.items()}
    assert all(0.05 < share < 0.95 for share in shares.values()), shares
    assert all(values.std() > 0.05 for values in split.factors.values())


def test_labels_follow_from_factors():
    split = faces().split("train")
    np.testing.assert_array_equal(split.attributes["Smiling"], split.factors["smile"] > 0.1)
    np.testing.assert_array_equal(split.attributes["Pale_Skin"], split.factors["skin_tone"] < 0.3)
    np.testing.assert_array_equal(split.attributes["Young"], split.factors["age"] < 0.55)


@pytest.mark.parametrize("attribute", PAPER)
def test_an_attribute_is_visible(attribute):
    # A difference between class means well beyond what a random split of the faces gives.
    split = faces(n_train=400).split("train")
    x = split.images(slice(None)).flatten(1)
    generator = torch.Generator().manual_seed(0)

    def gap(labels):
        return float((x[labels].mean(0) - x[~labels].mean(0)).abs().max())

    labels = torch.from_numpy(split.attributes[attribute])
    shuffled = [gap(labels[torch.randperm(400, generator=generator)]) for _ in range(10)]
    assert gap(labels) > max(shuffled)


def test_edges_are_anti_aliased_alike_at_every_size():
    # Twice the size, averaged down, is close to the picture drawn at the size itself.
    big = faces(image_size=128).split("train").images(slice(0, 6))
    small = faces(image_size=64).split("train").images(slice(0, 6))
    down = torch.nn.functional.avg_pool2d(big, 2)
    assert (down - small).abs().mean() < 0.01


def test_pixels_of_known_faces_have_not_changed():
    # Within 1/255 on other machines; the constants were written by this renderer, version 2.
    x = faces().split("train").images([0, 1]).mul(255)
    known = torch.tensor([[141.6785, 134.9919, 150.5029], [123.7671, 109.5813, 126.3833]])
    torch.testing.assert_close(x.mean((2, 3)), known, atol=0.5, rtol=0)


def test_describing_a_face_needs_no_more_numbers_than_are_drawn():
    for index in range(200):
        describe(0, index)


def test_a_root_is_refused():
    with pytest.raises(ValueError, match="not read from a folder"):
        faces(root="somewhere")


@pytest.mark.parametrize(("key", "value"), [("n_pretrain", 0), ("seed", -1), ("n_test", 0)])
def test_numbers_out_of_range_are_refused(key, value):
    with pytest.raises(ValueError, match=f"data.{key}"):
        faces(**{key: value})


def test_hair_is_a_class_that_agrees_with_the_attributes():
    split = faces(n_train=200, image_size=32).split("train")
    hair = split.classes["Hair"]
    assert np.array_equal(hair.values == hair.names.index("bald"), split.attributes["Bald"])
    assert np.array_equal(hair.values == hair.names.index("blond"), split.attributes["Blond_Hair"])
    grey = hair.values == hair.names.index("grey")
    assert grey.any()
    assert split.factors["age"][grey].min() > 0.85
