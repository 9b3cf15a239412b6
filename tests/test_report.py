import csv
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stitching.report import (
    MEASURES,
    Measure,
    collect,
    main,
    pivot,
    print_table,
    read_grid,
    render_reconstructions,
)
from stitching.report.plots import heatmap
from stitching.report.tables import format_value, markdown

PERCENT = Measure("x", "x", percent=True)
PLAIN = Measure("x", "x")
BEST = (253, 231, 37)  # the bright end of viridis
BLANK = (236, 236, 236)


def write(folder, name, values):
    (folder / name).write_text(json.dumps(values))


def make_cell(root, encoder, decoder, number=0, *, sweep="s1", state="done", **values):
    """Write the files of a cell as a run does; `values` have __ for /."""
    folder = root / f"{encoder}-to-{decoder}_{number}"
    folder.mkdir(parents=True)
    error = {"error": "ValueError: broken"} if state == "failed" else {}
    write(folder, "status.json", {"state": state, "sweep": sweep} | error)
    if state == "done":
        metrics = {"encoder": encoder, "decoder": decoder, "data": "faces", "map": "ridge"}
        metrics |= {"n_train": 100, "n_test": 20, "seed": 0, "image/rmse": 0.1}
        metrics |= {key.replace("__", "/"): value for key, value in values.items()}
        write(folder, "metrics.json", metrics)
        write(folder, "resources.json", {"time/total_s": 1.5, "sweep": sweep})
    return folder


def make_sweep(root, encoders=("vae", "nf"), decoders=("vae", "nf"), **values):
    pairs = [(e, d) for e in encoders for d in decoders]
    for number, (encoder, decoder) in enumerate(pairs):
        make_cell(root, encoder, decoder, number, **values)
    return root


def make_pictures(folder, stitched, original=(0, 0, 0), size=4):
    for name, colour in (("picture", stitched), ("picture_original", original)):
        Image.new("RGB", (size, size), colour).save(folder / f"{name}.png")


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# ---- which cells count


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


def test_the_csv_holds_raw_values(tmp_path):
    value = 0.1 + 0.2  # 0.30000000000000004
    make_cell(tmp_path, "vae", "nf", 0, latent__r2=value, alpha=None)
    make_cell(tmp_path, "nf", "nf", 1, latent__r2=-1e-17, alpha=5.5)
    main([str(tmp_path)])
    rows = rows_of(tmp_path / "grid.csv")
    assert [float(row["latent/r2"]) for row in rows] == [value, -1e-17]
    assert [row["alpha"] for row in rows] == ["", "5.5"]
    assert [row["n_train"] for row in rows] == ["100", "100"]


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
    assert len(rows_of(tmp_path / "grid.csv")) == 2
    assert pivot(collect(tmp_path), "image/rmse").loc["vae", "nf"] == 0.25


@pytest.mark.parametrize("other", [{"image__rmse": 0.5}, {"alpha": 2.0}])
def test_repeats_that_differ_are_an_error_and_not_an_average(tmp_path, other):
    make_cell(tmp_path, "vae", "nf", 0)
    make_cell(tmp_path, "vae", "nf", 1, **other)
    key = next(iter(other)).replace("__", "/")
    message = f"2 cells for vae to nf differ in {key}: vae-to-nf_0, vae-to-nf_1"
    with pytest.raises(ValueError, match=message):
        main([str(tmp_path)])
    assert len(rows_of(tmp_path / "grid.csv")) == 2


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
    assert [row["folder"] for row in rows_of(folder / "grid.csv")] == ["vae-to-nf_0"]
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


# ---- rounding and tables


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.29, "29.0"), (0.57, "57.0"), (0.58, "58.0"), (-0.00999, "-1.0"), (1.0, "100.0")),
        *((0.0, "0.0"), (-0.0001, "0.0"), (2 / 3, "66.7"), (0.9996, "100.0")),
    ],
)
def test_percentages_are_rounded_not_cut_off(value, text):
    assert format_value(value, PERCENT) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.0637, "0.0637"), (0.20345, "0.203"), (0.9996, "1.00"), (0.09996, "0.100")),
        *((12.345, "12.3"), (123.5, "124"), (99999.6, "100000"), (1234567.0, "1.23e+06")),
        *((0.00012345, "0.000123"), (0.000012345, "1.23e-05"), (-0.0132, "-0.0132")),
        *((0.0, "0.00"), (-0.0, "0.00"), (7, "7.00"), ("missing", "missing")),
    ],
)
def test_other_numbers_have_three_significant_digits(value, text):
    assert format_value(value, PLAIN) == text


