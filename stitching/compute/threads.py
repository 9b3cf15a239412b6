"""A pool for many small computations, one thread each."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import torch


@contextmanager
def one_thread_each() -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of as many workers as torch may use threads, each computing with one.

    Two small computations side by side take half as long as one after the other on two threads,
    which wait for each other at every step (up to fifty times as long on shared cores). Results
    do not depend on the number of threads.
    """
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, initializer=partial(torch.set_num_threads, 1))
    try:
        yield pool
    finally:
        # Cancelled rather than awaited: Ctrl-C must not wait for the rest.
        pool.shutdown(cancel_futures=True)
        # The workers' setting also changes this thread's matrix products, though not its loops.
        torch.set_num_threads(threads)
