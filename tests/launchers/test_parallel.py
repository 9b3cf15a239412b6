"""Cells side by side give what they give one after the other."""

import time

import pytest

from tests.launchers.running import SMALL, Reader, cells, launch, processes_in, read, rows

pytestmark = pytest.mark.long

#: Of the user's folder, of this project, and one whose YAML names another model.
GRID = ["encoder=one,two,random,untrained", "decoder=one,two"]
PAIRS = [(e, d) for e in ("one", "two", "random", "untrained-vae") for d in ("one", "two")]
NAMES = [f"{e}-to-{d}_{k}" for k, (e, d) in enumerate(PAIRS)]


def sweeps(cwd):
    return list(cwd.glob("outputs/*/*_grid"))


@pytest.fixture(scope="module")
def sequential(conf, tmp_path_factory):
    """The cells one after the other."""
    cwd = tmp_path_factory.mktemp("sequential")
    code, output = launch(
        "-m", "--config-dir", str(conf), *GRID, *SMALL, "tracker=none", "hydra.sweep.dir=grid",
        cwd=cwd,
    )  # fmt: skip
    assert code == 0, output
    return cells(cwd / "grid")


@pytest.fixture(scope="module")
def parallel(conf, tmp_path_factory):
    """The same by four workers, with a reader that looks on."""
    cwd = tmp_path_factory.mktemp("joblib").resolve()
    arguments = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=4", *GRID, *SMALL]
    with Reader(lambda: sweeps(cwd)) as reader:
        code, output = launch("-m", "--config-dir", str(conf), *arguments, cwd=cwd)
    assert code == 0, output
    (sweep,) = sweeps(cwd)
    return sweep, cwd, output, reader


def test_every_cell_is_done_in_one_folder(parallel):
    states = {name: read(path)["state"] for name, path in cells(parallel[0]).items()}
    assert states == dict.fromkeys(NAMES, "done")


def test_results_are_equal_to_the_byte_to_those_one_after_the_other(parallel, sequential):
    found = cells(parallel[0])
    for name in NAMES:
        one, other = (path[name] / "metrics.json" for path in (found, sequential))
        assert one.read_bytes() == other.read_bytes(), name


def test_each_model_is_encoded_once_over_all_cells(parallel):
    found = cells(parallel[0]).values()
    counts = [read(path, "resources.json")["count/images_encoded"] for path in found]
    assert sum(counts) == 4 * (24 + 6)


def test_every_cell_has_one_run_of_its_own(parallel):
    runs = [list((path / "wandb").glob("offline-run-*")) for path in cells(parallel[0]).values()]
    assert [len(found) for found in runs] == [1] * 8
    assert len({found[0].name.rpartition("-")[2] for found in runs}) == 8


def test_no_process_is_left_behind(parallel):
    for _ in range(50):
        if not processes_in(parallel[1]):
            break
        time.sleep(0.1)
    assert processes_in(parallel[1]) == []


def test_workers_warn_of_no_configuration(parallel):
    assert "UserWarning" not in parallel[2]
    assert "schema" not in parallel[2]  # Hydra's, of files and stored entries of one name


def test_a_reader_meanwhile_sees_complete_rows_of_distinct_cells(parallel):
    reader = parallel[3]
    assert reader.problem is None
    assert reader.tables
    for table in reader.tables:
        assert len(set(table)) == len(table)
        assert set(table) <= set(PAIRS)


def test_the_table_at_the_end_has_every_cell_once(parallel):
    found = [(row["encoder"], row["decoder"]) for row in rows(parallel[0])]
    assert found == [*PAIRS[4:], *PAIRS[:4]]  # controls first


def test_ray_gives_the_same(conf, sequential, tmp_path):
    pytest.importorskip("ray")
    pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    arguments = ["hydra/launcher=ray", *GRID, *SMALL, "tracker=none", "hydra.sweep.dir=grid"]
    code, output = launch("-m", "--config-dir", str(conf), *arguments, cwd=tmp_path)
    assert code == 0, output
    for name, path in cells(tmp_path / "grid").items():
        other = sequential[name] / "metrics.json"
        assert (path / "metrics.json").read_bytes() == other.read_bytes(), name
    assert set(cells(tmp_path / "grid")) == set(NAMES)
