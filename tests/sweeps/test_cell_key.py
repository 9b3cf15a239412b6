import subprocess
import sys
from pathlib import Path

import pytest

from stitching.config import compose_config
from stitching.config.assemble import build_cell
from stitching.sweeps import cell_key

SMALL = ["encoder=random", "decoder=pixels", "data.image_size=32", "data.n_train=24",
         "data.n_test=6", "metric=[rmse]", "probe=none", "tracker=none"]  # fmt: skip


def key_of(*overrides):
    composed = compose_config([*SMALL, *overrides])
    return cell_key.cell_identity(composed.settings, build_cell(composed))


@pytest.fixture(scope="module")
def key():
    return key_of()


def test_equal_settings_have_equal_identities(key):
    assert key_of() == key


@pytest.mark.parametrize(
    "override",
    ["tracker.project=x", "tracker=wandb", "resume=false", "batch_size=7", "device=cpu"],
)
def test_what_changes_no_result_changes_no_identity(key, override):
    assert key_of(*(["tracker=wandb"] if "project" in override else []), override) == key


@pytest.mark.parametrize(
    "override",
    [
        "seed=1", "data.n_test=7", "data.n_train=25", "data.seed=3", "map=procrustes",
        "map.alpha_per_target=true", "metric=[rmse,psnr]", "protocol=only-test-images",
        "protocol.n_bootstrap=500", "picture=1", "dtype=float64", "encoder.seed=5",
        "probe=logistic", "rank_curve=auto", "export_map=true", "round_trip=false",
    ],
)  # fmt: skip
def test_what_changes_a_result_changes_the_identity(key, override):
    extra = ["protocol.test_images=5"] if "only-test" in override else []
    assert key_of(override, *extra) != key


def test_other_code_is_another_identity(key, monkeypatch):
    monkeypatch.setattr(cell_key, "computing_code", lambda: "other")
    assert key_of() != key


def test_a_metric_that_turns_up_later_is_another_identity(key, monkeypatch):
    from stitching.metrics.pixel import RMSE

    monkeypatch.setattr(RMSE, "unavailable", "no weights")
    assert key_of() != key


def test_all_modules_behind_a_cell_count_as_code():
    code = (
        "import sys, stitching.config, stitching.pipeline.cell, stitching.maps, stitching.probes\n"
        "import stitching.weights.loading, stitching.metrics.lpips, stitching.metrics.frechet\n"
        "import stitching.data.faces\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('stitching')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    imported = {Path(file) for file in done.stdout.split()}
    # Files, and names of measures to check options against: no number is made there.
    beside = {"records", "results", "stitching"}
    assert len(imported) > 50
    assert {p for p in imported if p.parent.name not in beside} <= set(cell_key.computing_files())


def test_what_only_shows_results_is_no_part_of_them():
    parts = {path.parent.name for path in cell_key.computing_files()}
    assert not parts & {"report", "claims", "page", "tracking", "status", "dashboard"}
