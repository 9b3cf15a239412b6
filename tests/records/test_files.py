"""Files are replaced whole, and JSON is read whatever its state."""

import json
import os

import pytest

from stitching.records.files import read_json, replacing, write_json


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_replaced_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    foreign = tmp_path / f".a.{os.getpid()}.0.partial"
    foreign.write_bytes(b"theirs")
    with pytest.raises(FileNotFoundError), replacing(path) as partial:
        partial.unlink()
    with pytest.raises(TypeError), replacing(path) as partial:
        partial.write_bytes(None)
    assert contents(tmp_path) == {"a": b"old", foreign.name: b"theirs"}
    with replacing(path) as partial:
        partial.write_bytes(b"new")
    assert contents(tmp_path) == {"a": b"new", foreign.name: b"theirs"}


def test_the_new_file_may_be_elsewhere_and_is_gone_after_an_error(tmp_path):
    path, partial = tmp_path / "a", tmp_path / "b"
    with replacing(path, partial=partial, durable=False):
        partial.write_bytes(b"new")
    assert contents(tmp_path) == {"a": b"new"}
    with pytest.raises(ZeroDivisionError), replacing(path, partial=partial):
        _ = 1 / (partial.write_bytes(b"half") - 4)
    assert contents(tmp_path) == {"a": b"new"}


def test_json_with_nan_is_refused_and_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []
    write_json(tmp_path / "x.json", {"a": 1})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1}


@pytest.mark.parametrize("text", [None, "", "{", "[1]", "\udcff", "[" * 100_000])
def test_what_is_no_json_object_is_read_as_empty(tmp_path, text):
    if text is not None:
        (tmp_path / "x.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert read_json(tmp_path / "x.json") == {}
