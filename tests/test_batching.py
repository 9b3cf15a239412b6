import pytest
import torch

from stitching.batching import in_fixed_batches


@pytest.mark.parametrize("n", [1, 3, 4, 9])
def test_every_call_has_the_same_size_and_the_results_are_those_of_the_rows(n):
    sizes = []

    def double(x):
        sizes.append(len(x))
        return 2 * x

    x = torch.arange(float(n)).view(n, 1)
    assert torch.equal(in_fixed_batches(double, x, 4), 2 * x)
    assert set(sizes) == {4}


def test_the_order_of_rows_is_kept_over_several_batches():
    x = torch.randn(11, 2, 3)
    assert torch.equal(in_fixed_batches(lambda part: part.flatten(1), x, 4), x.flatten(1))
