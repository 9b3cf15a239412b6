"""CelebA: labels by id, splits, crops at any stored size, broken folders."""

import inspect
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from stitching.data.celeba import CelebA

CONFIG = Path(__file__).parents[2] / "conf" / "data" / "celeba.yaml"
SPLITS = ["train", "test", "pretrain"]
WEB_PAGE = "\n<!DOCTYPE html><html><title>Quota exceeded</title></html>\n"


def make(root: Path | None, **changes: Any) -> CelebA:
    settings: dict[str, Any] = {
        "root": root,
        "n_train": 20,
        "n_test": 8,
        "image_size": 16,
        "crop": "square",
        "split_by": "partition",
    }
    return CelebA(**(settings | changes))


def numbers(data: CelebA, split: str) -> list[int]:
    return [int(item) for item in data.split(split).ids]


@pytest.fixture
def paper_root(tmp_path: Path, tables: Callable[..., None]) -> Path:
    """Ids 8996 to 9006, around the border of the paper's split."""
    root = tmp_path / "paper"
    (root / "img_align_celeba").mkdir(parents=True)
    for number in range(8996, 9007):
        Image.new("RGB", (89, 109)).save(root / "img_align_celeba" / f"{number:06d}.jpg")
    tables(root, range(9006, 8995, -1))
    return root


@pytest.mark.parametrize("split", SPLITS)
def test_labels_are_those_of_the_id_in_the_file_name(celeba_original: Path, split: str) -> None:
    data = make(celeba_original)
    ids, attributes = numbers(data, split), data.split(split).attributes
    assert list(attributes) == ["Bald", "Smiling", "Male", "Pale_Skin"]
    assert attributes["Smiling"].tolist() == [k % 2 == 1 for k in ids]
    assert attributes["Male"].tolist() == [k % 3 == 0 for k in ids]
    assert attributes["Bald"].tolist() == [k % 20 == 0 for k in ids]


@pytest.mark.parametrize("split", SPLITS)
def test_labels_are_those_of_the_pixels(celeba_original: Path, split: str) -> None:
    one = make(celeba_original).split(split)
    green, blue = one.images(slice(None))[:, 1:, 8, 8].T.numpy() * 255
    assert (green > 100).tolist() == one.attributes["Smiling"].tolist()
    assert (blue > 100).tolist() == one.attributes["Male"].tolist()


def test_the_test_part_is_that_of_the_partition_file(celeba_original: Path) -> None:
    data = make(celeba_original)
    attributes = data.split("test").attributes
    assert numbers(data, "test") == [33, 34, 35, 36, 37, 38, 39, 40]
    assert np.flatnonzero(attributes["Smiling"]).tolist() == [0, 2, 4, 6]  # 33, 35, 37, 39
    assert np.flatnonzero(attributes["Male"]).tolist() == [0, 3, 6]  # 33, 36, 39
    assert not attributes["Pale_Skin"].any()


def test_the_fit_part_is_taken_from_its_first_id_and_leaves_validation_out(
    celeba_original: Path,
) -> None:
    data = make(celeba_original)
    assert numbers(data, "train") == list(range(1, 21))
    assert numbers(data, "pretrain") == list(range(1, 29))


@pytest.mark.parametrize("n_train", [1, 28])
def test_n_train_moves_no_other_split(celeba_original: Path, n_train: int) -> None:
    reference, other = make(celeba_original), make(celeba_original, n_train=n_train)
    assert len(other.split("train")) == n_train
    assert other.split("test").fingerprint == reference.split("test").fingerprint
    assert other.split("pretrain").fingerprint == reference.split("pretrain").fingerprint


def test_the_order_of_rows_means_nothing(celeba_root: Path, tables: Callable[..., None]) -> None:
    reference = make(celeba_root).split("train")
    tables(celeba_root, range(40, 0, -1))
    reordered = make(celeba_root).split("train")
    assert reordered.fingerprint == reference.fingerprint
    assert reordered.labels_fingerprint == reference.labels_fingerprint