def test_the_text_table_shows_encoders_as_rows_and_decoders_as_columns(tmp_path):
    make_cell(tmp_path, "vae", "nf", 0, image__rmse=0.0641)
    make_cell(tmp_path, "vae", "vqvae", 1, image__rmse=0.2)
    make_cell(tmp_path, "random", "nf", 2, image__rmse=0.5)
    make_cell(tmp_path, "random", "vqvae", 3, state="failed")
    assert print_table(read_grid(tmp_path)).splitlines() == [
        "image/rmse: Pixel RMSE (0-1 scale); lower is better",
        "encoder \\ decoder      nf   vqvae",
        "vae                0.0641   0.200",
        "random              0.500  failed",
    ]


def test_the_markdown_table_shows_the_same(tmp_path):
    make_sweep(tmp_path, ("vae",), ("nf", "dm"), image__rmse=0.0641)
    text = markdown(read_grid(tmp_path))
    assert "| encoder \\ decoder | nf | dm |\n| --- | ---: | ---: |" in text
    assert "| vae | 0.0641 | 0.0641 |" in text
    assert "data faces, map ridge, 100 images to fit, 20 to test, seed 0." in text


def test_a_value_that_is_not_finite_is_invalid_everywhere(tmp_path, capsys):
    make_cell(tmp_path, "vae", "nf", 0, image__lpips=float("nan"))
    make_cell(tmp_path, "nf", "nf", 1, image__lpips=0.5)
    main([str(tmp_path)])
    assert [row["image/lpips"] for row in rows_of(tmp_path / "grid.csv")] == ["invalid", "0.5"]
    assert "vae                invalid" in capsys.readouterr().out
    assert "| vae | invalid |" in (tmp_path / "table.md").read_text()


def test_a_value_of_none_is_missing_with_its_reason(tmp_path):
    reason = "the true latents are all equal"
    make_cell(tmp_path, "vae", "nf", 0, latent__r2=None, latent__r2_missing=reason)
    make_cell(tmp_path, "nf", "nf", 1, latent__r2=1.0)
    text = print_table(read_grid(tmp_path))
    assert "vae                missing" in text
    assert f"missing in 1 of 2 cells: {reason}" in text


def test_a_measure_that_no_cell_has_is_named_with_the_reason(tmp_path, capsys):
    make_sweep(tmp_path, image__fid_missing="no network")
    main([str(tmp_path)])
    assert "image/fid missing in 4 of 4 cells: no network" in capsys.readouterr().out
    assert not (tmp_path / "heatmap_image_fid.png").exists()


@pytest.mark.parametrize(("n", "biased"), [(128, True), (1280, True), (5000, False)])
def test_a_frechet_distance_comes_with_its_counts_and_bias(tmp_path, n, biased):
    make_cell(tmp_path, "a", "b", image__fid=9.0, image__fid_n=n, image__fid_dim=1280)
    text = print_table(read_grid(tmp_path))
    assert f"{n} images per side, 1280 features" in text
    assert ("estimation bias" in text) == biased


@pytest.mark.parametrize("constant", [0, 3])
def test_probe_agreement_says_how_many_attributes_inform_it(tmp_path, constant):
    probe = {"probe__n_attributes": 8, "probe__n_constant": constant}
    make_cell(tmp_path, "a", "b", probe__consistency=0.9, **probe)
    text = print_table(read_grid(tmp_path))
    assert "mean over 8 attributes" in text
    assert ("up to 3 of them uninformative" in text) == bool(constant)


def test_the_diagonal_without_a_map_does_not_hide_the_map_of_the_others(tmp_path, capsys):
    make_cell(tmp_path, "a", "a", 0, map="identity")
    make_cell(tmp_path, "b", "a", 1, map="ridge")
    main([str(tmp_path)])
    assert "map ridge (none on the diagonal)" in capsys.readouterr().out


# ---- pictures


def pixels(source):
    with Image.open(source) as image:
        return np.asarray(image.convert("RGB"))


def places(image, colour):
    """Return rows and columns of the pixels of one colour."""
    return np.nonzero((image == np.array(colour, np.uint8)).all(axis=2))


def draw(values, **options):
    texts = [["x" for _ in row] for row in values]
    names = [f"e{i}" for i in range(len(values))], [f"d{j}" for j in range(len(values[0]))]
    options = {"title": "t", "subtitle": "s", "lower_is_better": True} | options
    return heatmap(values, texts, *names, **options)


@pytest.mark.parametrize(("lower_is_better", "column"), [(True, 0), (False, 1)])
def test_the_better_end_is_bright(tmp_path, lower_is_better, column):
    (tmp_path / "h.png").write_bytes(draw([[1.0, 2.0]], lower_is_better=lower_is_better))
    image = pixels(tmp_path / "h.png")
    _, x = places(image, BEST)
    left, right = (x < 0.45 * image.shape[1]).sum(), (x > 0.5 * image.shape[1]).sum()
    assert (left > right) == (column == 0)


