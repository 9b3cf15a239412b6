import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stitching.tracking import weights_and_biases
from tests.tracking.offline import (
    cell,
    history_keys,
    make,
    messages,
    read_run,
    stored_picture,
    stored_table,
)

pytest.importorskip("wandb")


def run_cell(folder, encoder, rmse, error=None):
    folder.mkdir()
    with make() as tracker:
        tracker.start({"encoder": encoder}, f"{encoder}-to-vae", "sweep", folder)
        tracker.log({"image/rmse": rmse})
        if error:
            raise error


@pytest.fixture(scope="module")
def three_runs(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("sweep")
    run_cell(tmp_path / "vae", "vae", 0.0)
    with pytest.raises(KeyError):
        run_cell(tmp_path / "nf", "nf", 1.0, KeyError("broken"))
    run_cell(tmp_path / "vqvae", "vqvae", 2.0)
    return [read_run(tmp_path / name) for name in ("vae", "nf", "vqvae")]


def test_three_runs_of_which_the_middle_one_raises_have_their_own_contents(three_runs):
    assert [run["config"]["encoder"] for run in three_runs] == ["vae", "nf", "vqvae"]
    assert [run["summary"]["image/rmse"] for run in three_runs] == [0.0, 1.0, 2.0]
    assert [run["name"] for run in three_runs] == ["vae-to-vae", "nf-to-vae", "vqvae-to-vae"]
    assert len({run["id"] for run in three_runs}) == 3


def test_name_group_and_folder_of_the_environment_are_followed(tmp_path, monkeypatch):
    folder, elsewhere = tmp_path / "cell", tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.setenv("WANDB_NAME", "theirs")
    monkeypatch.setenv("WANDB_RUN_GROUP", "g" * 200)
    monkeypatch.setenv("WANDB_DIR", str(elsewhere))
    with make() as tracker:
        tracker.start({}, "x" * 200, "sweep", folder)
        place = tracker.place
    run = read_run(elsewhere)
    assert (run["name"], len(run["group"])) == ("theirs", 128)
    assert str(run["dir"]) == place
    assert not list(folder.iterdir())


def test_a_run_with_a_long_name_is_stored_and_says_where(tmp_path):
    with make() as tracker:
        tracker.start({}, "x" * 200, "sweep", tmp_path)
        place = tracker.place
    run = read_run(tmp_path)
    assert len(run["name"]) == 128
    assert run["dir"] == tmp_path / place
    assert tracker.place is None


def test_cells_are_in_the_group_of_their_sweep(three_runs):
    assert [run["group"] for run in three_runs] == ["sweep"] * 3
    assert [run["job_type"] for run in three_runs] == ["cell"] * 3


def test_a_cell_that_raises_is_marked_failed_with_its_error(three_runs):
    assert [run["exit"] for run in three_runs] == [0, 1, 0]
    assert [run["summary"].get("error") for run in three_runs] == [
        None,
        "KeyError: 'broken'",
        None,
    ]


def test_an_error_of_several_lines_is_its_first_line(tmp_path):
    with pytest.raises(ValueError, match="one"):
        run_cell(tmp_path / "cell", "vae", 0.0, ValueError("one\ntwo"))
    assert read_run(tmp_path / "cell")["summary"]["error"] == "ValueError: one"


def test_a_run_that_is_still_active_is_not_handed_back(tmp_path):
    first, second = make(), make()
    first.start({"encoder": "vae"}, "a", "g", cell(tmp_path, "a"))
    second.start({"encoder": "nf"}, "b", "g", cell(tmp_path, "b"))
    first.log({"x": 1})
    second.log({"x": 2})
    first.finish()
    second.finish()
    runs = [read_run(tmp_path / name) for name in ("a", "b")]
    assert [run["config"]["encoder"] for run in runs] == ["vae", "nf"]
    assert [run["summary"]["x"] for run in runs] == [1, 2]


def test_a_run_has_the_identity_and_kind_it_is_given(tmp_path):
    folder = cell(tmp_path)
    with make() as tracker:
        tracker.start({}, "n", "g", folder, job_type="summary", id="abc123")
    run = read_run(folder)
    assert (run["id"], run["job_type"]) == ("abc123", "summary")


def test_the_id_of_the_environment_is_not_that_of_every_cell(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "same")
    for name in "ab":
        with make() as tracker:
            tracker.start({}, "n", "g", cell(tmp_path, name))
    assert "same" not in {read_run(tmp_path / name)["id"] for name in "ab"}


def test_nested_config_arrives_as_containers(tmp_path):
    config = {"data": {"name": "faces", "crop": [1, 2]}, "alpha": None, "flag": True}
    folder = cell(tmp_path)
    with make() as tracker:
        tracker.start(config, "n", "g", folder)
    stored = read_run(folder)["config"]
    assert {key: stored[key] for key in config} == config


def test_tags_are_those_of_all_runs_of_this_one_and_its_models(tmp_path):
    config = {
        "encoder": {"name": "vae"},
        "decoder": {"name": "nf"},
        "data": {"name": "faces"},
        "protocol": {"name": "strict"},
        "seed": 0,
    }
    folder = cell(tmp_path)
    with make(tags=["mine", "data:faces"]) as tracker:
        tracker.start(config, "n", "g", folder, tags=["reused"])
    tags = read_run(folder)["tags"]
    assert sorted(tags) == sorted(
        ["mine", "reused", "encoder:vae", "decoder:nf", "data:faces", "protocol:strict"]
    )


def test_a_name_too_long_for_a_tag_is_left_out(tmp_path):
    folder = cell(tmp_path)
    with make(tags=[]) as tracker:
        config = {"encoder": {"name": "e" * 57}, "decoder": {"name": "d" * 56}}
        tracker.start(config, "n", "g", folder)
    assert read_run(folder)["tags"] == ["decoder:" + "d" * 56]


def test_scalars_go_to_history_and_summary(tmp_path):
    folder = cell(tmp_path)
    with make() as tracker:
        tracker.start({}, "n", "g", folder)
        tracker.log({"loss": 2.0, "images_seen": 32})
        tracker.log({"loss": 1.0, "images_seen": 64, "map": "ridge"})
    run = read_run(folder)
    assert [row["loss"] for row in run["history"]] == [2.0, 1.0]
    assert run["summary"]["loss"] == 1.0
    assert run["summary"]["map"] == "ridge"


def test_what_is_summarized_has_no_panel(tmp_path):
    folder = cell(tmp_path)
    with make() as tracker:
        tracker.start({}, "n", "g", folder)
        tracker.summarize({"setting/alpha": 0.5, "setting/map": "ridge", "setting/via": None})
    run = read_run(folder)
    assert history_keys(run) == set()
    assert run["summary"]["setting/alpha"] == 0.5
    assert run["summary"]["setting/map"] == "ridge"
    assert run["summary"]["setting/via"] == "not available"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("method", ["log", "summarize"])
def test_a_value_that_is_not_finite_is_seen_as_invalid(tmp_path, value, method):
    folder = cell(tmp_path)
    with make() as tracker:
        tracker.start({}, "n", "g", folder)
        getattr(tracker, method)({"image/rmse": value, "latent/r2": None})
    run = read_run(folder)
    assert run["summary"]["image/rmse"] == "invalid"
    assert run["summary"]["invalid/image/rmse"] == 1
    assert run["summary"]["latent/r2"] == "not available"


def test_an_array_is_stored_pixel_by_pixel(tmp_path):
    folder = cell(tmp_path)
    dark = np.full((4, 6, 3), 1, np.uint8)  # would be bright, were it taken for 0..1
    with make() as tracker:
        tracker.start({}, "n", "g", folder)
        tracker.image("dark", dark)
    run = read_run(folder)
    (path,) = (run["dir"] / "files" / "media" / "images").iterdir()
    np.testing.assert_array_equal(np.asarray(Image.open(path)), dark)


def test_a_picture_file_is_stored_byte_by_byte(tmp_path):
    folder = cell(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "own.png", compress_level=1)
    with make() as tracker:
        tracker.start({}, "n", "g", folder)
        tracker.image("pictures/own", folder / "own.png")
    stored = stored_picture(read_run(folder), "pictures/own")
    assert stored == (folder / "own.png").read_bytes()


def test_a_picture_with_too_many_pixels_is_left_out_and_named(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(weights_and_biases, "_MAX_PIXELS", 12)
    folder = cell(tmp_path)
    Image.new("RGB", (5, 3)).save(folder / "big.png")
    with make() as tracker, caplog.at_level(logging.WARNING, logger="stitching"):
        tracker.start({}, "n", "g", folder)
        tracker.image("fits", np.zeros((3, 4, 3), np.uint8))
        tracker.image("big", folder / "big.png")
    assert history_keys(read_run(folder)) == {"fits"}
    (message,) = messages(caplog)
    assert "big.png" in message
    assert "5 x 3 pixels" in message


def test_pictures_beyond_the_largest_number_are_left_out(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(weights_and_biases, "_MAX_PICTURES", 2)
    folder = cell(tmp_path)
    with make() as tracker, caplog.at_level(logging.WARNING, logger="stitching"):
        tracker.start({}, "n", "g", folder)
        for name in "abc":
            tracker.image(name, np.zeros((2, 2, 3), np.uint8))
    assert history_keys(read_run(folder)) == {"a", "b"}
    (message,) = messages(caplog)
    assert "picture c, an array" in message


def test_a_table_keeps_its_rows(tmp_path):
    folder = cell(tmp_path)
    rows = [["Bald", "accuracy", 0.5], ["Young", "accuracy", "one class only"]]
    with make() as tracker:
        tracker.start({}, "n", "g", folder)
        tracker.table("probe/attributes", ["attribute", "measure", "value"], rows)
    found = stored_table(read_run(folder), "probe/attributes")
    assert found == (["attribute", "measure", "value"], rows)


def test_a_table_that_is_too_long_says_what_is_cut_off(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(weights_and_biases, "_MAX_ROWS", 2)
    folder = cell(tmp_path)
    with make() as tracker, caplog.at_level(logging.WARNING, logger="stitching"):
        tracker.start({}, "n", "g", folder)
        tracker.table("t", ["a"], [[1], [2], [3]])
    assert stored_table(read_run(folder), "t") == (["a"], [[1], [2]])
    (message,) = messages(caplog)
    assert "first 2 of the 3 rows of table t" in message


def test_the_longest_table_is_that_of_wandb():
    import wandb

    assert weights_and_biases._MAX_ROWS == wandb.Table.MAX_ROWS


def test_nothing_is_written_outside_of_the_cell_or_printed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; from pathlib import Path; from stitching.tracking import WandbTracker\n"
        "with WandbTracker('p', None, 'offline', 5, []) as tracker:\n"
        "    tracker.start({}, 'n', 'g', Path(sys.argv[1]))\n"
        "    tracker.log({'x': 1})\n"
        "    tracker.table('t', ['a'], [[1]])\n"
    )
    home, temp, work = (cell(tmp_path, name) for name in ("home", "temp", "work"))
    env = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "XDG_"))}
    env |= {"HOME": str(home), "TMPDIR": str(temp)}
    env["PYTHONPATH"] = str(Path(__file__).parent.parent.parent)
    done = subprocess.run(
        [sys.executable, str(script), str(cell(tmp_path))],
        env=env,
        cwd=work,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [list(path.rglob("*")) for path in (home, temp, work)] == [[], [], []]
    assert list((tmp_path / "cell" / "wandb").glob("offline-run-*"))


def test_the_environment_is_left_as_it_was(tmp_path):
    before = {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}
    with make() as tracker:
        tracker.start({}, "n", "g", cell(tmp_path))
        tracker.table("t", ["a"], [[1]])
    after = {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}
    assert after == before


def test_disabled_writes_nothing(tmp_path):
    folder = cell(tmp_path)
    with make("disabled") as tracker:
        tracker.start({}, "n", "g", folder)
        tracker.log({"x": 1})
        tracker.summarize({"y": 1})
        tracker.table("t", ["a"], [[1]])
        tracker.image("i", np.zeros((2, 2, 3), np.uint8))
    assert list(folder.iterdir()) == []
