"""Linear algebra in float64: Gram matrices, eigendecompositions and principal components.

On a CPU `add_gram` and `eigh` use scipy's OpenBLAS, not torch's MKL: on processors that are not
Intel's MKL takes 1.3 to 1.7 times as long for eigenvectors (3,000 and 9,000 rows), and torch has
no symmetric product at all. Elsewhere they are torch's.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

#: Above this the workspace of LAPACK's fastest driver has more entries than it can count.
_LARGEST = 32_000

#: Rows or columns that principal components convert to float64 at a time.
_BLOCK = 2048


def add_gram(gram: Tensor, part: Tensor) -> None:
    """Add part' part to the upper triangle of `gram`; the lower one is left undefined.

    Args:
        gram: Shape (K, K), float64, contiguous; changed in place.
        part: Shape (M, K), float64.

    Raises:
        ValueError: `gram` has another type or layout, so that BLAS would change a copy.
    """
    if gram.dtype != torch.float64 or not gram.is_contiguous():
        raise ValueError(f"gram must be contiguous and float64, got {gram.dtype}, {gram.stride()}")
    if gram.device.type != "cpu":
        gram.addmm_(part.T, part)
        return
    from scipy.linalg.blas import dsyrk  # takes a quarter of a second to import

    # BLAS counts by columns. A transposed view needs no copy, and the lower triangle of the
    # transposed matrix is the upper one of `gram`; LAPACK is faster on the lower one.
    by_rows = part.is_contiguous()
    a = part.numpy().T if by_rows else part.T.contiguous().numpy().T
    dsyrk(1.0, a, 1.0, gram.numpy().T, trans=not by_rows, lower=True, overwrite_c=True)


def eigh(symmetric: Tensor, overwrite: bool = False) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues of a symmetric matrix, ascending, and its eigenvectors.

    Args:
        symmetric: Shape (n, n); its upper triangle is read.
        overwrite: The matrix may be used as workspace, which saves n * n values of memory.

    Returns:
        Shapes (n,) and (n, n), one eigenvector per column, stored by columns.
    """
    if symmetric.device.type != "cpu":
        values, vectors = torch.linalg.eigh(symmetric, UPLO="U")
        return values, by_columns(vectors)
    from scipy.linalg import eigh as lapack_eigh

    values, vectors = lapack_eigh(
        symmetric.contiguous().numpy().T,
        lower=True,
        driver="evd" if symmetric.shape[0] <= _LARGEST else "evr",
        overwrite_a=overwrite,
        check_finite=False,
    )
    return torch.from_numpy(values), by_columns(torch.from_numpy(vectors))


def singular(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the squares of the singular values of a matrix, and its right singular vectors.

    As `eigh` of its Gram matrix, but exact to the largest singular value times rounding, not to
    the square of it, at several times the cost.

    Args:
        parts: The matrix by blocks of rows, each (M, K), float64.

    Returns:
        Shapes (K,), ascending, and (K, K), one vector per column, stored by columns.
    """
    triangle: Tensor | None = None
    for part in parts:
        rows = part if triangle is None else torch.cat([triangle, part])
        triangle = torch.linalg.qr(rows, mode="r").R
    assert triangle is not None, "no rows"
    _, values, vectors = torch.linalg.svd(triangle, full_matrices=True)
    squares = values.new_zeros(len(vectors))
    squares[: len(values)] = values.square()
    return squares.flip(0), by_columns(vectors.flip(0).T)


def by_columns(matrix: Tensor) -> Tensor:
    """Return a matrix stored by columns: products round equally only in one layout."""
    return matrix.T.contiguous().T


def principal_components(x: Tensor, mean: Tensor, n: int) -> Tensor:
    """Return the orthonormal directions in which rows vary, strongest first.

    Args:
        x: Shape (N, D), N >= 2.
        mean: Its column means, shape (D,), float64.
        n: How many of them.

    Returns:
        Shape (n, D), float64; fewer rows if the numerical rank of the centred x is lower, which
        is N - 1 at most.
    """
    rows, width = x.shape
    gram = mean.new_zeros(min(rows, width), min(rows, width))
    for part in _centred_blocks(x, mean):
        gram += part @ part.T if width >= rows else part.T @ part
    values, vectors = torch.linalg.eigh(gram)
    # In units of the largest eigenvalue, as the rank of a matrix is usually judged.
    floor = max(rows, width) * torch.finfo(torch.float64).eps * float(values[-1])
    keep = values > max(floor, 0.0)
    if width >= rows:
        keep[0] = False  # centred rows span N - 1 directions, whatever the rounding
    directions = vectors[:, keep].flip(1)[:, :n]
    if width >= rows:
        directions = torch.cat([part.T @ directions for part in _centred_blocks(x, mean)])
    # Restores the right angles that weak directions lose in the step from N to D dimensions.
    directions = torch.linalg.qr(directions)[0].T
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    signed: Tensor = directions * largest.sign()
    return signed


def _centred_blocks(x: Tensor, mean: Tensor) -> Iterator[Tensor]:
    """Centred float64 blocks: of columns where the rows are the shorter side, else of rows."""
    rows, width = x.shape
    for i in range(0, max(rows, width), _BLOCK):
        part = slice(i, i + _BLOCK)
        yield x[:, part].double() - mean[part] if width >= rows else x[part].double() - mean
