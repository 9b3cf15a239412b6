"""What the tests of launchers share."""

import pytest

from tests.launchers.running import write_models


@pytest.fixture(scope="session")
def conf(tmp_path_factory):
    return write_models(tmp_path_factory.mktemp("conf") / "conf")
