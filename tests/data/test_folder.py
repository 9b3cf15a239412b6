"""A folder of images: ids, labels from CSV, a split that never moves an image, decoding."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from stitching.data.folder import Folder, place

CONFIG = Path(__file__).parents[2] / "conf" / "data" / "folder.yaml"
SPLITS = ["train", "test", "pretrain"]
Save = Callable[[str, np.ndarray], Path]


def make(root: Path | None, **changes: Any) -> Folder:
    settings: dict[str, Any] = {
        "root": root,
        "n_train": 12,
        "n_test": 5,
        "image_size": 8,
        "attributes": None,
        "test_share": 0.3,
    }
    return Folder(**(settings | changes))


def one_image(root: Path, size: int = 8) -> torch.Tensor:
    """The only image of a folder, as levels 0..255."""
    data = make(root, n_train=1, image_size=size, test_share=1e-9)
    return data.split("train").images([0])[0] * 255


def write_csv(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Rows in shuffled order, every other one by id; Third and Big are functions of the number."""
    lines = ["file,Third,Big"]
    for row, number in enumerate(np.random.default_rng(1).permutation(40).tolist()):
        name = f"{'odd' if number % 2 else 'even'}/{number:02d}{'.png' if row % 2 else ''}"
        lines.append(f"{name},{int(number % 3 == 0)},{int(number >= 20)}")
    return write_csv(tmp_path / "labels.csv", lines)


def test_ids_are_paths_below_the_root_without_their_suffix(images_root: Path) -> None:
    data = make(images_root)
    ids = {*data.split("pretrain").ids, *make(images_root, n_test=9).split("test").ids}
    assert "even/04" in ids
    assert "odd/17" in ids


@pytest.mark.parametrize("split", SPLITS)
def test_images_and_labels_are_those_of_the_id(images_root: Path, table: Path, split: str) -> None:
    one = make(images_root, attributes=table).split(split)
    numbers = [int(item[-2:]) for item in one.ids]
    red = (one.images(slice(None))[:, 0, 4, 4] * 255).round().int().tolist()
    assert red == numbers
    assert one.attributes["Third"].tolist() == [k % 3 == 0 for k in numbers]
    assert one.attributes["Big"].tolist() == [k >= 20 for k in numbers]


def test_splits_have_the_sizes_asked_for_and_do_not_meet(images_root: Path) -> None:
    data = make(images_root)
    train, test, pretrain = (set(data.split(split).ids) for split in SPLITS)
    assert (len(train), len(test)) == (12, 5)
    assert train < pretrain
    assert not test & pretrain
    data.check(SPLITS)


def test_a_place_is_the_hash_of_the_id_as_a_fraction() -> None:
    # SHA-256 of the empty text begins with e3b0c442; of "abc" with ba7816bf (FIPS 180-4).
    assert place("") == pytest.approx(0xE3B0C442 / 2**32, abs=2**-32)
    assert place("abc") == pytest.approx(0xBA7816BF / 2**32, abs=2**-32)


def test_places_are_spread_evenly() -> None:
    places = np.array([place(str(i)) for i in range(2000)])
    # Three standard errors of a share of 0.2 in 2000.
    assert abs((places < 0.2).mean() - 0.2) < 3 * np.sqrt(0.2 * 0.8 / 2000)


def test_smaller_numbers_give_the_first_of_the_same_images(images_root: Path) -> None:
    small, large = make(images_root, n_train=4, n_test=2), make(images_root)
    assert small.split("train").ids == large.split("train").ids[:4]
    assert small.split("test").ids == large.split("test").ids[:2]
    assert small.split("pretrain").ids == large.split("pretrain").ids


def test_more_files_move_no_image_to_the_other_side(images_root: Path) -> None:
    before = make(images_root)
    fit = set(before.split("pretrain").ids)
    everything = {f"{'odd' if k % 2 else 'even'}/{k:02d}" for k in range(40)}
    for number in range(30):
        Image.new("RGB", (8, 8)).save(images_root / f"new{number}.png")
    after = make(images_root)
    assert set(after.split("pretrain").ids) & everything == fit


