"""Files that decoders stumble over: broken tags, damage, size; each message names its file."""

import io
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from stitching.data import decoding, stamps
from stitching.data.folder import Folder, place
from stitching.data.jpeg import jpeg_damage

#: The one test image of each folder, by its place.
TEST = next(f"test{k}" for k in range(10_000) if place(f"test{k}") < 1e-3)

#: One for every combination of ways that libjpeg writes a file.
WAYS: list[dict[str, Any]] = [
    {},
    {"optimize": True},
    {"subsampling": 0},
    {"restart_marker_rows": 1},
    {"restart_marker_blocks": 5, "optimize": True},
    {"progressive": True},
]


def jpeg(pixels: np.ndarray, quality: int = 90, **way: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, **way)
    return stream.getvalue()


def picture() -> np.ndarray:
    """218 x 178, smooth with some noise."""
    y, x = np.mgrid[:218, :178]
    noise = np.random.default_rng(0).normal(0, 9, x.shape)
    levels = (100 * np.sin(x / 9) + 128 + noise, 100 * np.cos(y / 7) + 128, (x + y) % 256)
    return np.stack(np.broadcast_arrays(*levels), -1).clip(0, 255).astype(np.uint8)


def compressed(data: bytes, scan: int = 0) -> int:
    """Return where the compressed data of a scan begin."""
    at = -1
    for _ in range(scan + 1):
        at = data.index(b"\xff\xda", at + 1)
    return at + 2 + int.from_bytes(data[at + 2 : at + 4])


def holed(data: bytes, size: int, fill: bytes = b"\0", scan: int = 0) -> bytes:
    start = compressed(data, scan) + 300
    return data[:start] + fill * size + data[start + size :]


def folder(root: Path, **files: bytes) -> Folder:
    root.mkdir(exist_ok=True)
    for name, content in files.items():
        (root / f"{name}.jpg").write_bytes(content)
    Image.new("RGB", (8, 8)).save(root / f"{TEST}.png")
    n = len(list(root.iterdir())) - 1
    return Folder(root, n, 1, 8, attributes=None, test_share=1e-3)


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("level", ["picture", 255, 0])
def test_whole_files_raise_no_alarm(way: dict[str, Any], level: str | int) -> None:
    pixels = picture() if level == "picture" else np.full((218, 178, 3), level, np.uint8)
    for quality in (30, 95):
        assert jpeg_damage(jpeg(pixels, quality, **way)) == ""
        assert jpeg_damage(jpeg(pixels[:5, :3], quality, **way)) == ""
        assert jpeg_damage(jpeg(pixels[..., 0], quality, **way)) == ""


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("size", [512, 2048])
def test_a_hole_of_zero_bytes_is_found(way: dict[str, Any], size: int) -> None:
    # In libjpeg's progressive files the tenth scan is the longest.
    data = jpeg(picture(), **way)
    assert jpeg_damage(holed(data, size, scan=9 if way.get("progressive") else 0))


@pytest.mark.parametrize("way", WAYS[:5], ids=str)
@pytest.mark.parametrize("change", ["removed", "repeated", "noise"])
def test_lost_and_foreign_bytes_are_found(way: dict[str, Any], change: str) -> None:
    data = jpeg(picture(), **way)
    start = compressed(data) + 300
    noise = np.random.default_rng(1).integers(0, 255, 400, dtype=np.uint8).tobytes()
    middle = {"removed": b"", "repeated": 2 * data[start : start + 400], "noise": noise}[change]
    broken = data[:start] + middle + data[start + 400 :]
    assert jpeg_damage(broken)


@pytest.mark.parametrize("n", [1, 5])
def test_damaged_files_are_counted_and_named_in_one_warning(tmp_path: Path, n: int) -> None:
    whole = jpeg(picture())
    files = {f"{k}": holed(whole, 512) for k in range(n)} | {"whole": whole}
    data = folder(tmp_path / "images", **files)
    with pytest.warns(UserWarning, match=rf"{n} of {n + 2} images are damaged") as seen:
        data.check()
    data.split("train").images(slice(None))  # no second warning
    assert len(seen) == 1
    assert f"{tmp_path}/images/0.jpg: a hole of zero bytes" in str(seen[0].message)
    assert ("..." in str(seen[0].message)) == (n > 3)


def test_damage_is_still_known_when_files_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamps, "_TICK_NS", 0)
    first = folder(tmp_path / "images", a=holed(jpeg(picture()), 512))
    second = Folder(first.root, 1, 1, 8, attributes=None, test_share=1e-3)
    for data in (first, second):
        data.cache = tmp_path / "cache"
        with pytest.warns(UserWarning, match="1 of 2 images are damaged"):
            data.check()
        monkeypatch.setattr(stamps, "inspect", None)


@pytest.mark.parametrize("cut", [400, 3000])
def test_a_jpeg_cut_off_is_named_by_check(tmp_path: Path, cut: int) -> None:
    data = folder(tmp_path / "images", a=jpeg(picture())[:-cut])
    with pytest.raises(ValueError, match=r"1 of 2 images cannot be used: \S+a\.jpg: .*truncated"):
        data.check()