def test_the_paper_fits_up_to_id_9000_and_tests_from_9001(paper_root: Path) -> None:
    data = make(paper_root, n_train=3, n_test=6, split_by="paper")
    assert numbers(data, "train") == [8996, 8997, 8998]
    assert numbers(data, "pretrain") == [8996, 8997, 8998, 8999, 9000]
    assert numbers(data, "test") == [9001, 9002, 9003, 9004, 9005, 9006]


def test_the_paper_split_needs_no_partition_file(paper_root: Path) -> None:
    (paper_root / "list_eval_partition.txt").unlink()
    make(paper_root, n_train=3, n_test=6, split_by="paper").check(SPLITS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_train": 6}, r"data\.n_train=6, .* has 5 .*ids 1 to 9000.*n_train from 1 to 5"),
        ({"n_test": 7}, r"data\.n_test=7, .* has 6 .*ids after 9000.*n_test from 1 to 6"),
    ],
)
def test_more_images_than_the_paper_split_has_is_an_error(
    paper_root: Path, changes: dict[str, int], message: str
) -> None:
    sizes = {"n_train": 3, "n_test": 6} | changes
    with pytest.raises(ValueError, match=message):
        make(paper_root, split_by="paper", **sizes).check()


def test_a_folder_without_the_papers_test_ids_is_told_of_the_partition_file(
    celeba_original: Path,
) -> None:
    with pytest.raises(ValueError, match=r"has 0 such images .*data\.split_by=partition"):
        make(celeba_original, split_by="paper").check()


def test_more_images_than_the_partition_has_is_an_error(celeba_original: Path) -> None:
    with pytest.raises(ValueError, match=r"has 28 such images \(value 0 in list_eval_partition"):
        make(celeba_original, n_train=29).check()


