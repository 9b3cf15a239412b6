"""Images in memory, with labels as arrays."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from stitching.compute.images import to_unit
from stitching.data.base import ClassLabels, ImageData, ImageSet, few
from stitching.data.folder import place


class Memory(ImageData):
    """Images given as an array, divided into a fit and a test part.

    Unless `test` marks the test images, they are divided as a folder's are: by the SHA-256 of
    their ids, so that the order of the images, by class or by time, does not matter.

    Args:
        images: Shape (N, 3, S, S) or (N, S, S, 3), uint8 or float in [0, 1], or PIL images of
            S x S pixels. They are copied.
        name: Name of the data set.
        n_train: Number of items of `train`; None for the whole fit part.
        n_test: Number of items of `test`; None for the whole test part.
        test: Bool, shape (N,): which images are the test part; None for a share of them.
        test_share: About this share of all images is the test part; between 0 and 1.
        ids: Unique, one per image; None for their places in the array.
        attributes: Name to N values, bool, 0/1 or -1/1; a `DataFrame` will do.
        factors: Name to N numbers.
        classes: Name to N labels, texts or whole numbers.

    Raises:
        TypeError: Images are of another type, or a number is not an integer.
        ValueError: Images are not square, leave [0, 1] or have other shapes, lengths differ, or a
            part is too small.
    """

    def __init__(
        self,
        images: Any,
        name: str = "memory",
        n_train: int | None = None,
        n_test: int | None = None,
        test: ArrayLike | None = None,
        test_share: float = 0.2,
        ids: Sequence[str] | None = None,
        attributes: Mapping[str, ArrayLike] | None = None,
        factors: Mapping[str, ArrayLike] | None = None,
        classes: Mapping[str, ArrayLike] | None = None,
    ) -> None:
        self._pixels = _pixels(images)
        n = len(self._pixels)
        self._ids = (
            tuple(map(str, ids)) if ids is not None else tuple(f"{i:08d}" for i in range(n))
        )
        _check_length("ids", self._ids, n)
        if len(set(self._ids)) < n:
            raise ValueError("ids must be unique")
        self._parts = self._divided(test, test_share)
        for key, given, part in zip(("n_train", "n_test"), (n_train, n_test), self._parts,
                                    strict=True):  # fmt: skip
            found = len(part)
            if not found or (type(given) is int and given > found):
                raise ValueError(
                    f"{key}={given}, but {found} of the {n} images are in the "
                    f"{'test' if key == 'n_test' else 'fit'} part: give more images, or mark the "
                    f"test images with test=, or change test_share ({test_share})"
                )
        sizes = [len(part) if given is None else given
                 for part, given in zip(self._parts, (n_train, n_test), strict=True)]  # fmt: skip
        super().__init__(name, sizes[0], sizes[1], self._pixels.shape[-1])
        self._attributes = {str(k): _flags(str(k), v, n) for k, v in (attributes or {}).items()}
        self._factors = {str(k): _numbers(str(k), v, n) for k, v in (factors or {}).items()}
        self._classes = {str(k): _labels(str(k), v, n) for k, v in (classes or {}).items()}

    def _divided(
        self, test: ArrayLike | None, share: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the places of the fit and of the test part."""
        if not 0 < share < 1:
            raise ValueError(f"test_share must be between 0 and 1, got {share}")
        places = np.array([place(item) for item in self._ids])
        marked = places < share
        order = np.argsort(places, kind="stable")
        if test is not None:
            marked = np.asarray(test)
            if marked.dtype != bool:
                raise ValueError(
                    f"test must be bool, one per image, got {marked.dtype}: True marks test images"
                )
            _check_length("test", marked, len(self._ids))
        return order[~marked[order]], order[marked[order]]

    def _build(self, split: str) -> ImageSet:
        fit, test = self._parts
        chosen = {"train": fit[: self.n_train], "test": test[: self.n_test], "pretrain": fit}[
            split
        ]
        ids = tuple(self._ids[i] for i in chosen)
        at = dict(zip(ids, chosen.tolist(), strict=True))
        pixels = self._pixels

        def load(items: Sequence[str]) -> Tensor:
            return pixels[[at[item] for item in items]]

        return ImageSet(
            name=self.name,
            split=split,
            ids=ids,
            image_size=self.image_size,
            recipe=f"in memory, {pixels.dtype}",
            load=load,
            attributes={key: values[chosen] for key, values in self._attributes.items()},
            factors={key: values[chosen] for key, values in self._factors.items()},
            classes={
                key: ClassLabels(found.values[chosen], found.names)
                for key, found in self._classes.items()
            },
            stamps=tuple(hashlib.sha256(pixels[i].numpy().tobytes()).hexdigest() for i in chosen),
        )


def _pixels(images: Any) -> Tensor:
    """Return a copy of images as (N, 3, S, S), uint8 or float32."""
    if isinstance(images, Tensor):
        x = images.detach().cpu().clone()
    else:
        if isinstance(images, Sequence) and all(hasattr(image, "convert") for image in images):
            images = [np.asarray(image.convert("RGB")) for image in images]
        try:
            x = torch.from_numpy(np.array(images))
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"images must be an array, a tensor, or PIL images of one size: {error}"
            ) from None
    if x.ndim == 4 and x.shape[1] != 3 and x.shape[3] == 3:
        x = x.permute(0, 3, 1, 2)  # (N, S, S, 3) -> NCHW
    if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] != x.shape[3] or not len(x):
        raise ValueError(
            f"images must have shape (N, 3, S, S) or (N, S, S, 3), got {tuple(x.shape)}: crop "
            "them to squares, and repeat the channel of grey ones"
        )
    return (x if x.dtype == torch.uint8 else to_unit(x)).contiguous()


def _check_length(name: str, values: Any, n: int) -> None:
    if np.shape(values) != (n,):
        raise ValueError(f"{name} must have one value for each of {n} images, got shape "
                         f"{np.shape(values)}")  # fmt: skip


def _flags(name: str, values: ArrayLike, n: int) -> NDArray[np.bool_]:
    found = np.asarray(values)
    _check_length(f"attribute {name}", found, n)
    known = set(found.tolist())
    if not (known <= {0, 1} or known <= {-1, 1}):  # True equals 1
        shown = few([repr(value) for value in list(known)[:4]])
        raise ValueError(
            f"attribute {name} must be bool, 0/1 or -1/1, got {shown}: give labels of more than "
            "two kinds as classes, numbers as factors"
        )
    return np.array([value == 1 for value in found.tolist()], np.bool_)


def _numbers(name: str, values: ArrayLike, n: int) -> NDArray[np.float32]:
    _check_length(f"factor {name}", values, n)
    return np.array(values, np.float32)


def _labels(name: str, values: ArrayLike, n: int) -> ClassLabels:
    found = np.asarray(values)
    _check_length(f"class {name}", found, n)
    names = sorted(set(found.tolist()))
    if len(names) < 2:
        raise ValueError(f"class {name} must have two labels or more, got {names}")
    number = {label: k for k, label in enumerate(names)}
    return ClassLabels(
        np.array([number[label] for label in found.tolist()], np.int64), tuple(map(str, names))
    )
