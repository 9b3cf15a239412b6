import pytest
import torch

from stitching.compute.batching import images_per_call, in_fixed_batches


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


@pytest.mark.usefixtures("two_threads")
def test_parallel_batches_keep_the_order_and_leave_the_number_of_threads_alone():
    before = torch.get_num_threads()
    x = torch.randn(37, 5)
    assert torch.equal(in_fixed_batches(lambda part: part * 2, x, 4, parallel=True), 2 * x)
    assert torch.get_num_threads() == before


@pytest.mark.usefixtures("two_threads")
def test_each_parallel_batch_computes_with_one_thread():
    seen = []

    def note(part):
        seen.append(torch.get_num_threads())
        return part

    in_fixed_batches(note, torch.zeros(9, 1), 2, parallel=True)
    assert seen == [1] * 5


@pytest.mark.usefixtures("two_threads")
def test_an_error_in_a_parallel_batch_reaches_the_caller_and_ends_the_rest():
    calls = []

    def fail(part):
        calls.append(part)
        raise ValueError("bad batch")

    with pytest.raises(ValueError, match="bad batch"):
        in_fixed_batches(fail, torch.zeros(1000, 1), 1, parallel=True)
    assert len(calls) < 1000


def test_a_call_on_the_cpu_has_enough_images_for_every_thread():
    cpu, other = torch.device("cpu"), torch.device("meta")
    assert images_per_call(8, cpu) >= 16 * torch.get_num_threads()
    assert images_per_call(100_000, cpu) == 100_000
    assert images_per_call(8, other) == 8