def test_what_follows_the_picture_in_its_file_is_no_damage() -> None:
    data = jpeg(picture())
    assert jpeg_damage(data + bytes(5000)) == ""  # such as the film of a moving photograph
    assert jpeg_damage(data + data) == ""


def test_a_header_that_makes_no_sense_is_left_to_the_decoder() -> None:
    data, rng = jpeg(picture()[:20, :20]), np.random.default_rng(0)
    for at in rng.integers(2, compressed(data), 100):
        broken = bytearray(data)
        broken[at] = rng.integers(0, 256)
        assert isinstance(jpeg_damage(bytes(broken)), str)


def tags(*entries: tuple[int, int, int, bytes], order: str = "<") -> bytes:
    """EXIF with one directory: (tag, type, count, four bytes)."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    packed = [struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries]
    size = struct.pack(order + "IH", 8, len(entries))
    return b"Exif\0\0" + mark + size + b"".join(packed) + bytes(4)


SIX = (0x0112, 3, 1, b"\x06\0\0\0")


@pytest.mark.parametrize(
    "entries",
    [
        [SIX],
        [SIX, (0x011A, 2, 1, b"x\0\0\0")],  # XResolution as text
        [SIX, (0x8769, 2, 1, b"x\0\0\0")],  # the place of more tags, as text
        [SIX, (0x9000, 5, 900, b"\xff\0\0\0")],  # values beyond the end
        [(0x010F, 3, 1, b"\x07\0\0\0"), SIX, (0x0132, 12, 1, bytes(4))],
        [SIX, (0x0128, 3, 3, bytes(4)), (0x013E, 10, 0, bytes(4))],
    ],
)
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_an_orientation_beside_broken_tags_is_applied(
    tmp_path: Path, entries: list[tuple[int, int, int, bytes]]
) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[0] = 255  # top row white: the right column once turned
    data = folder(tmp_path / "images", a=jpeg(pixels, 100, exif=tags(*entries), subsampling=0))
    x = data.split("train").images([0])[0]
    assert x[:, :, 7].min() > 0.9
    assert x[:, :, :6].max() < 0.1


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0nonsense",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        tags((0x0112, 2, 4, b"six\0")),
        tags((0x0112, 3, 1, b"\x63\0\0\0")),
        tags((0x0112, 3, 1, bytes(4))),
        tags((0x0112, 7, 1, b"\x06\0\0\0")),
        tags((0x0112, 5, 1, b"\xff\xff\0\0")),
    ],
)
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_an_orientation_that_cannot_be_read_turns_nothing(tmp_path: Path, exif: bytes) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[0] = 255
    data = folder(tmp_path / "images", a=jpeg(pixels, 100, exif=exif, subsampling=0))
    x = data.split("train").images([0])[0]
    assert x[:, 0].min() > 0.9


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "P", "LA"])
def test_all_orientations_are_those_of_pillow(orientation: int, mode: str) -> None:
    from PIL import ImageOps

    image = Image.fromarray(picture()[:11, :7]).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    image.save(stream, "PNG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(stream)).convert("RGB")
    found = decoding.to_rgb(decoding.open_image(stream.getvalue()))
    assert np.array_equal(np.asarray(found), np.asarray(expected))


@pytest.mark.parametrize("error", [RuntimeError("odd"), KeyError("odd"), MemoryError("odd")])
def test_any_exception_of_a_decoder_names_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    data = folder(tmp_path / "images", a=jpeg(picture()))
    one = data.split("train")

    def failing(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", failing)
    with pytest.raises(ValueError, match=r"a\.jpg: .*odd.*Replace the file"):
        one.images([0])
    monkeypatch.setattr(Image, "open", failing)
    with pytest.raises(ValueError, match=r"2 images cannot be used: \S+a\.jpg: .*odd"):
        folder(tmp_path / "images").check()


def test_too_many_pixels_name_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = folder(tmp_path / "images", a=jpeg(picture()))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 178 * 218 - 1)
    data.check()
    with pytest.warns(Image.DecompressionBombWarning, match=r"^\S+a\.jpg: .*exceeds limit"):
        data.split("train").images([0])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match=r"a\.jpg: Image size \(38804 pixels\) exceeds limit"):
        folder(tmp_path / "images").check()


def test_warnings_of_decoders_name_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = folder(tmp_path / "images", a=jpeg(picture())).split("train")
    to_rgb = decoding.to_rgb

    def warning(image: Image.Image) -> Image.Image:
        warnings.warn("colours are doubtful", RuntimeWarning, stacklevel=1)
        return to_rgb(image)

    monkeypatch.setattr(decoding, "to_rgb", warning)
    with pytest.warns(RuntimeWarning, match=r"^\S+a\.jpg: colours are doubtful$") as seen:
        one.images([0, 0])
    one.images([0])  # said once, whatever number of files it concerns
    assert len(seen) == 1
