"""Which files below a folder are its images: links, hidden and system folders, parts."""

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from stitching.data.folder import Folder
from stitching.data.walk import find_images


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return path


def found(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in find_images(root)]


@pytest.mark.parametrize(
    "name",
    [
        "._00.png",
        ".thumbnails/00.png",
        "@eaDir/00.png/SYNOPHOTO_THUMB_M.jpg",
        "odd/@eaDir/00.jpg",
        "__MACOSX/odd/00.png",
        "$RECYCLE.BIN/00.png",
        "System Volume Information/00.png",
        "#recycle/00.png",
        "lost+found/00.png",
        ".ipynb_checkpoints/00-checkpoint.png",
    ],
)
def test_images_in_system_folders_are_left_out_and_counted(tmp_path: Path, name: str) -> None:
    root = tmp_path / "images"
    image(root / "odd" / "01.png")
    image(root / name)
    with pytest.warns(UserWarning, match="1 images below .*images are hidden or in a sys") as seen:
        assert found(root) == ["odd/01.png"]
    assert str(seen[0].message).endswith(name)
    assert len(seen) == 1


@pytest.mark.parametrize("where", ["@eaDir", ".cache/images"])
def test_a_root_in_a_system_folder_is_meant(tmp_path: Path, where: str) -> None:
    image(tmp_path / where / "a" / "01.png")
    assert found(tmp_path / where) == ["a/01.png"]


def test_links_to_folders_and_files_are_followed(tmp_path: Path) -> None:
    root, far = tmp_path / "images", tmp_path / "far"
    image(root / "cats" / "1.png")
    image(far / "dogs" / "small" / "2.png")
    image(far / "3.png")
    (root / "dogs").symlink_to(far / "dogs")
    (root / "cats" / "3.png").symlink_to("../../far/3.png")
    assert found(root) == ["cats/1.png", "cats/3.png", "dogs/small/2.png"]


def test_links_below_a_linked_folder_are_followed(tmp_path: Path) -> None:
    root = tmp_path / "images"
    image(root / "a.png")
    image(tmp_path / "far" / "b.png")
    image(tmp_path / "farther" / "c.png")
    (root / "far").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "on").symlink_to(tmp_path / "farther")
    assert found(root) == ["a.png", "far/b.png", "far/on/c.png"]


@pytest.mark.parametrize("target", [".", "..", "/", "cats", "../alias/cats"])
def test_a_link_back_is_reported_and_nothing_is_used_twice(tmp_path: Path, target: str) -> None:
    root = tmp_path / "images"
    image(root / "cats" / "1.png")
    image(tmp_path / "beside.png")
    (tmp_path / "alias").symlink_to(root)
    (root / "a link").symlink_to(target)
    with pytest.warns(UserWarning, match="1 links below .* are used already: a link$"):
        assert found(root) == ["cats/1.png"]


def test_two_links_to_one_folder_are_one_folder(tmp_path: Path) -> None:
    root = tmp_path / "images"
    image(tmp_path / "far" / "1.png")
    root.mkdir()
    (root / "b").symlink_to(tmp_path / "far")
    (root / "a").symlink_to(tmp_path / "far")
    with pytest.warns(UserWarning, match="are used already: b$"):
        assert found(root) == ["a/1.png"]


def test_a_root_that_is_a_link_is_followed(tmp_path: Path) -> None:
    image(tmp_path / "images" / "1.png")
    (tmp_path / "link").symlink_to("images")
    assert found(tmp_path / "link") == ["1.png"]


def test_images_whose_links_lead_nowhere_are_counted_and_named(tmp_path: Path) -> None:
    image(tmp_path / "0.png")
    for number in range(1, 5):
        (tmp_path / f"{number}.png").symlink_to(tmp_path / "gone")
    with pytest.raises(
        FileNotFoundError, match=r"4 links below .*: 1\.png, 2\.png, 3\.png, \.+\."
    ):
        find_images(tmp_path)


@pytest.mark.parametrize("target", ["gone", "cats"])
def test_other_links_that_lead_nowhere_are_reported(tmp_path: Path, target: str) -> None:
    image(tmp_path / "0.png")
    (tmp_path / "cats").symlink_to(target)  # a disk not mounted, or the link itself
    with pytest.warns(UserWarning, match="1 links below .* lead nowhere, and are not used: cats$"):
        assert found(tmp_path) == ["0.png"]


def test_what_is_no_file_is_no_image(tmp_path: Path) -> None:
    image(tmp_path / "0.png")
    os.mkfifo(tmp_path / "1.png")
    image(tmp_path / "2.png" / "3.png")
    assert found(tmp_path) == ["0.png", "2.png/3.png"]


def test_a_folder_that_cannot_be_listed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image(tmp_path / "cats" / "0.png")
    scandir = os.scandir

    def refusing(path: str) -> Any:
        if path.endswith("cats"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(OSError, match=r"cats cannot be searched for images \(Permission denied\)"):
        find_images(tmp_path)


def parts(root: Path, *folders: str, n: int = 6) -> Folder:
    for folder in folders:
        for kind in ("cat", "dog"):
            for number in range(n):
                image(root / folder / kind / f"{number}.png")
    return Folder(root, 3, 2, 8, attributes=None, test_share=0.2, classes="folders")


@pytest.mark.parametrize(
    "folders",
    [("train", "val"), ("train", "valid"), ("training", "test"), ("Train", "Validation")],
)
def test_the_folders_of_parts_are_the_split_and_no_classes(
    tmp_path: Path, folders: tuple[str, str]
) -> None:
    data = parts(tmp_path, *folders)
    data.check(["train", "test", "pretrain"])
    for split, folder in (("train", 0), ("pretrain", 0), ("test", 1)):
        one = data.split(split)
        labels = one.classes["folder"]
        assert labels.names == ("cat", "dog")
        names = [labels.names[k] for k in labels.values]
        assert {item.split("/")[0] for item in one.ids} == {folders[folder]}
        assert [item.split("/")[1] for item in one.ids] == names
    assert len(data.split("pretrain")) == 12


def test_validation_beside_a_test_part_is_counted_and_not_used(tmp_path: Path) -> None:
    data = parts(tmp_path, "train", "val", "test")
    with pytest.warns(UserWarning, match="12 images below .* are for validation"):
        assert {item.split("/")[0] for item in data.split("test").ids} == {"test"}


@pytest.mark.parametrize(
    "folders", [("train", "bus"), ("train", "val", "extra"), ("val", "test"), ("cat", "dog")]
)
def test_other_folders_stay_classes(tmp_path: Path, folders: tuple[str, ...]) -> None:
    names = parts(tmp_path, *folders).split("train").classes["folder"].names
    assert names == tuple(sorted(folders))


def test_folders_of_parts_are_not_looked_at_without_classes(tmp_path: Path) -> None:
    data = parts(tmp_path, "train", "val")
    data.classes = None
    assert {item.split("/")[0] for item in data.split("pretrain").ids} == {"train", "val"}


def test_images_of_a_part_need_a_folder_of_their_class(tmp_path: Path) -> None:
    data = parts(tmp_path, "train", "val")
    image(tmp_path / "val" / "stray.png")
    with pytest.raises(ValueError, match=r"folders below train and val .*none: val/stray"):
        data.check()


def test_too_few_images_in_a_part_are_named_with_their_folder(tmp_path: Path) -> None:
    data = parts(tmp_path, "train", "val", n=1)
    with pytest.raises(ValueError, match=r"2 of the 4 .* in the fit part.*move some to train$"):
        data.check()
