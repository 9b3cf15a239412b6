"""Images are known by their bytes; files that the system says are the same are not read again."""

import hashlib
import itertools
import os
import random
import shutil
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from stitching import config
from stitching.data import stamps as stamps_module
from stitching.data.folder import Folder
from stitching.data.stamps import Stamps

YEAR_2001 = (10**9, 10**9)


def make(root: Path, cache: Path | None = None) -> Folder:
    data = Folder(root, 3, 1, 8, attributes=None, test_share=0.2)
    data.cache = cache
    return data


def fingerprint(root: Path, cache: Path | None) -> str:
    return make(root, cache).split("pretrain").fingerprint


def write(root: Path, level: int) -> Path:
    """Eight images of one level, whose files have the same size and times at any level."""
    root.mkdir(parents=True)
    for number in range(8):
        path = root / f"{number}.bmp"
        Image.new("RGB", (8, 8), (level, number, 0)).save(path)
        os.utime(path, YEAR_2001)
    return root


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files may be kept however young they are."""
    monkeypatch.setattr(stamps_module, "_TICK_NS", 0)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read, in no order."""
    seen: list[Path] = []
    look = stamps_module._inspect

    def looking(path: Path) -> object:
        seen.append(path)
        return look(path)

    monkeypatch.setattr(stamps_module, "_inspect", looking)
    return seen


def by_copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=shutil.copy2)


def by_tar(source: Path, target: Path) -> None:
    archive = source.parent / "images.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(source, target.name)
    with tarfile.open(archive) as tar:
        tar.extractall(target.parent, filter="data")


def by_hard_links(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=os.link)


def by_links(source: Path, target: Path) -> None:
    target.symlink_to(source)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("copy", [by_copy, by_tar, by_hard_links, by_links])
def test_equal_bytes_under_equal_ids_are_the_same_images_in_any_folder(
    tmp_path: Path, copy: Callable[[Path, Path], None]
) -> None:
    source, target = write(tmp_path / "one", 10), tmp_path / "two"
    copy(source, target)
    cache = tmp_path / "cache"
    assert fingerprint(source, cache) == fingerprint(target, cache)
    assert fingerprint(source, cache) == fingerprint(target, cache)


@pytest.mark.usefixtures("at_once")
def test_other_bytes_of_equal_name_size_and_time_are_other_images(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", 10), write(tmp_path / "two", 20)
    files = [[p.stat() for p in sorted(root.iterdir())] for root in (one, two)]
    for a, b in zip(*files, strict=True):
        assert (a.st_size, a.st_mtime_ns) == (b.st_size, b.st_mtime_ns)
    prints = {fingerprint(root, tmp_path / "cache") for root in (one, two, one, two)}
    assert len(prints) == 2


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("way", ["renamed", "rewritten", "mounted", "patched"])
def test_other_bytes_at_the_same_path_are_other_images(tmp_path: Path, way: str) -> None:
    root, cache = write(tmp_path / "images", 10), tmp_path / "cache"
    before = fingerprint(root, cache)
    other = write(tmp_path / "other", 20)
    if way == "mounted":
        root.rename(tmp_path / "old")
        other.rename(root)
    for path in root.iterdir():
        if way == "renamed":
            os.replace(other / path.name, path)
        elif way == "rewritten":
            shutil.copy2(other / path.name, path)
        elif way == "patched":
            with open(path, "r+b") as stream:
                stream.seek(-4, os.SEEK_END)
                stream.write(b"\x07")
            os.utime(path, YEAR_2001)
        assert path.stat().st_mtime_ns == YEAR_2001[0] * 10**9
    assert fingerprint(root, cache) == fingerprint(root, None) != before


def test_a_file_that_the_system_says_is_the_same_is_not_read_again(
    tmp_path: Path, reads: list[Path], at_once: None
) -> None:
    root, cache = write(tmp_path / "images", 10), tmp_path / "cache"
    first = fingerprint(root, cache)
    assert len(reads) == len(make(root).split("pretrain").ids)
    reads.clear()
    assert fingerprint(root, cache) == first
    assert not reads
    path = next(root.glob(f"{make(root).split('pretrain').ids[0]}.bmp"))
    reads.clear()
    path.touch()
    assert fingerprint(root, cache) == first
    assert reads == [path]


def test_a_file_that_was_just_written_is_read_again(tmp_path: Path, reads: list[Path]) -> None:
    # It could change within the same tick of the clock, and keep its times.
    root, cache = write(tmp_path / "images", 10), tmp_path / "cache"
    fingerprint(root, cache)
    reads.clear()
    fingerprint(root, cache)
    assert reads
    assert not (cache / "stamps").exists()


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("devices", "other", "kept"), [("all", 0, True), ("none", 0, False), ("none", 1, True)]
)
def test_a_ctime_that_may_repeat_the_mtime_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, devices: str, other: int, kept: bool
) -> None:
    root, cache = write(tmp_path / "images", 10), tmp_path / "cache"
    device = root.stat().st_dev
    known = {device} if devices == "all" else set()
    monkeypatch.setattr(stamps_module, "_devices_with_ctime", lambda: known)
    monkeypatch.setattr(stamps_module, "_status", lambda _: (device, 1, 1, 5, 5 + other))
    fingerprint(root, cache)
    assert (cache / "stamps").exists() == kept


