"""Base classes of image data sets: images in [0, 1], ids, labels, and splits disjoint by id.

`ImageSet` is one split, `ImageData` the data set that makes the splits. Images, labels and factors
are looked up by id, never paired by their places in two lists.
"""

import hashlib
import json
import logging
import operator
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import SupportsIndex

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stitching.compute.images import to_unit
from stitching.compute.notes import log_once

log = logging.getLogger(__name__)

#: `train` fits maps and probes, `test` is only measured on, `pretrain` trains models of the zoo;
#: `train` and `pretrain` may overlap, `test` is disjoint from both.
SPLITS = ("train", "test", "pretrain")


@dataclass(frozen=True, eq=False)
class ClassLabels:
    """Class labels, one per item.

    Attributes:
        values: Shape (N,), int64, places in `names`.
        names: One per class, at least two.
    """

    values: NDArray[np.int64]
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageSet:
    """One split of a data set; its order never changes.

    Attributes:
        name: Name of the data set.
        split: Name of the split, one of `SPLITS`.
        ids: Unique and stable, one per item.
        image_size: Height and width of every image, in pixels.
        recipe: Text of every setting and version, besides the ids, that determines the pixels.
        load: Takes ids and returns their images, shape (n, 3, image_size, image_size), uint8 or
            float in [0, 1]. It must be a pure function of each id, so that an image does not
            depend on its batch.
        attributes: Name to bool array of shape (N,), aligned with `ids`; no unknown values.
        factors: Name to float32 array of shape (N,), aligned with `ids`.
        classes: Name to class labels, their values of shape (N,), aligned with `ids`.
        stamps: For images that can change under one id (files): one text per item that changes
            with the content. Empty if recipe and id determine the pixels.
    """

    name: str
    split: str
    ids: tuple[str, ...]
    image_size: int
    recipe: str
    load: Callable[[Sequence[str]], Tensor] = field(repr=False)
    attributes: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict, repr=False)
    factors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)
    classes: Mapping[str, ClassLabels] = field(default_factory=dict, repr=False)
    stamps: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        """Check that ids are unique and that labels have one value per id.

        Raises:
            ValueError: No ids, an id appears twice, a length differs, a factor is not finite, or
                a class label is not the place of a name.
            TypeError: Attributes are not bool, factors not float32, or class labels not int64.
        """
        where = f"{self.name}/{self.split}"
        if not self.ids:
            raise ValueError(f"{where}: has no items")
        if len(set(self.ids)) != len(self.ids):
            twice = [item for item, count in Counter(self.ids).items() if count > 1]
            raise ValueError(f"{where}: ids must be unique, more than once: {few(twice)}")
        if self.stamps and len(self.stamps) != len(self):
            raise ValueError(f"{where}: {len(self.stamps)} stamps for {len(self)} ids")
        tables: dict[tuple[str, str], Mapping[str, NDArray[np.generic]]] = {
            ("attribute", "bool"): self.attributes,
            ("factor", "float32"): self.factors,
            ("class", "int64"): {key: found.values for key, found in self.classes.items()},
        }
        for (kind, dtype), table in tables.items():
            for key, values in table.items():
                if values.dtype != dtype:
                    raise TypeError(f"{where}: {kind} {key} must be {dtype}, got {values.dtype}")
                if values.shape != (len(self),):
                    raise ValueError(
                        f"{where}: {kind} {key} has shape {values.shape}, "
                        f"but there are {len(self)} ids"
                    )
                if not np.isfinite(values.astype(np.float64)).all():
                    raise ValueError(f"{where}: {kind} {key} has values that are not finite")
        for key, found in self.classes.items():
            n = len(found.names)
            if n < 2 or found.values.min() < 0 or found.values.max() >= n:
                raise ValueError(
                    f"{where}: class {key} has {n} names and labels from {found.values.min()} to "
                    f"{found.values.max()}: at least 2 names, and labels from 0 to names - 1"
                )

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.ids)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of everything that determines the pixels and their order.

        These are data set name, recipe, image size, ids and stamps. Labels and the name of the
        split do not enter: equal pixels have equal fingerprints.
        """
        return self.fingerprint_of(slice(None))

    def fingerprint_of(self, items: slice) -> str:
        """Return the fingerprint of the set of the items at these places in `ids` alone."""
        ids, stamps = self.ids[items], self.stamps[items]
        return _digest([self.name, self.recipe, self.image_size, ids, stamps])

    @cached_property
    def labels_fingerprint(self) -> str:
        """SHA-256 (hex) of ids, attributes, factors and classes."""
        tables = [
            [[key, hashlib.sha256(values.tobytes()).hexdigest()] for key, values in table.items()]
            for table in (self.attributes, self.factors)
        ]
        named = [[key, found.names, found.values.tolist()] for key, found in self.classes.items()]
        return _digest([self.ids, tables, named])

    def images(self, indices: Sequence[int] | NDArray[np.integer] | slice) -> Tensor:
        """Return images as float32 in [0, 1], shape (n, 3, image_size, image_size).

        Args:
            indices: Places in `ids`, from 0 to len(self) - 1, or a slice.

        Raises:
            IndexError: An index lies outside the split (negative ones included).
            TypeError: An index is not an integer, as in a mask.
            ValueError: An image cannot be read, or `load` returned another shape or range.
        """
        if isinstance(indices, slice):
            places = list(range(len(self))[indices])
        else:
            places = [_index(i, len(self)) for i in indices]
        expected = (len(places), 3, self.image_size, self.image_size)
        if not places:
            return torch.empty(expected)
        x = to_unit(self.load([self.ids[i] for i in places]))
        if tuple(x.shape) != expected:
            raise ValueError(f"{self.name}: images have shape {tuple(x.shape)}, not {expected}")
        return x.contiguous()  # one memory layout, whatever the loader's

    def batches(self, batch_size: int) -> Iterator[Tensor]:
        """Yield all images in order, `batch_size` at a time; the last batch may be shorter.

        Raises:
            ValueError: batch_size < 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {batch_size}")
        return (
            self.images(slice(start, start + batch_size))
            for start in range(0, len(self), batch_size)
        )

    def subset(self, n: int) -> "ImageSet":
        """Return the set of the first n items.

        Raises:
            ValueError: n is not between 1 and len(self).
        """
        if not 1 <= n <= len(self):
            raise ValueError(f"{self.name}/{self.split} has {len(self)} items, asked for {n}")
        return self.part(0, n)

    def part(self, start: int, stop: int) -> "ImageSet":
        """Return the set of the items from place start up to, not including, stop.

        Its fingerprint is `fingerprint_of` these places.

        Raises:
            ValueError: Not 0 <= start < stop <= len(self).
        """
        if not 0 <= start < stop <= len(self):
            raise ValueError(
                f"{self.name}/{self.split} has {len(self)} items, asked for places {start} to "
                f"{stop}, not included"
            )
        return self.pick(range(start, stop))

    def pick(self, places: Sequence[int]) -> "ImageSet":
        """Return the set of the items at some places, ascending.

        It equals a set made from these items alone, in fingerprint and labels.
        """
        kept = np.asarray(places, np.int64)
        return replace(
            self,
            ids=tuple(self.ids[i] for i in places),
            stamps=tuple(self.stamps[i] for i in places) if self.stamps else (),
            attributes={key: values[kept] for key, values in self.attributes.items()},
            factors={key: values[kept] for key, values in self.factors.items()},
            classes={
                key: ClassLabels(found.values[kept], found.names)
                for key, found in self.classes.items()
            },
        )


