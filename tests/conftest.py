"""What all test files share: a cache of the tests' own, one thread, the same examples."""

import os
import signal

import pytest
from hypothesis import settings

# Processes that tests start would else use all cores each, beside each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts what runs in its background with Ctrl-C ignored, which processes of tests inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A run that failed fails again: examples depend on the test alone.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Never read or write the user's cache."""
    before = os.environ.get("STITCHING_CACHE")
    os.environ["STITCHING_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("STITCHING_CACHE")
    if before is not None:
        os.environ["STITCHING_CACHE"] = before


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Networks this small wait longer for other threads than they compute."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def two_threads():
    import torch

    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)
