"""What is recorded of a result."""

import pytest
import torch

from stitching.pipeline.provenance import PeakMemory


def test_peak_memory_is_of_the_cell_and_not_of_an_earlier_one_in_its_process():
    first = PeakMemory()
    torch.ones(2**26).sum()  # 256 MiB
    large = first.facts()
    small = PeakMemory().facts()
    if "memory/cell_peak_mib" not in large:
        pytest.skip("this system does not count the peak anew")
    assert small["memory/cell_peak_mib"] < large["memory/cell_peak_mib"] - 200


def test_where_the_peak_cannot_be_counted_anew_it_is_called_the_process_s(monkeypatch):
    monkeypatch.setattr("stitching.compute.memory.count_peak_anew", lambda: False)
    assert "memory/process_peak_mib" in PeakMemory().facts()