class ImageData(ABC):
    """Base class of data sets, which make the three splits and check them.

    Args:
        name: Name in configs, results and fingerprints.
        n_train: Number of items of the split `train`.
        n_test: Number of items of the split `test`.
        image_size: Height and width of every image, in pixels.

    Attributes:
        cache: Folder where a data set of files keeps facts about them; None: nowhere.

    Raises:
        TypeError: A number is not an integer.
        ValueError: A number is below 1.
    """

    cache: Path | None = None

    def __init__(self, name: str, n_train: int, n_test: int, image_size: int) -> None:
        for key, value in (("n_train", n_train), ("n_test", n_test), ("image_size", image_size)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"data.{key} must be an integer, got {value!r}")
            if value < 1:
                raise ValueError(f"data.{key} must be >= 1, got {value}")
        self.name = name
        self.n_train = n_train
        self.n_test = n_test
        self.image_size = image_size
        self._built: dict[str, ImageSet] = {}

    def split(self, split: str) -> ImageSet:
        """Return a split: "train", "test" or "pretrain".

        `train` has `n_train` items, `test` has `n_test`; `pretrain` is the whole fit part,
        whatever `n_train` is. No id of `test` is in one of the others.

        Raises:
            ValueError: No such split, or the data set is too small for it.
            FileNotFoundError: A file that the split needs is missing.
        """
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        if split not in self._built:
            self._built[split] = self._build(split)
        return self._built[split]

    def some_test(self, n: int) -> ImageSet | None:
        """Return the first n images of the test part, or as many as it has; None without any.

        For pictures and rough numbers: measures need all of the split `test`.
        """
        found = self.split("test")
        return found.subset(min(n, len(found)))

    def check(self, splits: Sequence[str] = ("train", "test")) -> None:
        """Check, before any model is run, that the splits in use can be made and read.

        Args:
            splits: The splits in use. `test` is always made, to compare the ids.

        Raises:
            ValueError: Ids overlap, or files are unusable.
            FileNotFoundError: Files are missing.
        """
        test = self.split("test")
        for split in splits:
            if split != "test":
                assert_disjoint(self.split(split), test)

    @abstractmethod
    def _build(self, split: str) -> ImageSet:
        """Make one split; called once for each name of `SPLITS`."""


