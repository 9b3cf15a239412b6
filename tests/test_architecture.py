"""The architecture: what lies at the top of the package, and that imports have no circle."""

from graphlib import TopologicalSorter
from pathlib import Path

import grimp

import stitching

PACKAGE = Path(stitching.__file__).parent

#: Commands that are one file.
COMMANDS = {"encode", "resume", "sync"}


def test_the_top_of_the_package_holds_rooms_and_commands():
    loose = {path.stem for path in PACKAGE.glob("*.py")}
    assert loose == {"__init__", "__main__", *COMMANDS}


def test_imports_have_no_circle_not_even_for_types():
    graph = grimp.build_graph("stitching", exclude_type_checking_imports=False, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle


def test_hydra_and_wandb_are_imported_by_their_rooms_alone():
    graph = grimp.build_graph("stitching", include_external_packages=True, cache_dir=None)
    users = {
        module
        for package in ("hydra", "omegaconf", "wandb")
        for module in graph.find_modules_that_directly_import(package)
    }
    rooms = {module.split(".")[1] for module in users}
    assert rooms == {
        "config",
        "sweeps",
        "train",
        "check",
        "encode",
        "tracking",
        "dashboard",
        "cli",
    }
    assert "stitching.tracking.weights_and_biases" in users


def test_no_file_is_longer_than_a_reader_takes_in():
    lines = {
        path: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")
    }
    assert {str(path): n for path, n in lines.items() if n > 400} == {}
