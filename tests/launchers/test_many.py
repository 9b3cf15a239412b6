"""Sixteen cells by eight workers again and again, and a real search by Optuna."""

import os

import pytest
import yaml

from tests.launchers.running import SMALL, Reader, cells, launch, read, rows

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def cwd(tmp_path_factory):
    return tmp_path_factory.mktemp("many")


@pytest.mark.parametrize("repeat", range(int(os.environ.get("REPEATS", "2"))))
def test_no_row_is_lost_or_torn_and_none_is_double(conf, cwd, repeat):
    # From the second repeat on, finished cells are taken from before: hardly more than writing.
    sweep = cwd / f"grid-{repeat}"
    grid = [
        "encoder=one,two,random,untrained",
        "decoder=one,two,untrained,pca",
        f"hydra.sweep.dir={sweep}",
    ]
    joblib = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=8", "tracker=none"]
    with Reader(lambda: [sweep] * sweep.is_dir()) as reader:
        code, output = launch("-m", "--config-dir", str(conf), *joblib, *SMALL, *grid, cwd=cwd)
    assert code == 0, output
    assert reader.problem is None
    pairs = [(row["encoder"], row["decoder"]) for row in rows(sweep)]
    assert len(pairs) == len(set(pairs)) == 16
    assert len(cells(sweep)) == 16
    assert all(len(set(table)) == len(table) for table in reader.tables)


@pytest.fixture(scope="module")
def tuned(conf, tmp_path_factory):
    cwd = tmp_path_factory.mktemp("tune")
    options = ["experiment=tune", "encoder=two", "decoder=one", "hydra.sweeper.n_trials=5"]
    plain = ["data.image_size=32", "data.n_train=80", "data.n_test=6", "tracker=none"]
    code, output = launch(
        "--config-dir", str(conf), *options, *plain, "hydra.sweep.dir=grid", cwd=cwd
    )
    assert code == 0, output
    return cwd / "grid"


def test_a_search_ends_with_the_map_that_did_best_on_held_out_fit_images(tuned):
    best = yaml.safe_load((tuned / "optimization_results.yaml").read_text())
    scores = {
        name: read(path, "metrics.json")["latent/validation_r2"]
        for name, path in cells(tuned).items()
    }
    assert len(scores) == 5
    assert best["best_value"] == pytest.approx(max(scores.values()))
    assert set(best["best_params"]) <= {"map", "map.rank"}


def test_a_search_tries_the_options_of_each_kind(tuned):
    maps = [
        yaml.safe_load((path / "config.yaml").read_text())["map"] for path in cells(tuned).values()
    ]
    assert {node["_target_"].rpartition(".")[2] for node in maps} == {"Ridge", "ReducedRank"}
    assert len({node["rank"] for node in maps if "rank" in node}) > 1