def ids_hash(ids: Sequence[str]) -> str:
    """Return SHA-256 (hex) of a list of ids; their order counts."""
    return _digest(list(ids))


def assert_disjoint(train: ImageSet, test: ImageSet) -> None:
    """Check that no id is in both splits; warn of test images that are copies of others.

    Raises:
        ValueError: An id is in both; the message names the first.
    """
    inside = set(train.ids)
    both = [item for item in test.ids if item in inside]
    if both:
        raise ValueError(
            f"{len(both)} ids are in both {train.name}/{train.split} and "
            f"{test.name}/{test.split}, which must be disjoint: {few(both)}"
        )
    known = set(train.stamps)
    copies = [item for item, stamp in zip(test.ids, test.stamps, strict=False) if stamp in known]
    if copies:
        log_once(
            log,
            logging.WARNING,
            "%s of %s test images of %s have the same content as images of %s, so that measures "
            "on them are too good: %s. Remove the copies",
            *map(str, (len(copies), len(test), test.name, train.split, few(copies))),
        )


def few(texts: Sequence[str]) -> str:
    """Return the first three texts for an error message, with "..." if there are more."""
    return ", ".join(texts[:3]) + (", ..." if len(texts) > 3 else "")


def _index(value: SupportsIndex, length: int) -> int:
    if isinstance(value, (bool, np.bool_)):
        raise TypeError("indices must be integers, got a mask: use numpy.flatnonzero(mask)")
    place = operator.index(value)
    if not 0 <= place < length:
        raise IndexError(f"index {place} is outside 0..{length - 1}")
    return place


def _digest(content: object) -> str:
    # JSON separates the texts, which joining would not, and escapes undecodable file names.
    return hashlib.sha256(json.dumps(content).encode("ascii")).hexdigest()
