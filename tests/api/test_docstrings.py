"""Every public name has an example, which runs and gives what it shows."""

import doctest
import warnings

import pytest

import stitching

NAMES = [name for name in stitching.__all__ if not name.startswith("__")]


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_a_public_name_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(stitching, name), name)
    assert example.examples, f"{name} has no example"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runner = doctest.DocTestRunner(verbose=False)
        assert runner.run(example).failed == 0
