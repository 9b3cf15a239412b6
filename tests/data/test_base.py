"""What every image set promises, shown on one whose pixels are known."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stitching.compute.notes import log_once
from stitching.data.base import ClassLabels, ImageData, ImageSet, assert_disjoint, ids_hash

SIZE = 4


def load(ids: Sequence[str]) -> Tensor:
    """Every byte of image "k" is k."""
    levels = torch.tensor([int(item) for item in ids], dtype=torch.uint8)
    return levels[:, None, None, None].expand(-1, 3, SIZE, SIZE)


def make(ids: Sequence[str] = ("3", "1", "4", "15", "9"), **changes: Any) -> ImageSet:
    settings: dict[str, Any] = {
        "name": "levels",
        "split": "train",
        "ids": tuple(ids),
        "image_size": SIZE,
        "recipe": "version 1",
        "load": load,
        "attributes": {"Odd": np.array([int(i) % 2 == 1 for i in ids])},
        "factors": {"level": np.array([int(i) for i in ids], np.float32)},
        "stamps": tuple(f"stamp {i}" for i in ids),
    }
    return ImageSet(**(settings | changes))


class Levels(ImageData):
    """A data set of levels whose parts can be given."""

    def __init__(self, fit: Sequence[str], test: Sequence[str], **sizes: int) -> None:
        super().__init__("levels", **({"n_train": 2, "n_test": 2, "image_size": SIZE} | sizes))
        self.parts = {"train": fit[: self.n_train], "test": test, "pretrain": fit}
        self.builds = 0

    def _build(self, split: str) -> ImageSet:
        self.builds += 1
        return make(self.parts[split], split=split)


def test_images_are_bytes_over_255_in_the_order_of_ids() -> None:
    x = make().images(slice(None))
    assert x.dtype == torch.float32
    assert x.shape == (5, 3, SIZE, SIZE)
    assert torch.equal(x[:, 0, 0, 0], torch.tensor([3.0, 1, 4, 15, 9]) / 255)


def test_images_have_one_memory_layout_whatever_the_loader_returns() -> None:
    def channels_last(ids: Sequence[str]) -> Tensor:
        return load(ids).contiguous(memory_format=torch.channels_last)

    assert make(load=channels_last).images([0, 1]).is_contiguous()


@pytest.mark.parametrize("i", range(5))
def test_an_image_does_not_depend_on_its_batch(i: int) -> None:
    one = make()
    assert torch.equal(one.images([i])[0], one.images(slice(None))[i])


@pytest.mark.parametrize("indices", [[2, 0, 2], np.array([2, 0, 2]), (2, 0, 2)])
def test_images_may_be_asked_for_in_any_order_and_repeatedly(indices: Sequence[int]) -> None:
    x = make().images(indices)
    assert torch.equal(x[:, 0, 0, 0], torch.tensor([4.0, 3, 4]) / 255)


@pytest.mark.parametrize("indices", [[], slice(2, 2)])
def test_no_indices_give_an_empty_batch(indices: list[int] | slice) -> None:
    assert make().images(indices).shape == (0, 3, SIZE, SIZE)


@pytest.mark.parametrize("index", [5, -1])
def test_an_index_outside_is_an_error(index: int) -> None:
    with pytest.raises(IndexError, match=rf"index {index} is outside 0\.\.4"):
        make().images([index])


@pytest.mark.parametrize("mask", [[True] * 5, np.ones(5, bool)])
def test_a_mask_is_not_taken_for_indices(mask: Sequence[int]) -> None:
    with pytest.raises(TypeError, match="got a mask"):
        make().images(mask)


@pytest.mark.parametrize(("batch_size", "sizes"), [(2, [2, 2, 1]), (5, [5]), (64, [5])])
def test_batches_hold_every_image_once_in_order(batch_size: int, sizes: list[int]) -> None:
    one = make()
    batches = list(one.batches(batch_size))
    assert [len(x) for x in batches] == sizes
    assert torch.equal(torch.cat(batches), one.images(slice(None)))


def test_a_batch_size_below_one_is_an_error_at_once() -> None:
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        make().batches(0)


def test_a_loader_in_another_value_range_is_an_error() -> None:
    with pytest.raises(ValueError, match="must lie in"):
        make(load=lambda ids: -torch.ones(len(ids), 3, SIZE, SIZE)).images([0])


def test_a_loader_of_another_size_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"have shape \(1, 3, 8, 8\), not \(1, 3, 4, 4\)"):
        make(load=lambda ids: torch.ones(len(ids), 3, 8, 8)).images([0])


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"ids": ("1", "2", "1", "3", "4")}, ValueError, "more than once: 1$"),
        ({"ids": (), "stamps": ()}, ValueError, "has no items"),
        ({"stamps": ("a",)}, ValueError, "1 stamps for 5 ids"),
        ({"attributes": {"Odd": np.ones(4, bool)}}, ValueError, r"Odd has shape \(4,\)"),
        ({"attributes": {"Odd": np.ones(5, int)}}, TypeError, "Odd must be bool, got int64"),
        ({"factors": {"level": np.ones(5)}}, TypeError, "level must be float32, got float64"),
        (
            {"factors": {"level": np.array([1, 2, np.nan, 4, 5], np.float32)}},
            ValueError,
            "level has values that are not finite",
        ),
    ],
)
def test_ids_and_labels_that_do_not_fit_are_an_error(
    changes: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        make(**changes)


def test_a_part_is_the_set_made_from_the_ids_of_its_places() -> None:
    whole, part = make(), make().part(1, 4)
    assert part.ids == ("1", "4", "15")
    assert part.fingerprint == make(part.ids).fingerprint == whole.fingerprint_of(slice(1, 4))
    assert torch.equal(part.images(slice(None)), whole.images(slice(1, 4)))
    assert part.attributes["Odd"].tolist() == [True, False, True]
    assert part.factors["level"].tolist() == [1, 4, 15]


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 2), (3, 2), (0, 6)])
def test_an_impossible_part_is_an_error(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match=rf"has 5 items, asked for places {start} to {stop}"):
        make().part(start, stop)


def test_a_subset_is_the_set_made_from_the_first_ids() -> None:
    part, expected = make().subset(2), make(("3", "1"))
    assert part.ids == expected.ids
    assert part.fingerprint == expected.fingerprint
    assert part.labels_fingerprint == expected.labels_fingerprint
    assert torch.equal(part.images(slice(None)), expected.images(slice(None)))


@pytest.mark.parametrize("n", [0, 6])
def test_a_subset_of_an_impossible_size_is_an_error(n: int) -> None:
    with pytest.raises(ValueError, match=f"has 5 items, asked for {n}"):
        make().subset(n)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"recipe": "version 2"},
        {"image_size": 8},
        {"ids": ("1", "3", "4", "15", "9")},
        {"stamps": ("new", *make().stamps[1:])},
        {"stamps": ()},
    ],
    ids=lambda change: "".join(change),
)
def test_the_fingerprint_changes_with_everything_that_determines_pixels(
    change: dict[str, Any],
) -> None:
    assert dataclasses.replace(make(), **change).fingerprint != make().fingerprint


def test_the_fingerprint_knows_neither_labels_nor_the_name_of_the_split() -> None:
    other = make(split="pretrain", attributes={}, factors={})
    assert other.fingerprint == make().fingerprint


def test_the_fingerprint_does_not_confuse_where_one_id_ends() -> None:
    first, second = make(("1", "23"), stamps=()), make(("12", "3"), stamps=())
    assert first.fingerprint != second.fingerprint


def test_the_labels_fingerprint_changes_when_one_label_does() -> None:
    flipped = make().attributes["Odd"].copy()
    flipped[3] = not flipped[3]
    assert make(attributes={"Odd": flipped}).labels_fingerprint != make().labels_fingerprint


def test_overlapping_splits_are_named_with_their_ids() -> None:
    test = make(("4", "2", "9"), split="test")
    with pytest.raises(ValueError, match=r"2 ids are in both levels/train and levels/test.*4, 9$"):
        assert_disjoint(make(), test)


def test_copies_of_fit_images_among_test_images_are_warned_of(caplog: Any) -> None:
    log_once.cache_clear()
    test = make(("2", "5", "6"), split="test", stamps=("stamp 9", "stamp 5", "stamp 1"))
    assert_disjoint(make(), test)
    assert "2 of 3 test images of levels have the same content" in caplog.text
    assert "too good: 2, 6." in caplog.text


def test_disjoint_splits_pass() -> None:
    assert_disjoint(make(), make(("2", "5"), split="test"))


def test_the_hash_of_ids_depends_on_their_order_and_borders() -> None:
    lists = (["1", "23"], ["12", "3"], ["23", "1"], ["1"])
    assert len({ids_hash(ids) for ids in lists}) == 4


@pytest.mark.parametrize("key", ["n_train", "n_test", "image_size"])
def test_a_number_that_is_not_an_integer_is_an_error(key: str) -> None:
    with pytest.raises(TypeError, match=rf"data\.{key} must be an integer, got 2\.0"):
        Levels("123", "456", **{key: 2.0})


@pytest.mark.parametrize("key", ["n_train", "n_test", "image_size"])
def test_a_number_below_one_is_an_error(key: str) -> None:
    with pytest.raises(ValueError, match=rf"data\.{key} must be >= 1, got 0"):
        Levels("123", "456", **{key: 0})


def test_an_unknown_split_is_an_error() -> None:
    with pytest.raises(ValueError, match="one of train, test, pretrain, got 'valid'"):
        Levels("123", "45").split("valid")


def test_a_split_is_made_once() -> None:
    data = Levels("123", "45")
    assert data.split("train") is data.split("train")
    assert data.builds == 1


@pytest.mark.parametrize("split", ["train", "pretrain"])
def test_check_refuses_a_split_that_meets_the_test_split(split: str) -> None:
    with pytest.raises(ValueError, match=rf"levels/{split} and levels/test.*: 2$"):
        Levels("123", "24").check([split])


def test_check_passes_disjoint_splits() -> None:
    Levels("123", "45").check(["train", "test", "pretrain"])


def test_classes_follow_their_items_into_a_subset() -> None:
    values = np.array([0, 1, 1], np.int64)
    whole = dataclasses.replace(
        make(("1", "2", "3")), classes={"c": ClassLabels(values, ("a", "b"))}
    )
    assert whole.subset(2).classes["c"].values.tolist() == [0, 1]
    assert whole.labels_fingerprint != make(("1", "2", "3")).labels_fingerprint


@pytest.mark.parametrize(
    ("values", "names"), [([0, 2], ("a", "b")), ([-1, 0], ("a", "b")), ([0, 0], ("a",))]
)
def test_a_class_label_without_a_name_is_an_error(values: list[int], names: tuple[str]) -> None:
    labels = ClassLabels(np.array(values, np.int64), names)
    with pytest.raises(ValueError, match="at least 2 names, and labels from 0 to names - 1"):
        dataclasses.replace(make(("1", "2")), classes={"c": labels})