def test_files_that_do_not_enter_a_split_do_not_change_its_fingerprint(images_root: Path) -> None:
    reference = {split: make(images_root).split(split).fingerprint for split in SPLITS}
    name = next(f"new{k}" for k in range(100) if place(f"new{k}") < 0.3)
    Image.new("RGB", (8, 8)).save(images_root / f"{name}.png")
    (images_root / "notes.txt").write_text("unrelated")
    after = make(images_root)
    assert after.split("train").fingerprint == reference["train"]
    assert after.split("pretrain").fingerprint == reference["pretrain"]


def test_an_exchanged_file_changes_the_fingerprint(images_root: Path) -> None:
    reference = make(images_root).split("train")
    Image.new("RGB", (99, 99), "red").save(images_root / f"{reference.ids[0]}.png")
    assert make(images_root).split("train").fingerprint != reference.fingerprint


@pytest.mark.parametrize("i", [0, 4])
def test_an_image_does_not_depend_on_its_batch(images_root: Path, i: int) -> None:
    one = make(images_root).split("test")
    assert torch.equal(one.images([i])[0], one.images(slice(None))[i])


def test_a_relative_root_starts_at_the_current_directory(
    images_root: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(images_root.parent)
    relative = make(Path("images"), attributes=table.name)
    relative.check()
    assert relative.split("test").fingerprint == make(images_root).split("test").fingerprint


def test_every_setting_is_in_the_config_file() -> None:
    settings = yaml.safe_load(CONFIG.read_text())
    assert settings.pop("_target_") == "stitching.data.folder.Folder"
    assert settings.keys() == inspect.signature(Folder).parameters.keys()
    Folder(**(settings | {"root": "somewhere"}))


def test_other_files_are_left_alone(images_root: Path) -> None:
    expected = make(images_root).split("pretrain").ids
    for name in (".DS_Store", "00.png.part", "readme.md", "Thumbs.db", "even/desktop.ini"):
        (images_root / name).write_text("no image")
    assert make(images_root).split("pretrain").ids == expected


def test_suffixes_may_be_in_capitals(save_pixels: Save) -> None:
    path = save_pixels("one/A.PNG", np.full((8, 8, 3), 50, np.uint8))
    assert one_image(path.parent).unique().tolist() == [50]


def test_two_files_with_one_id_are_named(images_root: Path) -> None:
    Image.new("RGB", (8, 8)).save(images_root / "even" / "04.jpg")
    with pytest.raises(ValueError, match=r"04\.jpg and .*04\.png have the same id, even/04"):
        make(images_root).check()


@pytest.mark.parametrize("values", ["01", ("-1", "1"), ("False", "TRUE"), ("false", "true")])
def test_each_way_to_write_labels_means_the_same(
    images_root: Path, table: Path, values: tuple[str, str]
) -> None:
    expected = make(images_root, attributes=table).split("train").labels_fingerprint
    rows = [line.split(",") for line in table.read_text().splitlines()]
    lines = [",".join([row[0], *(values[int(v)] for v in row[1:])]) for row in rows[1:]]
    write_csv(table, [",".join(rows[0]), *lines])
    assert make(images_root, attributes=table).split("train").labels_fingerprint == expected


def test_rows_without_an_image_are_left_alone(images_root: Path, table: Path) -> None:
    write_csv(table, [*table.read_text().splitlines(), "elsewhere.png,1,0"])
    make(images_root, attributes=table).check()


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (1, "even/00,1,0", "line 1 must be a header, but begins with the image even/00"),
        (1, "file", "line 1 must name two columns or more"),
        (1, "file,Big,Big", "names of columns must be unique"),
        (5, "elsewhere,1", "line 5 has 2 values, not 3"),
        (5, "elsewhere,1,yes", r"all 0/1, all -1/1 .* but there are 'yes' \(line 5, Big\)\. "),
        (5, "elsewhere,,1", r"there are '' \(line 5, Third\)"),
        (5, "elsewhere,1,-1", r"there are '[01]' \(.*\), .*'-1' \(line 5, Big\)"),
    ],
)
def test_junk_in_the_table_is_named_with_its_line(
    images_root: Path, table: Path, line: int, text: str, message: str
) -> None:
    # The odd line is added, not exchanged, so that no image lacks its row.
    lines = table.read_text().splitlines()
    lines[line - 1 : line if line == 1 else line - 1] = [text]
    write_csv(table, lines)
    with pytest.raises(ValueError, match=rf"data\.attributes=.*labels\.csv cannot.*{message}"):
        make(images_root, attributes=table).check()


