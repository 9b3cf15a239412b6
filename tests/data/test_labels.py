"""Tables of attributes as programs export them: spaces, marks, accents, delimiters."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stitching.data.folder import Folder

ROWS = [("file", "Smiling", "Big"), ("a.png", "1", "0"), ("b/c.png", "0", "1"), ("d", "1", "1")]
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD"))


def labels(root: Path, content: bytes, *images: str) -> dict[str, dict[str, int]]:
    """Image -> attribute -> value, read from a table."""
    for name in images or ("a.png", "b/c.png", "d.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / name)
    table = root / "labels.csv"
    table.write_bytes(content)
    data = Folder(root, len(images or "acd"), 1, 8, attributes=table, test_share=1e-9)
    one = data.split("train")
    found = {
        key: np.asarray(values).astype(int).tolist() for key, values in one.attributes.items()
    }
    return {item: {key: found[key][i] for key in found} for i, item in enumerate(one.ids)}


RIGHT = {
    "a": {"Smiling": 1, "Big": 0},
    "b/c": {"Smiling": 0, "Big": 1},
    "d": {"Smiling": 1, "Big": 1},
}


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(",".join(row) for row in ROWS),
        "\n".join(" , ".join(row) + " " for row in ROWS),
        "\n".join(";".join(row) for row in ROWS),
        "\n".join("\t".join(row) for row in ROWS),
        "\ufeff" + "\r\n".join(",".join(row) for row in ROWS) + "\r\n\r\n",
        "\ufeff" + "\r\n".join(";".join(f'"{v}"' for v in row) for row in ROWS) + "\r\n;;\r\n",
        "\r".join(",".join(row) for row in ROWS),
        "\n".join(", ".join(f'"{v}"' for v in row) for row in ROWS),
        "\n".join(",".join(row).replace("b/c", ".\\b\\c") for row in ROWS),
        "\n".join(",".join(row).replace("d,", "./d.png,") for row in ROWS),
    ],
    ids=["plain", "spaces", "semicolons", "tabs", "windows", "excel", "mac", "quotes", "\\", "./"],
)
def test_a_table_is_read_as_it_is_meant(tmp_path: Path, text: str) -> None:
    assert labels(tmp_path, text.encode()) == RIGHT


@pytest.mark.parametrize(("file", "row"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
@pytest.mark.parametrize("suffix", ["", ".png"])
def test_accents_may_be_coded_either_way(tmp_path: Path, file: str, row: str, suffix: str) -> None:
    table = f"file,{DECOMPOSED}\n{row}{suffix},1\nx,0\n"
    found = labels(tmp_path, table.encode(), f"{file}.png", "x.png")
    assert found == {file: {COMPOSED: 1}, "x": {COMPOSED: 0}}


def test_a_name_as_it_is_written_comes_first(tmp_path: Path) -> None:
    table = f"file,A\n{COMPOSED},1\n{DECOMPOSED},0\na b ,1\na b,0\n"
    names = [f"{name}.png" for name in (COMPOSED, DECOMPOSED, "a b ", "a b")]
    found = labels(tmp_path, table.encode(), *names)
    assert found == {COMPOSED: {"A": 1}, DECOMPOSED: {"A": 0}, "a b ": {"A": 1}, "a b": {"A": 0}}


def test_a_name_that_can_mean_two_files_is_an_error(tmp_path: Path) -> None:
    table = f"file,A\n {COMPOSED},1\n".encode()
    with pytest.raises(ValueError, match=r"can mean '.*' or '.*', which differ in spaces") as seen:
        labels(tmp_path, table, f"{COMPOSED}.png", f"{DECOMPOSED}.png")
    assert r"Zo\xeb" in str(seen.value)
    assert r"Zoe\u0308" in str(seen.value)


def test_one_row_for_two_files_that_look_alike_lacks_a_row(tmp_path: Path) -> None:
    table = f"file,A\n{COMPOSED},1\n".encode()
    with pytest.raises(ValueError, match="1 of 2 images have no row"):
        labels(tmp_path, table, f"{COMPOSED}.png", f"{DECOMPOSED}.png")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,A\nx,1\n".encode("utf-16"), "it is UTF-16 or UTF-32 text: save it as UTF-8"),
        ("file,A\nx,1\n".encode("utf-32"), "it is UTF-16 or UTF-32 text: save it as UTF-8"),
        ("file,A\nx,1\n".encode("utf-16-le"), "it is not a CSV text file"),
        ("file,A\nx,1\nZoë,1\n".encode("cp1252"), "line 3 is not UTF-8 text: save it as UTF-8"),
        (b"file|A\nx|1\n", "line 1 must name two columns or more"),
        (b"file,A,A \nx,1,0\n", "names of columns must be unique"),
        (b"", "line 1 must name two columns or more"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(
    tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(ValueError, match=rf"labels\.csv cannot be used: .*{message}"):
        labels(tmp_path, content, "x.png")
