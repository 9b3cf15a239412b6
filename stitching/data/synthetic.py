"""Synthetic image data sets: each image is a function of a seed and its index."""

from stitching.data.base import ImageData

#: First index of each split; their ranges do not overlap.
SPLIT_START = {"train": 0, "test": 10_000_000, "pretrain": 20_000_000}
SPLIT_SIZE = 10_000_000


class SyntheticData(ImageData):
    """Images that are generated; every split is a range of indices of its own.

    Args:
        name: Name in configs, results and fingerprints.
        n_train: Number of images of `train`.
        n_test: Number of images of `test`.
        image_size: Height and width of every image, in pixels.
        seed: Number of the series of images, at least 0.
        n_pretrain: Number of images of `pretrain`, for training models.
        root: Must be None; there is no folder to read.

    Raises:
        TypeError: A number is not an integer.
        ValueError: A number is out of range, or a root is given.
    """

    #: What the images are, in messages.
    kind = "drawn images"

    def __init__(
        self,
        name: str,
        n_train: int,
        n_test: int,
        image_size: int,
        seed: int,
        n_pretrain: int,
        root: None = None,
    ) -> None:
        """Check the numbers; nothing is drawn yet."""
        super().__init__(name, n_train, n_test, image_size)
        if root is not None:
            raise ValueError(
                f"data.root={root}: {self.kind} are not read from a folder; choose data=celeba or "
                "data=folder, or drop data.root"
            )
        if seed < 0:
            raise ValueError(f"data.seed must be >= 0, got {seed}")
        self.seed = seed
        self.sizes = {"train": n_train, "test": n_test, "pretrain": n_pretrain}
        for split, size in self.sizes.items():
            if not 1 <= size <= SPLIT_SIZE:
                raise ValueError(f"data.n_{split} must be in 1..{SPLIT_SIZE}, got {size}")

    def indices(self, split: str) -> range:
        """Return the indices of the images of a split."""
        return range(SPLIT_START[split], SPLIT_START[split] + self.sizes[split])
