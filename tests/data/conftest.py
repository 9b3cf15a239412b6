"""Small folders of images, drawn when a test asks for them."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COLUMNS = ("Bald", "Smiling", "Male", "Pale_Skin")
IDS = range(1, 41)


def labels_of(number: int) -> dict[str, bool]:
    """Labels as functions of the id; Pale_Skin is never true in the test part."""
    return {
        "Bald": number % 20 == 0,
        "Smiling": number % 2 == 1,
        "Male": number % 3 == 0,
        "Pale_Skin": number % 5 == 0 and part_of(number) != 2,
    }


def part_of(number: int) -> int:
    """1-28 fit, 29-32 validation, 33-40 test."""
    if number <= 28:
        return 0
    return 1 if number <= 32 else 2


def portrait(number: int) -> Image.Image:
    """An image of CelebA's size whose green level shows Smiling and blue level Male."""
    labels = labels_of(number)
    pixels = np.empty((218, 178, 3), np.uint8)
    pixels[:] = (40 + 4 * (number % 50), 200 * labels["Smiling"], 200 * labels["Male"])
    pixels[:20] = (255, 0, 0)
    pixels[198:] = (0, 0, 255)
    return Image.fromarray(pixels)


def write_tables(root: Path, numbers: Iterable[int], form: str = "txt") -> None:
    """Write both tables, rows in the order of `numbers`."""
    numbers = list(numbers)
    rows = [
        [f"{k:06d}.jpg", *("1" if v else "-1" for v in labels_of(k).values())] for k in numbers
    ]
    parts = [[f"{k:06d}.jpg", str(part_of(k))] for k in numbers]
    if form == "csv":
        table = [["image_id", *COLUMNS], *rows]
        (root / "list_attr_celeba.csv").write_text("".join(",".join(r) + "\n" for r in table))
        table = [["image_id", "partition"], *parts]
        (root / "list_eval_partition.csv").write_text("".join(",".join(r) + "\n" for r in table))
    else:
        head = f"{len(numbers)}\n{' '.join(COLUMNS)} \n"
        (root / "list_attr_celeba.txt").write_text(
            head + "".join("  ".join(r) + "\n" for r in rows)
        )
        (root / "list_eval_partition.txt").write_text("".join(" ".join(r) + "\n" for r in parts))


def shuffled(seed: int) -> list[int]:
    return np.random.default_rng(seed).permutation(IDS).tolist()


@pytest.fixture(scope="session")
def celeba_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty images in CelebA's official layout, rows not in the order of names; do not change."""
    root = tmp_path_factory.mktemp("celeba") / "celeba"
    (root / "img_align_celeba").mkdir(parents=True)
    for number in IDS:
        portrait(number).save(root / "img_align_celeba" / f"{number:06d}.jpg", quality=95)
    write_tables(root, shuffled(0))
    return root


@pytest.fixture
def celeba_root(celeba_original: Path, tmp_path: Path) -> Path:
    """A copy of `celeba_original` that a test may damage."""
    return Path(shutil.copytree(celeba_original, tmp_path / "celeba"))


@pytest.fixture
def images_root(tmp_path: Path) -> Path:
    """Forty small images in two subfolders; the level of red is the number of the image."""
    root = tmp_path / "images"
    for number in range(40):
        folder = root / ("even" if number % 2 == 0 else "odd")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 10), (number, 100, 200)).save(folder / f"{number:02d}.png")
    return root


@pytest.fixture
def save_pixels(tmp_path: Path) -> Callable[[str, np.ndarray], Path]:
    """Write an array as an image below tmp_path and return the path."""

    def save(name: str, pixels: np.ndarray) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return path

    return save


@pytest.fixture
def tables() -> Callable[..., None]:
    """The function `write_tables`."""
    return write_tables