def test_a_measure_with_its_own_unit_per_column_is_coloured_by_column(tmp_path):
    values = [[1.0, 100.0], [2.0, 200.0]]
    counts = []
    for by_column in (False, True):
        (tmp_path / "h.png").write_bytes(draw(values, by_column=by_column))
        counts.append(len(places(pixels(tmp_path / "h.png"), BEST)[0]))
    assert counts[1] > 1.7 * counts[0]


@pytest.mark.parametrize("word", ["missing", "failed", "invalid"])
def test_a_cell_without_a_number_is_hatched(tmp_path, word):
    (tmp_path / "h.png").write_bytes(draw([[0.5, word], [0.1, 0.2]]))
    (tmp_path / "full.png").write_bytes(draw([[0.5, 0.4], [0.1, 0.2]]))
    blank = len(places(pixels(tmp_path / "h.png"), BLANK)[0])
    assert blank > 1000 + len(places(pixels(tmp_path / "full.png"), BLANK)[0])


@pytest.mark.parametrize(
    "values",
    [[[1.0]], [[1.0, 1.0]], [["missing", 2.0], ["missing", 3.0]], [[-50.0, 0.9]]],
    ids=["one cell", "no spread", "empty column", "below the floor"],
)
def test_a_heatmap_of_few_values_is_drawn(values):
    assert draw(values, floor=0.0, by_column=len(values) > 1).startswith(b"\x89PNG")


def test_a_heatmap_is_the_same_every_time_whatever_the_users_settings():
    import matplotlib

    first = draw([[0.1, 0.2]])
    with matplotlib.rc_context({"font.size": 30, "figure.facecolor": "red"}):
        second = draw([[0.1, 0.2]])
    assert first == second


def test_pictures_have_decoders_as_rows_and_encoders_as_columns(tmp_path):
    colours = {}
    for i, encoder in enumerate(("a", "b", "c")):
        for j, decoder in enumerate(("d", "e")):
            folder = make_cell(tmp_path, encoder, decoder, 2 * i + j)
            colours[i, j] = (50 + 60 * i, 200 - 60 * j, 77)
            make_pictures(folder, colours[i, j], original=(255, 0, 255))
    main([str(tmp_path)])
    image = pixels(tmp_path / "pictures.png")
    centre = {key: [v.mean() for v in places(image, colour)] for key, colour in colours.items()}
    assert centre[0, 0][0] == centre[1, 0][0] == centre[2, 0][0] < centre[0, 1][0]
    assert centre[0, 0][1] == centre[0, 1][1] < centre[1, 0][1] < centre[2, 0][1]
    assert places(image, (255, 0, 255))[1].max() < places(image, colours[0, 0])[1].min()


def test_pictures_are_enlarged_without_interpolation(tmp_path):
    folder = make_cell(tmp_path, "a", "b")
    board = np.indices((8, 8)).sum(0) % 2 * 255
    board = np.stack([board, 255 - board, 0 * board], axis=2).astype(np.uint8)
    make_pictures(folder, (9, 9, 9), size=8)
    Image.fromarray(board).save(folder / "picture.png")
    main([str(tmp_path)])
    image = pixels(tmp_path / "pictures.png")
    assert len(places(image, (255, 0, 0))[0]) == len(places(image, (0, 255, 0))[0]) == 128**2 / 2


def test_a_failed_cell_is_a_blank_among_the_pictures(tmp_path):
    make_pictures(make_cell(tmp_path, "a", "b", 0), (255, 0, 0))
    make_cell(tmp_path, "c", "b", 1, state="failed")
    main([str(tmp_path)])
    assert len(places(pixels(tmp_path / "pictures.png"), BLANK)[0]) > 1000


def test_a_cell_without_pictures_is_named(tmp_path, capsys):
    make_pictures(make_cell(tmp_path, "a", "b", 0), (255, 0, 0))
    make_cell(tmp_path, "c", "b", 1)
    main([str(tmp_path)])
    assert "c-to-b_1 without pictures" in capsys.readouterr().out


def test_cells_that_show_different_test_images_are_refused(tmp_path):
    make_pictures(make_cell(tmp_path, "a", "b", 0), (1, 1, 1), original=(2, 2, 2))
    make_pictures(make_cell(tmp_path, "c", "b", 1), (1, 1, 1), original=(3, 3, 3))
    with pytest.raises(ValueError, match="a-to-b_0 and c-to-b_1 show different test images"):
        main([str(tmp_path)])


def test_reconstructions_are_three_rows_in_order():
    shape = (2, 4, 4, 3)
    rows = [np.full(shape, value, np.uint8) for value in (10, 20, 30)]
    image = np.asarray(render_reconstructions(*rows))
    heights = [places(image, (value,) * 3)[0].mean() for value in (10, 20, 30)]
    assert heights == sorted(heights)
    assert len(places(image, (10, 10, 10))[0]) == 2 * 128**2


