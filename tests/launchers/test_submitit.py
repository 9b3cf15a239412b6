"""Each cell in a process of its own, as on a cluster: nothing is inherited but the environment."""

import re

import pytest

from tests.launchers.running import cells, launch, read, rows

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def sweep(conf, tmp_path_factory):
    """Images that a GAN drew, models from `hydra.searchpath`, one of them without weights."""
    cwd = tmp_path_factory.mktemp("submitit")
    arguments = ["hydra/launcher=submitit_local", f"hydra.searchpath=[file://{conf}]"]
    options = ["data=drawn", "data.n_train=24", "data.n_test=6", "metric=[rmse]", "probe=none"]
    grid = ["encoder=gan,gone", "decoder=one", "hydra.sweep.dir=grid"]
    code, output = launch("-m", *arguments, *options, *grid, cwd=cwd)
    return cwd / "grid", code, output


def test_a_failing_cell_leaves_the_others_done(sweep):
    states = {name: read(path)["state"] for name, path in cells(sweep[0]).items()}
    assert states == {"gan-to-one_0": "done", "gone-to-one_1": "failed"}
    assert [row["encoder"] for row in rows(sweep[0])] == ["gan"]


def test_the_exit_code_says_that_one_failed(sweep):
    assert sweep[1] == 1


def test_the_failed_cell_holds_its_own_traceback(sweep):
    failed, done = (cells(sweep[0])[name] for name in ("gone-to-one_1", "gan-to-one_0"))
    assert "not finite" in read(failed)["error"]
    assert "Traceback" in (failed / "error.txt").read_text()
    assert not (done / "error.txt").exists()


def test_the_summary_names_the_failed_cell(sweep):
    assert re.search(r"failed +gone-to-one_1", sweep[2])


def test_each_cell_has_one_run(sweep):
    runs = [list((path / "wandb").glob("offline-run-*")) for path in cells(sweep[0]).values()]
    assert [len(found) for found in runs] == [1, 1]


def test_processes_warn_of_no_configuration(sweep):
    logs = [path.read_text() for path in sweep[0].glob(".submitit/*/*.err")]
    assert len(logs) == 2
    assert not any("schema" in text for text in logs)


def test_shards_are_encoded_by_processes_of_their_own(conf, tmp_path):
    shards = ["shards=2", "shard=range(0,2)", "models=[one]", "hydra.sweep.dir=logs"]
    sizes = ["data.image_size=32", "data.n_train=150", "data.n_test=6"]
    code, output = launch(
        "-m", "--config-dir", str(conf), "hydra/launcher=submitit_local", *shards, *sizes,
        cwd=tmp_path, module="stitching.encode",
    )  # fmt: skip
    assert code == 0, output
    assert len(list(tmp_path.glob("cache/latents/*.safetensors"))) == 3
    lines = "".join(path.read_text() for path in tmp_path.glob("logs/.submitit/*/*.out"))
    assert "one train, images 0 to 99 of 150: blocks encoded 1, there already 0" in lines
    assert "one train, images 100 to 149 of 150: blocks encoded 1, there already 0" in lines
