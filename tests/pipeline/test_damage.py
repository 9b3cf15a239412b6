"""Damage in the cache: zeros, cuts, flipped bits. It is noticed, and no number moves."""

import json
import logging
import random
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from stitching.data.faces import Faces
from stitching.maps import Ridge
from stitching.models.pca import PCA
from stitching.pipeline import cache as cache_module
from stitching.pipeline.cache import Cache
from stitching.pipeline.encoding import FrozenModel
from stitching.records import tensorfiles
from stitching.records.status import Index
from stitching.records.tensorfiles import DamagedFile
from tests.small import small_cell, small_vae, small_vae_options, strict

pytestmark = [
    pytest.mark.filterwarnings("ignore::stitching.maps.PenaltyEdgeWarning"),
    pytest.mark.filterwarnings("ignore::stitching.maps.InterpolationWarning"),
]

KINDS = ("factorisations", "features", "fits", "geometry", "latents", "probes", "unclamped")
DATA = Faces("faces", 24, 6, 32, 0, 1)


def run(folder, latent_map=None):
    """Run a cell that uses every kind of entry, as another process would."""
    pca = FrozenModel(PCA("pca", 32, 4).freeze(), {"_target_": "pca", "name": "pca"}, "float32")
    vae = FrozenModel(small_vae(), small_vae_options(), "float32")
    protocol = strict(n_bootstrap=2, n_halves=2)
    cell = small_cell(pca, vae, DATA, Cache(folder), latent_map or Ridge(), protocol=protocol)
    return cell.run()


def flip(data, place, bit=1):
    return data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :]


def header(data):
    """Return the places at which the header ends and the values begin."""
    return 8 + int.from_bytes(data[:8], "little")


def flip_at(text, shift=0):
    return lambda data: flip(data, data.index(text) + shift)