def test_a_relative_root_starts_at_the_current_directory(
    celeba_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(celeba_root.parent)
    relative, absolute = make(Path("celeba")), make(celeba_root)
    relative.check(SPLITS)
    assert relative.split("test").fingerprint == absolute.split("test").fingerprint


def test_every_setting_is_in_the_config_file() -> None:
    settings = yaml.safe_load(CONFIG.read_text())
    assert settings.pop("_target_") == "stitching.data.celeba.CelebA"
    assert settings.keys() == inspect.signature(CelebA).parameters.keys()
    CelebA(**(settings | {"root": "somewhere"}))


def ramp(width: int, height: int) -> np.ndarray:
    """Red grows along x and green along y, in official pixels; blue is constant."""
    x = (np.arange(width) + 0.5) * 178 / width
    y = (np.arange(height) + 0.5) * 218 / height
    channels = np.broadcast_arrays(x[None, :], y[:, None], np.array(77.0))
    return np.floor(np.stack(channels, -1) + 0.5).astype(np.uint8)


@pytest.mark.parametrize("stored", [(178, 218), (89, 109), (356, 436), (59, 73)])
@pytest.mark.parametrize(
    ("crop", "box"),
    [
        ("square", (0, 20, 178, 178)),
        ("face128", (25, 57, 128, 128)),
        ("squeezed", (0, 0, 178, 218)),
    ],
)
def test_crops_are_where_official_pixels_say_at_any_stored_size(
    celeba_root: Path, stored: tuple[int, int], crop: str, box: tuple[int, int, int, int]
) -> None:
    left, top, width, height = box
    path = celeba_root / "img_align_celeba" / "000033.jpg"
    values = np.minimum(ramp(*stored), 255)
    Image.fromarray(values).save(path.with_suffix(".png"))
    path.unlink()
    x = make(celeba_root, crop=crop).split("test").images([0])[0].numpy() * 255
    # A linear ramp stays itself under any symmetric filter, away from the border.
    centres = (np.arange(16) + 0.5) / 16
    inner = slice(2, -2)
    # Bytes are rounded twice, once in the ramp and once by Pillow.
    np.testing.assert_allclose(x[0, 8, inner], (left + width * centres)[inner], atol=1.1)
    np.testing.assert_allclose(x[1, inner, 8], (top + height * centres)[inner], atol=1.1)
    assert (x[2] == 77).all()


@pytest.mark.parametrize("crop", ["square", "face128"])
def test_a_half_size_copy_gives_nearly_the_same_image(celeba_root: Path, crop: str) -> None:
    x, y = np.meshgrid(np.linspace(-2, 2, 178), np.linspace(-2.4, 2.4, 218))
    smooth = np.stack([np.sin(x + y), np.cos(2 * x), np.sin(y)], -1)
    picture = Image.fromarray((127.5 + 120 * smooth).round().astype(np.uint8))
    folder = celeba_root / "img_align_celeba"
    for number, size in ((33, (178, 218)), (34, (89, 109))):
        (folder / f"{number:06d}.jpg").unlink()
        picture.resize(size, Image.Resampling.BOX).save(folder / f"{number:06d}.png")
    full, half = make(celeba_root, crop=crop).split("test").images([0, 1])
    assert float((full - half).abs().max()) <= 2.5 / 255


def test_what_lies_outside_the_crop_does_not_tint_its_border(celeba_root: Path) -> None:
    path = celeba_root / "img_align_celeba" / "000033.jpg"
    pixels = np.full((218, 178, 3), 90, np.uint8)
    pixels[:20], pixels[198:] = (255, 0, 0), (0, 0, 255)
    Image.fromarray(pixels).save(path.with_suffix(".png"))
    path.unlink()
    x = make(celeba_root).split("test").images([0])
    assert torch.equal(x, torch.full_like(x, 90 / 255))


@pytest.mark.parametrize("i", [0, 3, 7])
def test_an_image_does_not_depend_on_its_batch(celeba_original: Path, i: int) -> None:
    one = make(celeba_original).split("test")
    assert torch.equal(one.images([i])[0], one.images(slice(None))[i])


def test_enlarged_crops_are_announced_once_with_their_size(celeba_original: Path) -> None:
    with pytest.warns(UserWarning, match=r"28 of 28 crops are smaller .*has 178 pixels"):
        make(celeba_original, image_size=200).check()


@pytest.mark.parametrize("changes", [{"crop": "face128"}, {"image_size": 8}, {"n_test": 7}])
def test_the_fingerprint_changes_with_the_settings(
    celeba_original: Path, changes: dict[str, Any]
) -> None:
    reference = make(celeba_original).split("test").fingerprint
    assert make(celeba_original, **changes).split("test").fingerprint != reference


def test_an_exchanged_file_changes_the_fingerprint_of_its_split_only(celeba_root: Path) -> None:
    before = make(celeba_root)
    reference = {split: before.split(split).fingerprint for split in SPLITS}
    path = celeba_root / "img_align_celeba" / "000034.jpg"
    path.write_bytes(path.read_bytes())
    os.utime(path, (1, 1))
    assert make(celeba_root).split("test").fingerprint == reference["test"]
    shutil.copy(path.with_name("000033.jpg"), path)
    after = make(celeba_root)
    assert after.split("test").fingerprint != reference["test"]
    assert after.split("train").fingerprint == reference["train"]
    assert after.split("pretrain").fingerprint == reference["pretrain"]


def test_unrelated_files_do_not_change_a_fingerprint(celeba_root: Path) -> None:
    reference = make(celeba_root).split("test").fingerprint
    shutil.copy(
        celeba_root / "img_align_celeba" / "000034.jpg",
        celeba_root / "img_align_celeba" / "000041.jpg",
    )
    (celeba_root / "notes.txt").write_text("unrelated")
    assert make(celeba_root).split("test").fingerprint == reference


def test_a_file_exchanged_during_the_run_is_an_error(celeba_root: Path) -> None:
    one = make(celeba_root).split("test")
    Image.new("RGB", (178, 218)).save(celeba_root / "img_align_celeba" / "000034.jpg")
    one.images([0])
    with pytest.raises(ValueError, match=r"000034\.jpg: was exchanged"):
        one.images([1])


def test_an_archive_that_was_not_unpacked_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "img_align_celeba.zip", "w") as archive:
        archive.writestr("img_align_celeba/000001.jpg", b"")
    with pytest.raises(
        FileNotFoundError,
        match=r"missing: .*img_align_celeba, .*list_attr_celeba\.txt, .*list_eval_partition\.txt, "
        r"but img_align_celeba\.zip is there: unpack it",
    ):
        make(tmp_path).check()


