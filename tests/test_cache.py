import pytest
import torch

from stitching.cache import Cache, content_key


class Counter:
    def __init__(self, value=1.0):
        self.calls = 0
        self.value = value

    def __call__(self):
        self.calls += 1
        return {"x": torch.full((3,), self.value)}


def test_an_entry_is_computed_once_and_read_by_later_processes(tmp_path):
    make = Counter()
    first = Cache(tmp_path).tensors("kind", {"a": 1}, make)
    second = Cache(tmp_path).tensors("kind", {"a": 1}, make)
    assert make.calls == 1
    assert torch.equal(first["x"], second["x"])


def test_other_parts_or_kinds_are_other_entries(tmp_path):
    make, cache = Counter(), Cache(tmp_path)
    for kind, parts in (("k", {"a": 1}), ("k", {"a": 2}), ("j", {"a": 1}), ("k", {"b": 1})):
        cache.tensors(kind, parts, make)
    assert make.calls == 4


def test_the_key_does_not_depend_on_the_order_of_names():
    assert content_key({"a": 1, "b": [2]}) == content_key({"b": [2], "a": 1})


def test_a_key_from_nan_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        content_key({"a": float("nan")})


def test_a_failing_computation_leaves_no_entry(tmp_path):
    def fail():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        Cache(tmp_path).tensors("k", {}, fail)
    make = Counter()
    Cache(tmp_path).tensors("k", {}, make)
    assert make.calls == 1
    assert not list(tmp_path.rglob("*.partial"))


def test_a_damaged_file_is_computed_again(tmp_path):
    make = Counter()
    Cache(tmp_path).tensors("k", {}, make)
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:20])
    assert torch.equal(Cache(tmp_path).tensors("k", {}, make)["x"], torch.ones(3))
    assert make.calls == 2


def test_memory_is_bounded_and_the_disk_still_answers(tmp_path):
    make, cache = Counter(), Cache(tmp_path, keep_bytes=24)  # two entries of 12 bytes
    for i in (0, 1, 2, 0):
        cache.tensors("k", {"i": i}, make)
    assert make.calls == 3
    assert len(cache._memory) == 2
