"""CelebA's tables: the official and the CSV form, and what is wrong with a broken one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.test_celeba import SPLITS, WEB_PAGE, make


def as_csv(root: Path, tables: Callable[..., None]) -> Path:
    for path in root.glob("*.txt"):
        path.unlink()
    tables(root, range(40, 0, -1), form="csv")
    return root


@pytest.mark.parametrize("split", SPLITS)
def test_the_csv_form_equals_the_official_one(
    celeba_root: Path, split: str, tables: Callable[..., None]
) -> None:
    official = make(celeba_root).split(split)
    kaggle = make(as_csv(celeba_root, tables)).split(split)
    assert kaggle.fingerprint == official.fingerprint
    assert kaggle.labels_fingerprint == official.labels_fingerprint


@pytest.mark.parametrize("form", ["txt", "csv"])
@pytest.mark.parametrize("table", ["list_attr_celeba", "list_eval_partition"])
def test_a_web_page_in_place_of_a_table_is_named(
    celeba_root: Path, form: str, table: str, tables: Callable[..., None]
) -> None:
    if form == "csv":
        as_csv(celeba_root, tables)
    (celeba_root / f"{table}.{form}").write_text(WEB_PAGE)
    with pytest.raises(ValueError, match=rf"{table}\.{form} .*web page.*Get the file by hand"):
        make(celeba_root).check()


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (1, "forty", "line 1 must be the number of images, not 'forty'"),
        (1, "41", "line 1 announces 41 images, but 40 rows follow"),
        (2, "Bald Smiling Male Male", "names of its columns are not unique"),
        (3, "000041.jpg 1 0 -1 1", "line 3, Smiling: the value must be -1 or 1, not '0'"),
        (7, "000041.jpg 1 -1 -1", "line 7 has 3 values, not 4"),
        (7, "face.jpg 1 -1 -1 1", "line 7 must begin with a name like 000001.jpg, not 'face"),
    ],
)
def test_junk_in_the_attribute_file_is_named_with_its_line(
    celeba_root: Path, line: int, text: str, message: str
) -> None:
    path = celeba_root / "list_attr_celeba.txt"
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=rf"list_attr_celeba\.txt cannot be used: .*{message}"):
        make(celeba_root).check()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("000001.jpg 0\n000001.jpg 2\n", "line 2 is a second row for image 000001"),
        ("000001.jpg 3\n", "line 1, partition: the value must be 0 or 1 or 2, not '3'"),
        ("", "it is empty"),
        ("PK\x03\x04\xff", "it is not a text file"),
    ],
)
def test_junk_in_the_partition_file_is_named(
    celeba_root: Path, content: str, message: str
) -> None:
    (celeba_root / "list_eval_partition.txt").write_text(content, encoding="latin-1")
    with pytest.raises(ValueError, match=rf"list_eval_partition\.txt .*{message}"):
        make(celeba_root).check()


def test_a_csv_file_without_its_header_is_an_error(
    celeba_root: Path, tables: Callable[..., None]
) -> None:
    path = as_csv(celeba_root, tables) / "list_attr_celeba.csv"
    path.write_text("\n".join(path.read_text().splitlines()[1:]))
    with pytest.raises(ValueError, match=r"line 1 must begin with image_id, not '000040\.jpg,"):
        make(celeba_root).check()


def test_an_image_without_labels_is_an_error(
    celeba_root: Path, tables: Callable[..., None]
) -> None:
    partition = (celeba_root / "list_eval_partition.txt").read_text()
    tables(celeba_root, range(1, 40))
    (celeba_root / "list_eval_partition.txt").write_text(partition)
    with pytest.raises(ValueError, match=r"list_attr.*has no row for 1 images: 000040\. Get"):
        make(celeba_root).check()
