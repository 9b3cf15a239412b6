"""Which cells count, and what a table of raw values holds."""

import os
import threading
import time

import pytest

from stitching.report import collect, main, pivot, read_grid, report_sweeps
from tests.report.made import cells_of, drawn, make_cell, make_pictures, scores, write


def test_rows_follow_the_order_in_which_models_appeared(tmp_path):
    for number, pair in enumerate([("z", "b"), ("z", "a"), ("m", "a"), ("m", "b")]):
        make_cell(tmp_path, *pair, number)
    frame = collect(tmp_path)
    assert list(zip(frame["encoder"], frame["decoder"], strict=True)) == [
        ("z", "b"),
        ("z", "a"),
        ("m", "b"),
        ("m", "a"),
    ]


def test_job_ten_comes_after_job_nine(tmp_path):
    for number, encoder in ((10, "late"), (9, "early")):
        make_cell(tmp_path, encoder, "vae", number)
    assert list(collect(tmp_path)["encoder"]) == ["early", "late"]


def test_columns_have_a_fixed_order_and_resources_are_among_them(tmp_path):
    make_cell(tmp_path, "vae", "nf", image__lpips=0.2, zz=1, aa=2, latent__r2=0.5, alpha=3.0)
    assert list(collect(tmp_path)) == [
        *("encoder", "decoder", "latent/r2", "image/rmse", "image/lpips", "data", "map", "alpha"),
        *("n_train", "n_test", "seed", "folder", "sweep", "aa", "time/total_s", "zz"),
    ]


def test_the_table_of_cells_holds_raw_values(tmp_path):
    value = 0.1 + 0.2  # 0.30000000000000004
    make_cell(tmp_path, "vae", "nf", 0, latent__r2=value, alpha=None)
    make_cell(tmp_path, "nf", "nf", 1, latent__r2=-1e-17, alpha=5.5)
    main([str(tmp_path)])
    rows = cells_of(tmp_path)
    assert rows["latent/r2"].tolist() == [value, -1e-17]
    assert rows["alpha"].fillna(0).tolist() == [0, 5.5]
    assert rows["n_train"].tolist() == [100, 100]


@pytest.mark.parametrize(
    ("state", "word", "reason"),
    [("failed", "failed", "ValueError: broken"), ("running", "unfinished", "'running'")],
)
def test_a_cell_that_is_not_done_is_named_and_not_measured(tmp_path, state, word, reason):
    make_cell(tmp_path, "vae", "nf", 0)
    make_cell(tmp_path, "nf", "nf", 1, state=state)
    grid = read_grid(tmp_path)
    assert list(grid.frame["encoder"]) == ["vae"]
    assert grid.absent == {("nf", "nf"): word}
    (note,) = grid.notes
    assert f"nf-to-nf_1 {word}" in note
    assert reason in note


def test_a_failed_cell_may_have_metrics_that_do_not_count(tmp_path):
    folder = make_cell(tmp_path, "vae", "nf", 0)
    write(folder, "status.json", {"state": "failed", "sweep": "s1", "error": "disk full"})
    make_cell(tmp_path, "nf", "nf", 1)
    assert list(collect(tmp_path)["encoder"]) == ["nf"]


def test_a_pair_that_was_not_started_is_missing(tmp_path):
    make_cell(tmp_path, "vae", "nf", 0)
    make_cell(tmp_path, "nf", "vae", 1)
    assert read_grid(tmp_path).absent == {("vae", "vae"): "missing", ("nf", "nf"): "missing"}


@pytest.mark.parametrize("name", ["metrics.json", "resources.json", "status.json"])
@pytest.mark.parametrize("content", ['{"encoder": "vae", "ima', "", "[1, 2]", None])
def test_a_damaged_file_makes_the_cell_invalid(tmp_path, name, content):
    make_cell(tmp_path, "nf", "nf", 0)
    folder = make_cell(tmp_path, "vae", "nf", 1)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    os.utime(tmp_path / "nf-to-nf_0" / "status.json", ns=(2**62, 2**62))  # the last sweep's
    grid = read_grid(tmp_path)
    assert list(grid.frame["encoder"]) == ["nf"]
    assert grid.absent == {("vae", "nf"): "invalid"}
    assert any(f"{name} cannot be read" in note for note in grid.notes)


def test_cells_of_an_earlier_sweep_are_left_out_by_name(tmp_path):
    for number, encoder in enumerate(("vae", "nf", "vqvae")):
        for file in make_cell(tmp_path, encoder, "nf", number, sweep="old").iterdir():
            os.utime(file, (1, 1))
    make_cell(tmp_path, "gan", "nf", 0, sweep="new")
    grid = read_grid(tmp_path)
    assert list(grid.frame["encoder"]) == ["gan"]
    (note,) = grid.notes
    assert "(new): vae-to-nf_0, nf-to-nf_1, vqvae-to-nf_2" in note