def test_file_systems_are_found_by_their_device() -> None:
    text = Path("/proc/self/mountinfo").read_text()
    tmpfs = [line.split()[2] for line in text.splitlines() if " - tmpfs " in line]
    if not tmpfs:
        pytest.skip("no tmpfs is mounted")
    major, minor = map(int, tmpfs[0].split(":"))
    assert os.makedev(major, minor) in stamps_module._devices_with_ctime()


def test_a_file_that_changes_while_it_is_read_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: None
) -> None:
    root, cache = write(tmp_path / "images", 10), tmp_path / "cache"
    times = itertools.count()
    monkeypatch.setattr(stamps_module, "_status", lambda status: (0, 0, 0, 0, next(times)))
    fingerprint(root, cache)
    assert not (cache / "stamps").exists()


@pytest.mark.usefixtures("at_once")
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 6), cut=st.booleans())
def test_a_damaged_table_never_gives_a_wrong_hash(
    tmp_path: Path, seed: int, n: int, cut: bool
) -> None:
    root, cache = tmp_path / "images", tmp_path / "cache"
    if not root.exists():
        write(root, 10)
    files = sorted(root.iterdir())
    Stamps(root, cache).facts_of(files)
    (table,) = (cache / "stamps").iterdir()
    content, rng = bytearray(table.read_bytes()), random.Random(seed)
    for _ in range(n):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    table.write_bytes(content[: rng.randrange(len(content))] if cut else content)
    found = Stamps(root, cache).facts_of(files)
    right = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert {path: facts.sha256 for path, facts in found.items()} == right


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("content", [b"", b"{}", b"null\nnull", b"\xff\xfe"])
def test_what_is_no_table_is_replaced(tmp_path: Path, content: bytes) -> None:
    root, cache = write(tmp_path / "images", 10), tmp_path / "cache"
    expected = fingerprint(root, cache)
    (table,) = (cache / "stamps").iterdir()
    whole = table.read_bytes()
    table.write_bytes(content)
    assert fingerprint(root, cache) == expected
    assert table.read_bytes() == whole


@pytest.mark.usefixtures("at_once")
def test_a_cache_that_cannot_be_written_to_only_costs_time(tmp_path: Path) -> None:
    root, cache = write(tmp_path / "images", 10), tmp_path / "cache"
    cache.write_text("a file, where a folder should be")
    assert fingerprint(root, cache) == fingerprint(root, None)


@pytest.mark.usefixtures("at_once")
def test_names_that_are_no_text_are_read_each_time(tmp_path: Path) -> None:
    root, cache = write(tmp_path / "images", 10), tmp_path / "cache"
    odd = os.fsdecode(os.fsencode(root) + b"/\xe9.bmp")
    shutil.copy2(root / "0.bmp", odd)
    assert fingerprint(root, cache) == fingerprint(root, cache) == fingerprint(root, None)
    assert len(list((cache / "stamps").iterdir())) == 1


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    root = write(tmp_path / "images", 10)
    for path in root.iterdir():
        path.unlink()
        path.mkdir()  # a folder, as root may read what it likes
    found = Stamps(root, None).facts_of(sorted(root.iterdir()))
    assert {facts.problem for facts in found.values()} == {"Is a directory"}


def test_a_file_exchanged_for_one_of_equal_times_during_the_run_is_an_error(
    tmp_path: Path,
) -> None:
    root, other = write(tmp_path / "images", 10), write(tmp_path / "other", 20)
    one = make(root).split("train")
    name = f"{one.ids[0]}.bmp"
    shutil.copy2(other / name, root / name)
    with pytest.raises(ValueError, match=rf"{name}: was exchanged"):
        one.images([0])


def test_a_file_exchanged_for_equal_bytes_is_no_matter(tmp_path: Path) -> None:
    root = write(tmp_path / "images", 10)
    one = make(root).split("train")
    before = one.images([0])
    path = root / f"{one.ids[0]}.bmp"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    assert torch.equal(one.images([0]), before)


@pytest.mark.usefixtures("at_once")
def test_the_configured_cache_holds_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write(tmp_path / "images", 10)
    settings = [f"data.root={root}", "data.n_train=3", "data.n_test=1", "data.image_size=8"]
    found = config.compose_config(
        ["data=folder", *settings, f"cache={tmp_path / 'mine'}"]
    ).settings
    config.build_data(found["data"], found["cache"]).split("train")
    (table,) = (tmp_path / "mine" / "stamps").iterdir()
    assert stat.S_ISREG(table.stat().st_mode)
    monkeypatch.setenv("STITCHING_CACHE", str(tmp_path / "theirs"))
    config.build_data(found["data"]).split("train")
    assert (tmp_path / "theirs" / "stamps").is_dir()


def test_levels_that_a_stale_table_would_mix_up(tmp_path: Path, at_once: None) -> None:
    one, two = write(tmp_path / "one", 10), write(tmp_path / "two", 20)
    pixels = []
    for root in (one, two):
        split = make(root, tmp_path / "cache").split("train")
        pixels.append((split.images(slice(None))[:, 0] * 255).unique().numpy())
    np.testing.assert_allclose(np.concatenate(pixels), [10, 20], atol=1e-4)