def test_images_without_a_row_are_counted_and_named(images_root: Path, table: Path) -> None:
    lines = table.read_text().splitlines()
    write_csv(table, [line for line in lines if not line.startswith(("even/0", "odd/11"))])
    with pytest.raises(
        ValueError, match=r"6 of 40 images have no row: even/00, even/02, even/04, \.\.\."
    ):
        make(images_root, attributes=table).check()


def test_a_second_row_for_an_image_is_an_error(images_root: Path, table: Path) -> None:
    write_csv(table, [*table.read_text().splitlines(), "odd/11,1,0"])
    with pytest.raises(ValueError, match="line 42 is a second row for image odd/11"):
        make(images_root, attributes=table).check()


def test_a_name_that_means_two_images_is_an_error(images_root: Path, table: Path) -> None:
    Image.new("RGB", (8, 8)).save(images_root / "even" / "04.png.jpg")
    with pytest.raises(ValueError, match=r"even/04\.png is one image's file name and another's"):
        make(images_root, attributes=table).check()


def test_a_table_that_is_missing_is_named(images_root: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"data\.attributes=.*none\.csv does not exist"):
        make(images_root, attributes=tmp_path / "none.csv").check()


def test_a_table_that_is_no_text_is_named(images_root: Path) -> None:
    with pytest.raises(ValueError, match=r"00\.png cannot be used: it is not a CSV text file"):
        make(images_root, attributes=images_root / "even" / "00.png").check()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_train": 40}, r"data\.n_train=40, but \d+ of the 40 .*fit part: give data\.n_train"),
        ({"n_test": 40}, r"data\.n_test=40, but \d+ of the 40 .*test part: give data\.n_test"),
        ({"test_share": 1e-9}, r"data\.n_test=5, but 0 of the 40 .*test part: add images"),
    ],
)
def test_more_images_than_a_part_has_is_an_error(
    images_root: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(images_root, **changes).check()


@pytest.mark.parametrize("share", [0, 1, -0.5, float("nan")])
def test_a_share_outside_its_range_is_an_error(images_root: Path, share: float) -> None:
    with pytest.raises(ValueError, match=rf"between 0 and 1, got {share}"):
        make(images_root, test_share=share)


def test_a_root_that_is_not_set_says_how_to_set_it() -> None:
    with pytest.raises(ValueError, match=r"data\.root=/path/to/images"):
        make(None)


def test_a_root_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"data\.root=.*nowhere is not a folder"):
        make(tmp_path / "nowhere").check()


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no images \(\.bmp, "):
        make(tmp_path).check()


def test_the_crop_is_the_central_square(save_pixels: Save) -> None:
    pixels = np.zeros((8, 20, 3), np.uint8)
    pixels[:, 6:14] = np.random.default_rng(0).integers(1, 256, (8, 8, 3))
    path = save_pixels("one/wide.png", pixels)
    x = one_image(path.parent).permute(1, 2, 0)
    np.testing.assert_allclose(x.numpy(), pixels[:, 6:14], atol=1e-4)


def test_a_checkerboard_becomes_grey(save_pixels: Save) -> None:
    board = (np.indices((178, 178)).sum(0) % 2 * 255).astype(np.uint8)
    path = save_pixels("one/board.png", board)
    # Without antialiasing the levels would reach 0 and 255.
    assert (one_image(path.parent, size=64) - 127.5).abs().max() < 8


def test_grey_images_have_three_equal_channels(save_pixels: Save) -> None:
    path = save_pixels("one/grey.png", np.arange(64, dtype=np.uint8).reshape(8, 8))
    x = one_image(path.parent)
    assert torch.equal(x[0], x[1])
    assert torch.equal(x[0], x[2])
    assert x[0].flatten().round().tolist() == list(range(64))


def test_transparent_pixels_lie_over_white(save_pixels: Save) -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :4] = (200, 100, 0, 0)  # invisible
    pixels[:, 4:] = (200, 100, 0, 102)  # visible to 40 %
    path = save_pixels("one/alpha.png", pixels)
    x = one_image(path.parent)
    assert x[:, 0, 0].round().tolist() == [255, 255, 255]
    expected = [0.4 * level + 0.6 * 255 for level in (200, 100, 0)]
    np.testing.assert_allclose(x[:, 0, 7], expected, atol=1)