def test_identical_repeats_count_once_in_tables_and_stay_rows(tmp_path, capsys):
    make_cell(tmp_path, "vae", "nf", 0, image__rmse=0.25)
    folder = make_cell(tmp_path, "vae", "nf", 1, image__rmse=0.25)
    write(folder, "resources.json", {"time/total_s": 9.0, "sweep": "s1"})
    main([str(tmp_path)])
    assert "repeats, of which tables show one: vae-to-nf_0, vae-to-nf_1" in capsys.readouterr().out
    assert len(cells_of(tmp_path)) == 2
    assert pivot(collect(tmp_path), "image/rmse").loc["vae", "nf"] == 0.25


@pytest.mark.parametrize("other", [{"image__rmse": 0.5}, {"alpha": 2.0}])
def test_repeats_that_differ_are_an_error_and_not_an_average(tmp_path, other):
    make_cell(tmp_path, "vae", "nf", 0)
    make_cell(tmp_path, "vae", "nf", 1, **other)
    key = next(iter(other)).replace("__", "/")
    message = f"2 cells for vae to nf differ in {key}: vae-to-nf_0, vae-to-nf_1"
    with pytest.raises(ValueError, match=message):
        report_sweeps([tmp_path])
    assert len(cells_of(tmp_path)) == 2


def test_a_measure_that_no_cell_has_cannot_be_pivoted(tmp_path):
    make_cell(tmp_path, "vae", "nf")
    with pytest.raises(KeyError, match="image/fid"):
        pivot(collect(tmp_path), "image/fid")


def test_what_is_left_out_is_logged(tmp_path, caplog):
    make_cell(tmp_path, "vae", "nf", 0)
    make_cell(tmp_path, "nf", "nf", 1, state="failed")
    collect(tmp_path)
    assert "nf-to-nf_1 failed" in caplog.text


def test_a_single_cell_can_be_reported(tmp_path):
    folder = make_cell(tmp_path, "vae", "nf")
    make_pictures(folder, (255, 0, 0))
    main([str(folder)])
    main([str(folder)])  # its own files are not taken for cells
    assert cells_of(folder)["folder"].tolist() == ["vae-to-nf_0"]
    assert (folder / "pictures.png").is_file()


def test_the_current_folder_can_be_reported(tmp_path, monkeypatch):
    monkeypatch.chdir(make_cell(tmp_path, "vae", "nf"))
    assert list(collect(".")["folder"]) == ["vae-to-nf_0"]


def test_a_reader_sees_only_whole_rows_while_cells_are_written(tmp_path):
    final = tmp_path / "sweep"
    final.mkdir()

    def run():
        for number in range(16):
            folder = make_cell(tmp_path / "made", f"e{number}", "nf", number, state="running")
            folder = folder.rename(final / folder.name)
            write(folder, "resources.json", {"sweep": "s1"})
            values = {"encoder": f"e{number}", "decoder": "nf", "image/rmse": 0.5}
            write(folder, "metrics.json", values)
            write(folder, "partial", {"state": "done", "sweep": "s1"})
            (folder / "partial").replace(folder / "status.json")

    writer = threading.Thread(target=run)
    writer.start()
    deadline, rows = time.monotonic() + 20, 0
    while rows < 16 and time.monotonic() < deadline:
        try:
            frame = collect(final)
        except ValueError:  # none has finished yet
            continue
        rows = len(frame)
        assert set(frame["image/rmse"]) == {0.5}
    writer.join()
    assert rows == 16


# ---- draws


def test_a_damaged_file_of_draws_makes_the_cell_invalid(tmp_path):
    make_cell(tmp_path, "nf", "nf", 0)
    folder = make_cell(tmp_path, "vae", "nf", 1, draws={"image/rmse": drawn(scores(0.1))})
    (folder / "resamples.npz").write_bytes(b"PK torn")
    grid = read_grid(tmp_path)
    assert grid.absent == {("vae", "nf"): "invalid"}
    assert any("resamples.npz cannot be read" in note for note in grid.notes)


def test_draws_are_read_with_their_value(tmp_path):
    value, draws = drawn(scores(0.1, own=0.02))
    make_cell(tmp_path, "vae", "nf", draws={"image/rmse": (value, draws)})
    found = read_grid(tmp_path).cells["vae", "nf"].quantity("image/rmse")
    assert found.value == value
    assert found.draws == pytest.approx(draws)


def test_a_fact_has_no_draws(tmp_path):
    make_cell(tmp_path, "vae", "nf", draws={"image/rmse": drawn(scores(0.1))})
    found = read_grid(tmp_path).cells["vae", "nf"].quantity("n_train")
    assert (found.value, found.draws) == (100.0, None)
