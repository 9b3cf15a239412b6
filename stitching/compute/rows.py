"""A matrix in files that is read by slices of rows, for latents larger than memory."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from stitching.records.tensorfiles import DamagedFile, state_of, verify

#: Types of values by their names in files.
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}

#: Rows that are read at once to find some of them.
_READ = 100


class Rows:
    """A read-only matrix whose rows are those of safetensors files, one file after another.

    Files are open only while a slice is read, so memory holds no more than the slices in use. A
    file that has changed since the last read must pass its checksum.

    Args:
        files: Files with one matrix each, all of one width and dtype, in order.
        name: Name of the matrix in every file.

    Attributes:
        shape: Rows and columns.
        dtype: Type of the values.
        device: Device of slices: the CPU.

    Raises:
        ValueError: There is no file, one is damaged or has no such matrix, or widths or dtypes
            differ.
        FileNotFoundError: A file is missing.
    """

    def __init__(self, files: Sequence[Path], name: str = "latents") -> None:
        """Read the headers of the files."""
        if not files:
            raise ValueError("a matrix in files needs at least one file, got none")
        self._files = tuple(files)
        self._name = name
        self._states = [state_of(path) for path in self._files]
        heads = [_head(path, name) for path in self._files]
        width, self.dtype = heads[0][0][1], heads[0][1]
        for path, (shape, dtype) in zip(self._files, heads, strict=True):
            if (shape[1], dtype) != (width, self.dtype):
                raise ValueError(
                    f"{path} has {shape[1]} columns of {dtype}, but {self._files[0]} has {width} "
                    f"of {self.dtype}: give files with latents of one model"
                )
        # The first row of each file, and behind them the number of all rows.
        self._starts = list(accumulate((shape[0] for shape, _ in heads), initial=0))
        self.shape = torch.Size([self._starts[-1], width])
        self.device = torch.device("cpu")

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Tensor:
        """Return the rows of a slice, (n, columns), as a tensor of their own.

        Raises:
            TypeError: Not a slice.
            ValueError: Its step is not 1, or a file is damaged.
            FileNotFoundError: A file was removed.
        """
        if not isinstance(rows, slice):
            raise TypeError(f"rows are read by slices, such as x[0:100], got {rows!r}")
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError(f"rows are read one after the other: the step must be 1, got {step}")
        out = torch.empty(max(0, stop - start), self.shape[1], dtype=self.dtype)
        while start < stop:
            place = bisect_right(self._starts, start) - 1
            first, end = self._starts[place], min(self._starts[place + 1], stop)
            target = out[len(out) - (stop - start) :][: end - start]
            self._copy(place, slice(start - first, end - first), target)
            start = end
        return out

    def _copy(self, place: int, rows: slice, target: Tensor) -> None:
        """Copy rows of a file into a tensor of their size."""
        from safetensors import SafetensorError, safe_open

        path = self._files[place]
        try:
            now = state_of(path)
            if now != self._states[place]:
                verify(path)  # another process may have written it anew
                self._states[place] = now
            # The slice is a view of the mapped file, and unmapped once it is copied.
            with safe_open(path, "pt") as file:
                target.copy_(file.get_slice(self._name)[rows])
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{path} was removed while in use: start the run again"
            ) from error
        except (SafetensorError, DamagedFile) as error:
            raise ValueError(
                f"{path} was damaged while in use ({error}): start the run again"
            ) from error


class ReorderedRows:
    """A matrix of `Rows` in another order, read by slices.

    A slice reads the files one block after another, all of them where its rows lie far apart.

    Args:
        rows: The matrix.
        order: Row i is row order[i] of the matrix; shape (n,), int64.

    Attributes:
        shape: Rows and columns.
        dtype: Type of the values.
        device: Device of slices: the CPU.
    """

    def __init__(self, rows: Rows, order: Tensor) -> None:
        """Keep the matrix and the order; nothing is read."""
        self._rows, self._order = rows, order
        self.shape = torch.Size([len(order), rows.shape[1]])
        self.dtype, self.device = rows.dtype, rows.device

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Tensor:
        """Return the rows of a slice, (n, columns), as a tensor of their own."""
        places = self._order[rows]
        out = torch.empty(len(places), self.shape[1], dtype=self.dtype)
        for start in range(0, len(self._rows), _READ):
            inside = (places >= start) & (places < start + _READ)
            if bool(inside.any()):
                out[inside] = self._rows[start : start + _READ][places[inside] - start]
        return out


def _head(path: Path, name: str) -> tuple[list[int], torch.dtype]:
    """Return shape and dtype of the matrix in a file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            matrix = file.get_slice(name)
            shape, dtype = list(matrix.get_shape()), matrix.get_dtype()
    except SafetensorError as error:
        raise ValueError(f"{path}: {error}: give a safetensors file with {name!r}") from error
    if len(shape) != 2:
        raise ValueError(f"{path}: {name!r} must have rows and columns, got shape {tuple(shape)}")
    if dtype not in _DTYPES:
        raise ValueError(f"{path}: {name!r} must be one of {', '.join(_DTYPES)}, got {dtype}")
    return shape, _DTYPES[dtype]