def test_palette_images_keep_colours_and_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.paste(0, (0, 0, 4, 8))
    image.save(tmp_path / "palette.png", transparency=0)
    x = one_image(tmp_path)
    assert x[:, 0, 0].round().tolist() == [255, 255, 255]
    assert x[:, 0, 7].round().tolist() == [40, 50, 60]


def test_images_are_turned_as_their_exif_orientation_says(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[0] = 255  # top row white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    x = one_image(tmp_path)
    assert (x[:, :, 7] == 255).all()
    assert (x[:, :, :7] == 0).all()


def test_sixteen_bit_images_are_refused_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(tmp_path / "deep.png")
    data = make(tmp_path, n_train=1, test_share=1e-9)
    with pytest.raises(ValueError, match=r"deep\.png: pixel format I;16 .*convert it to 8 bits"):
        data.split("train").images([0])


def test_broken_images_are_counted_and_named_by_check(images_root: Path) -> None:
    ids = make(images_root).split("train").ids[:2]
    for item in ids:
        (images_root / f"{item}.png").write_bytes(b"\x89PNG broken")
    message = rf"2 of 17 images cannot be used: \S+{ids[0]}\.png: not an image, "
    with pytest.raises(ValueError, match=message):
        make(images_root).check()


def test_an_image_cut_off_is_named_when_it_is_read(save_pixels: Save) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save_pixels("one/cut.png", noise)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"cut\.png: .*truncated.*Replace the file"):
        one_image(path.parent)


@pytest.mark.parametrize("split", SPLITS)
def test_the_folder_of_an_image_is_its_class_if_asked_for(images_root: Path, split: str) -> None:
    found = make(images_root, classes="folders").split(split)
    labels = found.classes["folder"]
    assert labels.names == ("even", "odd")
    assert [labels.names[k] for k in labels.values] == [i.partition("/")[0] for i in found.ids]
    assert make(images_root).split(split).classes == {}


def test_an_image_outside_all_folders_has_no_class(images_root: Path) -> None:
    Image.new("RGB", (12, 10)).save(images_root / "stray.png")
    with pytest.raises(ValueError, match="1 images lie in none: stray"):
        make(images_root, classes="folders").check()


def test_one_folder_is_no_choice_of_classes(images_root: Path) -> None:
    with pytest.raises(ValueError, match="two or more folders"):
        make(images_root / "even", classes="folders", n_test=1).check()


def test_classes_come_from_folders_or_not_at_all(images_root: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.classes='csv': use folders, or null"):
        make(images_root, classes="csv")