def test_only_what_is_missing_is_asked_for(celeba_root: Path) -> None:
    shutil.rmtree(celeba_root / "img_align_celeba")
    with pytest.raises(FileNotFoundError, match=r"^missing: \S+img_align_celeba\. data\.root"):
        make(celeba_root).check()


def test_one_missing_image_is_named_with_the_remedy(celeba_root: Path) -> None:
    (celeba_root / "img_align_celeba" / "000035.jpg").unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"1 of 28 images are missing below .*: img_align_celeba/000035\.jpg\. .*by hand",
    ):
        make(celeba_root).check()


def test_missing_images_of_all_splits_make_one_message_with_the_first_three(
    celeba_root: Path,
) -> None:
    for number in (2, 4, 35, 36):
        (celeba_root / "img_align_celeba" / f"{number:06d}.jpg").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"4 of 28 .*000002\.jpg, .*000004\.jpg, .*000035\.jpg, \.\.\."
    ):
        make(celeba_root).check()


def test_a_missing_image_outside_the_splits_in_use_is_no_matter(celeba_root: Path) -> None:
    (celeba_root / "img_align_celeba" / "000028.jpg").unlink()
    make(celeba_root).check(["train", "test"])


def test_a_complete_folder_needs_no_checksums(celeba_original: Path) -> None:
    make(celeba_original).check(SPLITS)


def test_a_file_that_is_no_image_is_named_by_check(celeba_root: Path) -> None:
    (celeba_root / "img_align_celeba" / "000003.jpg").write_text(WEB_PAGE)
    with pytest.raises(ValueError, match=r"1 of 28 images cannot.*000003\.jpg: not an image"):
        make(celeba_root).check()


def test_a_file_cut_off_is_named_when_it_is_read(celeba_root: Path) -> None:
    path = celeba_root / "img_align_celeba" / "000034.jpg"
    path.write_bytes(path.read_bytes()[:-400])
    one = make(celeba_root).split("test")
    one.images([0])
    with pytest.raises(ValueError, match=r"000034\.jpg: .*truncated.*Get the file by hand"):
        one.images([0, 1])


def test_another_shape_than_celebas_is_named_with_its_size(celeba_root: Path) -> None:
    Image.new("RGB", (64, 64)).save(celeba_root / "img_align_celeba" / "000003.jpg")
    with pytest.raises(ValueError, match=r"000003\.jpg: size 64 x 64 .*178 x 218"):
        make(celeba_root).check()


def test_a_root_that_is_not_set_says_how_to_set_it() -> None:
    with pytest.raises(ValueError, match=r"data\.root=/path/to/celeba.*list_attr_celeba\.txt"):
        make(None)


def test_a_root_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"data\.root=.*nowhere is not a folder"):
        make(tmp_path / "nowhere").check()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop": "centre"}, r"data\.crop must be one of square, face128, squeezed, got 'centre'"),
        ({"split_by": "id"}, r"data\.split_by must be one of paper, partition, got 'id'"),
    ],
)
def test_an_unknown_setting_is_an_error(
    celeba_original: Path, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(celeba_original, **changes)
