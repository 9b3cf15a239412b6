import pytest
import torch

from stitching.compute.linalg import add_gram, eigh


def rows(m, k, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(m, k, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (3, 7), (300, 40), (40, 300)])
@pytest.mark.parametrize("layout", ["rows", "columns", "strided"])
def test_gram_matrices_add_up_in_the_upper_triangle(shape, layout):
    x = rows(*shape)
    if layout == "columns":
        x = x.T.contiguous().T
    if layout == "strided":
        x = torch.stack([x, x + 1], dim=-1)[..., 0]
    before = x.clone()
    gram = torch.eye(shape[1], dtype=torch.float64)
    add_gram(gram, x)
    add_gram(gram, 2 * x)
    expected = torch.eye(shape[1], dtype=torch.float64) + 5 * x.T @ x
    assert torch.allclose(gram.triu(), expected.triu(), rtol=1e-12, atol=1e-12)
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    "gram",
    [torch.zeros(3, 3), torch.zeros(3, 4, dtype=torch.float64)[:, :3]],
    ids=["type", "layout"],
)
def test_what_blas_would_change_a_copy_of_is_refused(gram):
    with pytest.raises(ValueError, match="gram must be contiguous and float64"):
        add_gram(gram, rows(5, 3))


@pytest.mark.parametrize("size", [1, 2, 30, 257])
@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_eigenvectors_come_from_the_upper_triangle(size, layout):
    x = rows(size, size)
    symmetric = x @ x.T
    given = symmetric.triu()  # below the diagonal there need be nothing
    if layout == "columns":
        given = given.T.contiguous().T
    before = given.clone()
    values, vectors = eigh(given)
    assert torch.equal(given, before)
    assert vectors.T.is_contiguous()
    assert bool((values.diff() >= 0).all())
    assert torch.allclose(vectors * values @ vectors.T, symmetric, atol=1e-11 * size)
    assert torch.allclose(vectors.T @ vectors, torch.eye(size).double(), atol=1e-13 * size)


def test_a_matrix_that_may_be_overwritten_gives_the_same():
    x = rows(90, 90)
    symmetric = x @ x.T
    kept = eigh(symmetric)
    used = eigh(symmetric, overwrite=True)
    assert all(torch.equal(a, b) for a, b in zip(kept, used, strict=True))


def test_more_rows_than_the_fast_driver_can_count_take_another(monkeypatch):
    x = rows(50, 50)
    fast = eigh(x @ x.T)
    monkeypatch.setattr("stitching.compute.linalg._LARGEST", 49)
    other = eigh(x @ x.T)
    assert torch.allclose(fast[0], other[0], rtol=1e-10)