def test_reconstructions_show_twelve_images_at_most():
    batch = np.zeros((12, 4, 4, 3), np.uint8)
    more = np.zeros((100, 4, 4, 3), np.uint8)
    assert render_reconstructions(more, more, more).size == (
        render_reconstructions(batch, batch, batch).size
    )


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (np.zeros((2, 4, 4, 3)), "own reconstruction must be uint8 of shape .* float64"),
        (np.zeros((2, 3, 4, 4), np.uint8), r"must be uint8 of shape \(n, H, W, 3\)"),
        (np.zeros((3, 4, 4, 3), np.uint8), "as many images as the original"),
    ],
    ids=["float", "channels first", "another count"],
)
def test_reconstructions_of_another_form_are_refused(own, message):
    good = np.zeros((2, 4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match=message):
        render_reconstructions(good, own, good)


def test_reconstructions_of_nothing_are_refused():
    empty = np.zeros((0, 4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="at least 1"):
        render_reconstructions(empty, empty, empty)


# ---- the command


def test_the_report_is_made_of_these_files(tmp_path, capsys):
    values = {measure.key.replace("/", "__"): 0.5 for measure in MEASURES}
    make_pictures(make_cell(tmp_path, "vae", "nf", **values), (255, 0, 0))
    assert main([str(tmp_path)]) == 0
    heatmaps = {f"heatmap_{measure.key.replace('/', '_')}.png" for measure in MEASURES}
    written = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert written == heatmaps | {"grid.csv", "pictures.png", "table.md"}
    out = capsys.readouterr().out
    assert out.startswith("1 of 1 cells finished: data faces")
    assert {line.strip() for line in out.splitlines()} >= {str(tmp_path / x) for x in written}


def test_a_second_report_writes_the_same_bytes(tmp_path):
    make_pictures(make_cell(tmp_path, "vae", "nf"), (255, 0, 0))
    contents = []
    for _ in range(2):
        main([str(tmp_path)])
        contents.append({p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()})
    assert contents[0] == contents[1]


def test_a_heatmap_of_a_measure_that_is_gone_is_removed(tmp_path):
    folder = make_cell(tmp_path, "vae", "nf", image__fid=3.0)
    main([str(tmp_path)])
    assert (tmp_path / "heatmap_image_fid.png").exists()
    write(folder, "metrics.json", {"encoder": "vae", "decoder": "nf", "image/rmse": 0.1})
    main([str(tmp_path)])
    assert not (tmp_path / "heatmap_image_fid.png").exists()


def test_failed_cells_leave_the_exit_code_at_zero(tmp_path, capsys):
    make_cell(tmp_path, "vae", "nf", 0)
    make_cell(tmp_path, "nf", "nf", 1, state="failed")
    assert main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "1 of 2 cells finished" in out
    assert "nf-to-nf_1 failed: ValueError: broken" in out


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a folder"):
        main([str(tmp_path / "no")])


def test_a_folder_without_cells_names_the_sweeps_below_it(tmp_path):
    make_sweep(tmp_path / "12-00_grid")
    with pytest.raises(ValueError, match=r"no cells in the folder .*12-00_grid"):
        main([str(tmp_path)])


def test_a_sweep_without_a_finished_cell_says_what_failed(tmp_path):
    make_cell(tmp_path, "vae", "nf", state="failed")
    with pytest.raises(ValueError, match=r"no finished cell(.|\n)*ValueError: broken"):
        main([str(tmp_path)])


def run(code):
    root = Path(__file__).parent.parent
    return subprocess.run(
        [sys.executable, "-W", "error", *code],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_reports_an_error_in_one_line(tmp_path):
    done = run(["-m", "stitching.report", str(tmp_path)])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: no cells in the folder")
    assert done.stderr.count("\n") == 1


def test_a_report_needs_neither_torch_nor_pyplot(tmp_path):
    make_pictures(make_cell(tmp_path, "vae", "nf"), (255, 0, 0))
    code = (
        "import sys\nfrom stitching.report import main\n"
        "light = {'pandas', 'matplotlib', 'PIL', 'numpy'} & set(sys.modules)\n"
        f"main([{str(tmp_path)!r}])\n"
        "print(light, {'torch', 'matplotlib.pyplot'} & set(sys.modules))"
    )
    done = run(["-c", code])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("set() set()\n")


def test_reconstructions_need_only_pil():
    code = (
        "import sys, numpy as np\nfrom stitching.report import render_reconstructions\n"
        "x = np.zeros((1, 4, 4, 3), np.uint8)\nrender_reconstructions(x, x, x)\n"
        "print({'torch', 'matplotlib', 'pandas'} & set(sys.modules))"
    )
    assert run(["-c", code]).stdout == "set()\n"
