import subprocess
import sys

import pytest
import torch

from stitching.pipeline.cache import Cache, content_key


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


@pytest.mark.parametrize("length", [0, 3, -1])
def test_a_file_that_is_cut_off_anywhere_is_no_entry(tmp_path, length):
    entry = Cache(tmp_path).entry("k", {})
    Cache(tmp_path).tensors("k", {}, Counter())
    assert entry.exists()
    entry.path.write_bytes(entry.path.read_bytes()[:length])
    assert not entry.exists()


def test_memory_is_bounded_and_the_disk_has_the_rest(tmp_path):
    make, cache = Counter(), Cache(tmp_path, keep_bytes=24)  # two entries of 12 bytes
    for i in (0, 1, 2, 0):
        cache.tensors("k", {"i": i}, make)
    assert make.calls == 3
    assert len(cache._memory) == 2


def test_what_is_only_kept_is_made_once_and_not_written(tmp_path):
    make, cache = Counter(), Cache(tmp_path)
    assert cache.kept("k", {}, make) is cache.kept("k", {}, make)
    assert make.calls == 1
    assert not list(tmp_path.iterdir())


class Stream:
    """Makes entries, with a look at `during` before each."""

    def __init__(self, during=None):
        self.made = []
        self.during = during or {}

    def __call__(self, claimed):
        for i in claimed:
            self.made.append(i)
            self.during.get(i, lambda: None)()
            yield {"x": torch.full((3,), float(i))}


def entries(cache, n=3):
    return [cache.entry("k", {"i": i}) for i in range(n)]


def values(found):
    return [float(entry.read()["x"][0]) for entry in found]


def test_a_stream_makes_what_is_missing_in_order(tmp_path):
    cache, stream = Cache(tmp_path), Stream()
    found = entries(cache, 4)
    cache.tensors("k", {"i": 2}, Counter(2.0))
    cache.fill(found, stream)
    assert stream.made == [0, 1, 3]
    assert values(found) == [0, 1, 2, 3]


def test_entries_of_a_stream_are_those_of_their_parts(tmp_path):
    cache = Cache(tmp_path)
    cache.fill(entries(cache), Stream())
    assert float(cache.tensors("k", {"i": 1}, Counter())["x"][0]) == 1


def test_a_stopped_stream_keeps_what_was_made(tmp_path):
    def stop():
        raise KeyboardInterrupt

    cache = Cache(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        cache.fill(entries(cache), Stream({2: stop}))
    rest = Stream()
    cache.fill(entries(cache), rest)
    assert rest.made == [2]


def test_a_stream_may_look_ahead(tmp_path):
    cache = Cache(tmp_path)
    cache.fill(entries(cache), lambda claimed: Stream()(list(claimed)))
    assert values(entries(cache)) == [0, 1, 2]


def test_what_another_process_made_meanwhile_is_not_made_again(tmp_path):
    found = entries(Cache(tmp_path))
    make = Counter(1.0)
    stream = Stream({0: lambda: Cache(tmp_path).tensors("k", {"i": 1}, make)})
    Cache(tmp_path).fill(found, stream)
    assert (stream.made, make.calls) == ([0, 2], 1)
    assert values(found) == [0, 1, 2]


def test_what_another_process_is_at_is_waited_for_and_not_made_again(tmp_path):
    found = entries(Cache(tmp_path))
    lock = found[0].lock()
    lock.acquire()

    def other():
        found[0].write({"x": torch.full((3,), 0.0)})
        lock.release()

    stream = Stream({2: other})
    Cache(tmp_path).fill(found, stream)
    assert stream.made == [1, 2]
    assert values(found) == [0, 1, 2]


HOLD = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_was_at_is_made_by_another(tmp_path):
    found = entries(Cache(tmp_path))
    command = [sys.executable, "-c", HOLD, str(found[0].lock().lock_file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        stream = Stream({2: process.kill})
        Cache(tmp_path).fill(found, stream)
    assert stream.made == [1, 2, 0]
    assert values(found) == [0, 1, 2]
