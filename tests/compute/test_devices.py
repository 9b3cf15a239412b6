"""Which device a job computes on, with CUDA devices pretended where there are none."""

import pytest
import torch

from stitching.compute.devices import pick_device


@pytest.fixture
def devices(monkeypatch):
    def pretend(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return pretend


@pytest.mark.parametrize("device", ["auto", "spread"])
def test_without_cuda_it_is_the_processor(devices, device):
    devices(0)
    assert pick_device(device, 3) == torch.device("cpu")


def test_the_jobs_of_a_sweep_take_the_devices_in_turn(devices):
    devices(3)
    taken = [pick_device("spread", number).index for number in range(5)]
    assert taken == [0, 1, 2, 0, 1]


def test_outside_a_sweep_spread_is_auto(devices):
    devices(3)
    assert pick_device("spread") == pick_device("auto") == torch.device("cuda")


def test_a_device_by_number_is_that_one_in_every_job(devices):
    devices(3)
    assert pick_device("cuda:1", 2) == torch.device("cuda", 1)


def test_a_device_that_is_not_there_is_refused(devices):
    devices(2)
    with pytest.raises(ValueError, match=r"device='cuda:2': 2 CUDA devices here; use device=cpu"):
        pick_device("cuda:2")


@pytest.mark.parametrize("device", ["gpu", "meta", ""])
def test_a_device_of_another_kind_is_refused_with_what_is_allowed(device):
    with pytest.raises(ValueError, match="use auto, cpu, cuda or cuda:N; in a sweep also spread"):
        pick_device(device)
