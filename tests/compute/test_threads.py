import pytest
import torch

from stitching.compute.threads import one_thread_each


def test_workers_compute_with_one_thread_each(two_threads):
    with one_thread_each() as pool:
        assert list(pool.map(lambda _: torch.get_num_threads(), range(4))) == [1] * 4


def test_afterwards_torch_has_its_threads_again(two_threads):
    with one_thread_each() as pool:
        list(pool.map(torch.ones, range(3)))
    assert torch.get_num_threads() == 2


def test_an_error_of_a_worker_reaches_the_caller_and_leaves_the_threads(two_threads):
    with pytest.raises(ZeroDivisionError), one_thread_each() as pool:
        list(pool.map(lambda x: 1 / x, [1, 0]))
    assert torch.get_num_threads() == 2


def test_results_come_in_order():
    with one_thread_each() as pool:
        assert list(pool.map(lambda x: x * x, range(5))) == [0, 1, 4, 9, 16]
