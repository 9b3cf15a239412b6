"""CelebA as it is downloaded, copied and exported: found without moving or renaming files."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from stitching.data.celeba import CelebA
from stitching.data.files import FileData
from tests.data.conftest import portrait


def make(root: Path) -> CelebA:
    return CelebA(root, 20, 8, 16, "square", "partition")


def as_downloaded(root: Path, folders: tuple[str, str, str] = ("Img", "Anno", "Eval")) -> None:
    names = ("img_align_celeba", "list_attr_celeba.txt", "list_eval_partition.txt")
    for folder, name in zip(folders, names, strict=True):
        (root / folder).mkdir()
        (root / name).rename(root / folder / name)


def as_png(root: Path) -> None:
    for path in (root / "img_align_celeba").iterdir():
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()


def as_downloaded_png(root: Path) -> None:
    as_png(root)
    as_downloaded(root)
    (root / "Img" / "img_align_celeba").rename(root / "Img" / "img_align_celeba_png")


def in_capitals(root: Path) -> None:
    for path in (root / "img_align_celeba").iterdir():
        path.rename(path.with_suffix(".JPG"))


def as_jpeg(root: Path) -> None:
    for path in (root / "img_align_celeba").iterdir():
        path.rename(path.with_suffix(".jpeg"))


def nested(root: Path) -> None:
    (root / "img_align_celeba").rename(root / "inner")
    (root / "img_align_celeba").mkdir()
    (root / "inner").rename(root / "img_align_celeba" / "img_align_celeba")


def as_downloaded_nested(root: Path) -> None:
    nested(root)
    as_downloaded(root)


def in_lower_case(root: Path) -> None:
    as_downloaded(root, ("img", "anno", "eval"))


@pytest.mark.parametrize(
    "change",
    [
        as_downloaded, as_png, as_downloaded_png, in_capitals, as_jpeg, nested,
        as_downloaded_nested, in_lower_case,
    ],
)  # fmt: skip
def test_every_layout_gives_the_same_images(
    celeba_root: Path, change: Callable[[Path], None]
) -> None:
    before = make(celeba_root).split("test")
    pixels = before.images(slice(None))
    change(celeba_root)
    data = make(celeba_root)
    data.check(["train", "test", "pretrain"])
    after = data.split("test")
    assert after.ids == before.ids
    assert torch.equal(after.images(slice(None)), pixels)
    assert after.labels_fingerprint == before.labels_fingerprint
    # PNG files have other bytes.
    assert (after.fingerprint == before.fingerprint) == (change not in (as_png, as_downloaded_png))


@pytest.mark.parametrize("names", [("000002.JPG", "000002.jpg"), ("000002.jpg", "000002.png")])
def test_one_image_with_two_endings_is_an_error(celeba_root: Path, names: tuple[str, str]) -> None:
    for name in names:
        portrait(2).save(celeba_root / "img_align_celeba" / name)
    with pytest.raises(ValueError, match=rf"{names[0]} and .*{names[1]} are both there"):
        make(celeba_root).check()


def test_an_archive_in_its_own_folder_is_named(celeba_root: Path) -> None:
    as_downloaded(celeba_root)
    shutil.rmtree(celeba_root / "Img" / "img_align_celeba")
    (celeba_root / "Img" / "img_align_celeba.zip").write_bytes(b"PK")
    with pytest.raises(FileNotFoundError, match=r"but img_align_celeba\.zip is there: unpack"):
        make(celeba_root).check()


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_spaces_in_the_csv_form_mean_nothing(
    celeba_root: Path, tables: Callable[..., None], mark: str
) -> None:
    expected = make(celeba_root).split("test").labels_fingerprint
    for path in celeba_root.glob("*.txt"):
        path.unlink()
    tables(celeba_root, range(1, 41), form="csv")
    for path in celeba_root.glob("*.csv"):
        spaced = path.read_text().replace(",", " , ").replace("\n", " \r\n")
        path.write_bytes((mark + spaced).encode())
    assert make(celeba_root).split("test").labels_fingerprint == expected


def test_damage_is_named_here_too(celeba_root: Path) -> None:
    path = celeba_root / "img_align_celeba" / "000003.jpg"
    content = path.read_bytes()
    start = content.index(b"\xff\xda") + 14
    path.write_bytes(content[:start] + bytes(200) + content[start + 200 :])
    data: FileData = make(celeba_root)
    with pytest.warns(UserWarning, match=r"1 of 28 images are damaged.*000003\.jpg: a hole"):
        data.check()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.check()  # once
