"""What the tests of launchers share."""

import pytest

from tests.toys import write_models


@pytest.fixture(scope="session")
def conf(tmp_path_factory):
    return write_models(tmp_path_factory.mktemp("conf"), broken=["gone"], one=8, two=24, gone=8)
