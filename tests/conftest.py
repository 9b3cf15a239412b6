"""What all test files share: a cache of the tests' own."""

import os

import pytest


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Never read or write the user's cache."""
    before = os.environ.get("STITCHING_CACHE")
    os.environ["STITCHING_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("STITCHING_CACHE")
    if before is not None:
        os.environ["STITCHING_CACHE"] = before
