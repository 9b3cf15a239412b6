"""Waiting for a state of a page."""

import time


def until(page, expression, timeout_s=10.0):
    """Wait until an expression is true. Playwright's own wait needs `eval`, which pages forbid."""
    end = time.monotonic() + timeout_s
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"never true: {expression}"
        time.sleep(0.02)
