import io
import json
import logging
import time

import pytest
from PIL import Image

from stitching.results.output import Output
from stitching.sync import find_runs
from stitching.tracking import NoTracker, Tracker
from stitching.tracking.summary import write_summary
from tests.report.made import make_cell, make_sweep
from tests.tracking.offline import (
    history_keys,
    make,
    messages,
    read_run,
    stored_picture,
    stored_table,
)

pytest.importorskip("wandb")

CONFIG = {"encoder": {"name": "vae", "size": 64}, "data": {"name": "faces", "n": 3}, "seed": 0}
INTERVAL = {"image__rmse": 0.25, "image__rmse.low": 0.125, "image__rmse.high": 0.5}
CLAIMS = {
    "claims": [
        {
            "id": "C1",
            "text": "Maps are linear.",
            "answers": [
                {
                    "data": "faces",
                    "protocol": "strict",
                    "seeds": {"seed": 1},
                    "verdict": "supported",
                    "reason": "they are",
                }
            ],
        }
    ]
}


def picture(output, name, colour):
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), colour).save(buffer, format="png")
    output.write({name: buffer.getvalue()})


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A sweep in which one cell failed and one was not started, with its report."""
    folder = tmp_path_factory.mktemp("sweep")
    other = CONFIG | {"encoder": {"name": "nf", "size": 64}}
    make_cell(folder, "vae", "vae", 0, config=CONFIG, **INTERVAL)
    make_cell(folder, "vae", "nf", 1, config=CONFIG, **INTERVAL)
    make_cell(folder, "nf", "vae", 2, config=other, state="failed")
    output = Output(folder)
    picture(output, "heatmap_image_rmse.png", (1, 2, 3))
    picture(output, "pictures.png", (4, 5, 6))
    output.write({"claims.json": json.dumps(CLAIMS).encode()})
    (folder / "heatmap_mine.png").write_bytes(b"of another origin")
    write_summary(folder, make())
    return folder


@pytest.fixture(scope="module")
def run(sweep):
    return read_run(sweep)


def test_the_summary_is_a_run_of_its_own_kind_in_the_group_of_the_sweep(run):
    assert (run["name"], run["job_type"], run["group"]) == ("summary", "summary", "s1")
    assert run["exit"] == 0


def test_cells_that_succeeded_failed_and_are_missing_are_counted(run):
    counts = {name: run["summary"][f"grid/{name}"] for name in ("succeeded", "failed", "missing")}
    assert counts == {"succeeded": 2, "failed": 1, "missing": 1}


def test_the_table_has_a_row_per_cell_with_measures_and_intervals(run):
    columns, rows = stored_table(run, "grid/cells")
    assert columns == [
        "encoder", "decoder", "state", "reason", "folder",
        "image/rmse", "image/rmse/low", "image/rmse/high",
    ]  # fmt: skip
    assert ["vae", "nf", "done", "", "vae-to-nf_1", 0.25, 0.125, 0.5] in rows
    assert len(rows) == 4


def test_the_table_says_why_a_cell_has_no_numbers(run):
    _, rows = stored_table(run, "grid/cells")
    failed, missing = ([row for row in rows if row[2] == x] for x in ("failed", "missing"))
    assert failed[0][:2] == ["nf", "vae"]
    assert "broken" in failed[0][3]
    assert failed[0][5:] == [None] * 3
    assert missing[0][:2] == ["nf", "nf"]


def test_pictures_of_the_report_are_stored_byte_by_byte(run, sweep):
    for key, name in (
        ("heatmap/image_rmse", "heatmap_image_rmse.png"),
        ("grid/pictures", "pictures.png"),
    ):
        assert stored_picture(run, key) == (sweep / name).read_bytes()


def test_claims_are_a_table(run):
    columns, rows = stored_table(run, "grid/claims")
    assert columns == ["claim", "text", "where", "verdict", "reason"]
    assert rows == [["C1", "Maps are linear.", "faces, strict, seed=1", "supported", "they are"]]


def test_its_configuration_is_what_all_cells_have_in_common(run):
    config = {key: value for key, value in run["config"].items() if key != "_wandb"}
    assert config == {
        "encoder": {"size": 64}, "data": {"name": "faces", "n": 3}, "seed": 0, "sweep": {},
    }  # fmt: skip


def test_written_again_it_has_the_same_identity_and_is_the_one_to_send(tmp_path):
    make_sweep(tmp_path)
    write_summary(tmp_path, make())
    time.sleep(1)  # runs are named by their second
    write_summary(tmp_path, make())
    runs = find_runs(tmp_path)
    assert len({run.path.name.rpartition("-")[2] for run in runs}) == 1
    assert [run.own for run in runs] == [False, True]


def test_runs_of_others_stay_and_are_not_sent(tmp_path):
    make_sweep(tmp_path)
    mine = tmp_path / "wandb" / "offline-run-1-abcdefgh" / "run-abcdefgh.wandb"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"a run")
    write_summary(tmp_path, NoTracker())
    assert mine.read_bytes() == b"a run"
    assert [run.own for run in find_runs(tmp_path)] == [False]


def test_two_sweeps_have_two_identities(tmp_path):
    for name in "ab":
        make_sweep(tmp_path / name, sweep=name)
        write_summary(tmp_path / name, make())
    assert read_run(tmp_path / "a")["id"] != read_run(tmp_path / "b")["id"]


def test_several_protocols_have_columns_and_pictures_of_their_own(tmp_path):
    for number, protocol in enumerate(("strict", "paper")):
        config = CONFIG | {"protocol": {"name": protocol}}
        make_cell(tmp_path, "vae", "nf", number, config=config, protocol=protocol)
        output = Output(tmp_path).variant(protocol)
        picture(output, "heatmap_image_rmse.png", (number, 0, 0))
        picture(output, "pictures.png", (number, 0, 0))
    write_summary(tmp_path, make())
    run = read_run(tmp_path)
    columns, rows = stored_table(run, "grid/cells")
    assert columns[:3] == ["encoder", "decoder", "protocol"]
    assert [row[2] for row in rows] == ["strict", "paper"]
    assert {"strict/heatmap/image_rmse", "paper/heatmap/image_rmse"} <= history_keys(run)
    assert {"strict/grid/pictures", "paper/grid/pictures"} <= history_keys(run)


def test_several_seeds_have_a_column(tmp_path):
    for seed in (0, 1):
        make_cell(tmp_path, "vae", "nf", seed, config=CONFIG | {"seed": seed}, seed=seed)
    write_summary(tmp_path, make())
    columns, rows = stored_table(read_run(tmp_path), "grid/cells")
    assert [row[columns.index("seed")] for row in rows] == [0, 1]


def test_cells_that_were_planned_and_not_started_are_missing(tmp_path):
    make_cell(tmp_path, "vae", "nf", 0)
    jobs = [
        {"number": i, "folder": f"vae-to-{name}_{i}", "encoder": "vae", "decoder": name,
         "overrides": []}
        for i, name in enumerate(("nf", "dm"))
    ]  # fmt: skip
    manifest = {"id": "s1", "command": ["launch.py"], "jobs": jobs, "finished": None}
    (tmp_path / "sweep.json").write_text(json.dumps(manifest))
    write_summary(tmp_path, make())
    run = read_run(tmp_path)
    _, rows = stored_table(run, "grid/cells")
    assert [row[1:3] for row in rows] == [["nf", "done"], ["dm", "missing"]]
    assert run["summary"]["grid/missing"] == 1
    assert run["config"]["sweep"]["command"] == ["launch.py"]


def test_a_measure_that_is_not_finite_reads_invalid(tmp_path):
    make_cell(tmp_path, "vae", "nf", 0, image__ssim=0.5)
    make_cell(tmp_path, "nf", "nf", 1, image__ssim=float("nan"))
    write_summary(tmp_path, make())
    columns, rows = stored_table(read_run(tmp_path), "grid/cells")
    assert [row[columns.index("image/ssim")] for row in rows] == [0.5, "invalid"]


def test_a_sweep_of_failures_has_a_summary(tmp_path):
    make_cell(tmp_path, "vae", "nf", 0, state="failed")
    write_summary(tmp_path, make())
    summary = read_run(tmp_path)["summary"]
    assert (summary["grid/failed"], summary["grid/succeeded"]) == (1, 0)


class Broken(Tracker):
    def _start(self, start):
        raise RuntimeError("no service")


@pytest.mark.parametrize("folder", ["sweep", "empty"])
def test_whatever_goes_wrong_is_one_warning(tmp_path, caplog, folder):
    make_sweep(tmp_path / "sweep")
    (tmp_path / "empty").mkdir()
    with caplog.at_level(logging.WARNING, logger="stitching"):
        write_summary(tmp_path / folder, Broken())
    (message,) = messages(caplog)
    assert f"no summary of {tmp_path / folder} for the tracker" in message
