import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from stitching.compute.rows import Rows
from stitching.records import tensorfiles

LENGTHS = (3, 1, 4, 2)


def write(folder, parts, name="latents"):
    paths = [folder / f"{i}.safetensors" for i in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        save_file({name: part.contiguous()}, path)
    return paths


@pytest.fixture(scope="module")
def matrix():
    return torch.randn(sum(LENGTHS), 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def rows(matrix, tmp_path_factory):
    return Rows(write(tmp_path_factory.mktemp("rows"), matrix.split(LENGTHS)))


bounds = st.none() | st.integers(-14, 14)


@settings(deadline=None)
@given(start=bounds, stop=bounds)
def test_every_slice_is_that_of_the_tensor(matrix, rows, start, stop):
    assert torch.equal(rows[start:stop], matrix[start:stop])


def test_it_has_the_tensors_shape_type_and_device(matrix, rows):
    assert (rows.shape, rows.dtype, rows.device) == (matrix.shape, matrix.dtype, matrix.device)
    assert isinstance(rows.shape, torch.Size)
    assert len(rows) == len(matrix)


def test_files_follow_one_another_as_they_are_given(matrix, tmp_path):
    paths = write(tmp_path, matrix.split(LENGTHS))
    swapped = Rows([paths[2], paths[0]])
    assert torch.equal(swapped[:], torch.cat([matrix[4:8], matrix[:3]]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_type_of_the_values_is_that_of_the_files(matrix, tmp_path, dtype):
    rows = Rows(write(tmp_path, [matrix.to(dtype)], "features"), "features")
    assert rows.dtype == dtype
    assert torch.equal(rows[2:9], matrix.to(dtype)[2:9])


def test_slices_may_be_changed_without_changing_the_files(matrix, rows):
    rows[:].zero_()
    assert torch.equal(rows[:], matrix)


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (3, TypeError, r"read by slices, such as x\[0:100\], got 3"),
        (slice(None, None, 2), ValueError, "step must be 1, got 2"),
        (slice(None, None, -1), ValueError, "step must be 1, got -1"),
    ],
)
def test_only_consecutive_rows_are_read(rows, index, error, message):
    with pytest.raises(error, match=message):
        rows[index]


@pytest.mark.parametrize("other", [torch.zeros(2, 4), torch.zeros(2, 5, dtype=torch.float64)])
def test_files_of_another_width_or_type_are_refused(matrix, tmp_path, other):
    with pytest.raises(ValueError, match=r"1\.safetensors has . columns of .* has 5 of torch"):
        Rows(write(tmp_path, [matrix, other]))


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("other", torch.zeros(2, 3), "give a safetensors file with 'latents'"),
        ("latents", torch.zeros(2), r"must have rows and columns, got shape \(2,\)"),
    ],
)
def test_a_file_without_such_a_matrix_is_refused(tmp_path, name, tensor, message):
    with pytest.raises(ValueError, match=message):
        Rows(write(tmp_path, [tensor], name))


def test_no_files_are_no_matrix():
    with pytest.raises(ValueError, match="at least one file"):
        Rows([])


def test_a_missing_file_is_named(matrix, tmp_path):
    (path,) = write(tmp_path, [matrix])
    with pytest.raises(FileNotFoundError, match="absent"):
        Rows([path, tmp_path / "absent.safetensors"])


def test_a_file_that_is_removed_while_in_use_is_named(matrix, tmp_path):
    paths = write(tmp_path, matrix.split(LENGTHS))
    rows = Rows(paths)
    paths[1].unlink()
    assert torch.equal(rows[:3], matrix[:3])
    with pytest.raises(FileNotFoundError, match=r"1\.safetensors was removed .* start the run"):
        rows[:]


def test_a_file_that_is_cut_off_while_in_use_is_named(matrix, tmp_path):
    paths = write(tmp_path, matrix.split(LENGTHS))
    rows = Rows(paths)
    paths[1].write_bytes(paths[1].read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"1\.safetensors was damaged"):
        rows[:]


def test_a_file_that_is_overwritten_while_in_use_is_named(matrix, tmp_path):
    paths = write(tmp_path, matrix.split(LENGTHS))
    rows = Rows(paths)
    paths[1].write_bytes(bytes(paths[1].stat().st_size))
    with pytest.raises(ValueError, match=r"1\.safetensors was damaged"):
        rows[:]


def test_a_file_that_was_written_anew_while_in_use_is_read_on(matrix, tmp_path):
    paths = [tmp_path / f"{i}.safetensors" for i in range(2)]
    for path, part in zip(paths, matrix.split(5), strict=True):
        tensorfiles.write(path, {"latents": part}, {})
    rows = Rows(paths)
    tensorfiles.write(tmp_path / "new", {"latents": matrix[5:]}, {})
    (tmp_path / "new").replace(paths[1])
    assert torch.equal(rows[:], matrix)