#: Every class of bytes of a file, and every way to lose some.
DAMAGE = {
    "header length": lambda data: flip(data, 0),
    "header length, top": lambda data: flip(data, 7, 128),
    "header begin": lambda data: flip(data, 8),
    "metadata name": flip_at(b"__metadata__", 3),
    "our name": flip_at(b'"stitching"', 2),
    "checksum name": flip_at(b"checksum", 1),
    "checksum": flip_at(b"checksum", 20),
    "parts": flip_at(b"parts", 14),
    "tensor name": flip_at(b'"dtype"', -4),
    "dtype name": flip_at(b'"dtype"', 2),
    "dtype": flip_at(b'"dtype"', 10),
    "shape": flip_at(b'"shape"', 9),
    "offsets": flip_at(b'"data_offsets"', 16),
    "header end": lambda data: flip(data, header(data) - 1),
    "first value": lambda data: flip(data, header(data)),
    "middle value": lambda data: flip(data, (header(data) + len(data)) // 2, 64),
    "last byte": lambda data: flip(data, len(data) - 1, 128),
    "empty": lambda data: b"",
    "four bytes": lambda data: data[:4],
    "length alone": lambda data: data[:8],
    "half a header": lambda data: data[: header(data) // 2],
    "header alone": lambda data: data[: header(data)],
    "cut in the values": lambda data: data[: (header(data) + len(data)) // 2],
    "one byte short": lambda data: data[:-1],
    "one byte more": lambda data: data + b"\0",
    "zeros": lambda data: bytes(len(data)),
    "values zero": lambda data: data[: header(data)] + bytes(len(data) - header(data) - 1) + b"\1",
    "last page zero": lambda data: data[:-64] + b"\1" * 64,
}


def random_damage(data, chance):
    """Flip a bit, overwrite a run of bytes, or cut the file; never leave it as it was."""
    place = chance.randrange(len(data))
    length = chance.randrange(1, 4096)
    found = chance.choice(
        [
            flip(data, place, 1 << chance.randrange(8)),
            data[:place] + bytes(len(data[place : place + length])) + data[place + length :],
            data[:place],
        ]
    )
    return found if found != data else flip(data, place)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A cache with every kind of entry, and what its cell found."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(folder).metrics


@pytest.fixture
def copy(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def new_process(monkeypatch):
    """Nothing is known of any file, and nothing has been warned of."""
    monkeypatch.setattr(tensorfiles, "_verdicts", {})
    monkeypatch.setattr(cache_module, "_reported", set())


def files(folder):
    return {path: path.read_bytes() for path in sorted(folder.glob("*/*.safetensors"))}


def test_the_cell_has_an_entry_of_every_kind(whole):
    assert sorted({path.parent.name for path in files(whole[0])}) == sorted(KINDS)


@pytest.mark.parametrize("damage", DAMAGE)
def test_every_class_of_damage_is_noticed_in_every_kind(copy, damage):
    before = files(copy)
    for path, data in before.items():
        assert DAMAGE[damage](data) != data
        path.write_bytes(DAMAGE[damage](data))
        with pytest.raises(DamagedFile):
            tensorfiles.read(path)


def test_two_hundred_random_corruptions_are_noticed(copy):
    chance, before = random.Random(0), files(copy)
    for i in range(200):
        path = list(before)[i % len(before)]
        path.write_bytes(random_damage(before[path], chance))
        with pytest.raises(DamagedFile):
            tensorfiles.read(path)


@pytest.mark.parametrize("damage", ["zeros", "header alone", "middle value", "checksum"])
def test_a_cell_on_a_damaged_cache_finds_the_same_and_mends_it(whole, copy, damage):
    before = files(copy)
    for path, data in before.items():
        path.write_bytes(DAMAGE[damage](data))
    assert run(copy).metrics == whole[1]
    assert files(copy) == before


def test_cells_on_randomly_damaged_caches_find_the_same_and_mend_them(whole, copy):
    chance, before = random.Random(1), files(copy)
    for _ in range(8):
        for path in chance.sample(list(before), len(before) // 2):
            path.write_bytes(random_damage(before[path], chance))
        assert run(copy).metrics == whole[1]
        assert files(copy) == before


def test_streamed_latents_are_verified_too(tmp_path):
    first = run(tmp_path, Ridge(chunk=8)).metrics
    for path, data in files(tmp_path).items():
        path.write_bytes(DAMAGE["values zero"](data))
    assert run(tmp_path, Ridge(chunk=8)).metrics == first


def test_one_warning_names_kind_file_and_fault(copy, caplog):
    paths = sorted(copy.glob("latents/*.safetensors"))
    for path in paths:
        path.write_bytes(b"")
    with caplog.at_level(logging.INFO, "stitching.pipeline.cache"):
        run(copy)
    (warning,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "kind latents" in warning.getMessage()
    assert "0 bytes" in warning.getMessage()
    assert str(copy) in warning.getMessage()
    assert len(caplog.records) == len(paths)  # one each


def test_a_whole_cache_is_warned_of_nowhere_and_computes_nothing(whole, copy, caplog):
    found = run(copy)
    assert found.metrics == whole[1]
    assert not caplog.records
    assert not [key for key in found.resources if key.startswith("count/computed")]


def test_an_entry_of_an_earlier_version_is_computed_again_without_a_warning(copy, caplog):
    path, *_ = copy.glob("factorisations/*.safetensors")
    before, parts = path.read_bytes(), tensorfiles.read(path).parts
    tensors = {name: torch.zeros_like(x) for name, x in load_file(path).items()}
    save_file(tensors, path, {"parts": json.dumps(parts)})
    with caplog.at_level(logging.INFO, "stitching.pipeline.cache"):
        run(copy)
    assert path.read_bytes() == before
    assert [(r.levelno, "earlier version" in r.getMessage()) for r in caplog.records] == [
        (logging.INFO, True)
    ]


def test_the_file_of_another_entry_is_not_taken(whole, copy):
    one, other = sorted(copy.glob("probes/*.safetensors"))[:2]
    shutil.copyfile(one, other)
    assert run(copy).metrics == whole[1]


def test_a_shape_that_is_known_beforehand_is_checked(tmp_path):
    cache = Cache(tmp_path)
    cache.tensors("k", {}, lambda: {"x": torch.ones(3)})
    assert cache.entry("k", {}, {"x": (3,)}).exists()
    assert not cache.entry("k", {}, {"x": (4,)}).exists()


def test_a_disk_that_returns_other_bytes_is_an_error(tmp_path, monkeypatch):
    def spoil(entry):
        raise DamagedFile("its checksum is wrong")

    monkeypatch.setattr(cache_module.Entry, "read", spoil)
    with pytest.raises(OSError, match="does not return what is written to it"):
        Cache(tmp_path).tensors("k", {}, lambda: {"x": torch.ones(3)})


def test_damage_between_the_check_and_the_reading_is_mended(tmp_path, monkeypatch):
    cache, made = Cache(tmp_path), []
    fill = Cache.fill

    def spoiled(self, entries, compute):
        fill(self, entries, compute)
        if not made:
            made.append(entries[0].path.write_bytes(b"x" * 300))

    monkeypatch.setattr(Cache, "fill", spoiled)
    found = cache.tensors("k", {}, lambda: {"x": torch.ones(3)})
    assert torch.equal(found["x"], torch.ones(3))


def test_a_file_is_hashed_once_per_process_and_again_when_it_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorfiles, "_TICK_NS", -1)
    path = tmp_path / "x.safetensors"
    tensorfiles.write(path, {"x": torch.ones(3)}, {})
    hashed, checksum = [], tensorfiles._checksum
    monkeypatch.setattr(
        tensorfiles, "_checksum", lambda path: (hashed.append(path), checksum(path))[1]
    )
    for _ in range(3):
        tensorfiles.verify(path)
    assert len(hashed) == 1
    path.write_bytes(flip(path.read_bytes(), 9))
    with pytest.raises(DamagedFile):
        tensorfiles.verify(path)
    assert len(hashed) == 2


def test_files_are_flushed_to_disk_before_they_get_their_name(tmp_path, monkeypatch):
    done, sync, replace = [], tensorfiles.os.fsync, cache_module.Path.replace
    monkeypatch.setattr(tensorfiles.os, "fsync", lambda f: (done.append("sync"), sync(f)))
    monkeypatch.setattr(
        cache_module.Path, "replace", lambda a, b: (done.append("name"), replace(a, b))[1]
    )
    Cache(tmp_path).tensors("k", {}, lambda: {"x": torch.ones(3)})
    assert done == ["sync", "name", "sync"]


def test_a_damaged_entry_that_another_process_is_at_is_waited_for(tmp_path):
    cache = Cache(tmp_path)
    entries = [cache.entry("k", {"i": i}) for i in range(2)]
    cache.fill(entries, lambda claimed: ({"x": torch.full((3,), float(i))} for i in claimed))
    for entry in entries:
        entry.path.write_bytes(DAMAGE["zeros"](entry.path.read_bytes()))
    lock, made = entries[0].lock(), []
    lock.acquire()

    def compute(claimed):
        for i in claimed:
            made.append(i)
            entries[0].write({"x": torch.zeros(3)})  # the other process is done
            lock.release()
            yield {"x": torch.full((3,), float(i))}

    found = cache.filled(entries, compute)
    assert made == [1]
    assert [float(tensors["x"][0]) for tensors in found] == [0, 1]


@pytest.mark.parametrize("content", [b"", b"\0" * 50, b"\xff\xfe", b'{"folder": 3}', b"[1]"])
def test_a_damaged_index_of_finished_cells_finds_nothing(tmp_path, content):
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "key.json").write_bytes(content)
    assert Index(tmp_path).find("key") is None
