"""The command: which files a report is made of."""

import json
import subprocess
import sys
import webbrowser
from pathlib import Path

import pytest

from stitching import claims
from stitching.report import MEASURES, grid_report, main
from stitching.results.output import CLAIMS, PAGE, RECORD
from tests.report.made import (
    APPENDIX,
    TABLES,
    drawn,
    make_cell,
    make_pictures,
    make_sweep,
    scores,
    write,
)


def test_the_report_is_made_of_these_files(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(grid_report, "heatmap", lambda *values, **options: b"a heatmap")
    values = {measure.key.replace("/", "__"): 0.5 for measure in MEASURES}
    make_pictures(make_cell(tmp_path, "vae", "nf", **values), (255, 0, 0))
    assert main([str(tmp_path)]) == 0
    pictured = [measure.key.replace("/", "_") for measure in MEASURES if measure.pictured]
    heatmaps = {f"heatmap_{key}.png" for key in pictured}
    written = {path.name for path in tmp_path.iterdir() if path.is_file()}
    beside = {RECORD, PAGE, *CLAIMS}
    assert written == heatmaps | TABLES | APPENDIX | {"pictures.png"} | beside
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1 cell: 1 succeeded; data faces")
    assert lines[-3:] == [
        f"page: {tmp_path / PAGE}", f"table: {tmp_path / 'table.md'}",
        f"numbers: {tmp_path / 'summary.csv'}",
    ]  # fmt: skip


def test_the_console_has_twenty_lines_at_most_whatever_failed(tmp_path, capsys):
    for number in range(60):
        state = "failed" if number % 2 else "done"
        make_cell(tmp_path, f"e{number}", "nf", number, state=state, image__fid_missing="gone")
    make_cell(tmp_path, "e1", "e1", 60, image__kid_missing="gone " * 99)
    main([str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 20
    assert lines[0].startswith("61 cells: 31 succeeded, 30 failed; data faces")
    assert sum(line.startswith("  failed ") for line in lines) == 4


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
    assert "2 cells: 1 succeeded, 1 failed" in out
    assert "failed  nf-to-nf_1  ValueError: broken" in out


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a folder"):
        main([str(tmp_path / "no")])


def test_a_folder_without_cells_names_the_sweeps_below_it(tmp_path):
    make_sweep(tmp_path / "12-00_grid")
    with pytest.raises(ValueError, match=r"no cells in the folder .*12-00_grid"):
        main([str(tmp_path)])


def sweep(root, **facts):
    for number, (encoder, decoder) in enumerate(
        [("vae", "vae"), ("vae", "nf"), ("nf", "vae"), ("nf", "nf")]
    ):
        rmse = drawn(scores(0.1 + number / 100, own=0.01, seed=number + 1))
        draws = {"image/rmse": rmse, "image/lpips": rmse}
        folder = make_cell(root, encoder, decoder, number, protocol="strict", draws=draws, **facts)
        make_pictures(folder, (9 * number, 80, 80))
    return root


def test_tables_figures_claims_and_page_are_written(tmp_path, capsys):
    assert main([str(sweep(tmp_path))]) == 0
    for name in (*TABLES, "claims.json", "claims.md", "report.html",
                 "figures/figure1.svg", "figures/figure3.png"):  # fmt: skip
        assert (tmp_path / name).is_file(), name
    shown = capsys.readouterr().out
    assert "4 cells: 4 succeeded" in shown
    assert f"page: {tmp_path / 'report.html'}" in shown


def test_a_sweep_over_sizes_has_curves_a_page_and_claims_of_the_largest(tmp_path):
    for number, n in enumerate((50, 100)):
        config = {"data": {"n_train": n}}
        make_cell(tmp_path, "vae", "nf", number, config=config, n_train=n, image__rmse=n / 1000)
    assert main([str(tmp_path)]) == 0
    assert (tmp_path / "report.html").is_file()
    assert (tmp_path / "curve_image_rmse.png").is_file()
    assert "; 100 to fit the maps" in (tmp_path / "claims.md").read_text()


def test_a_sweep_over_another_setting_has_curves_and_a_page_and_no_claims(tmp_path, capsys):
    for number, alpha in enumerate((50, 100)):
        config = {"map": {"alpha": alpha}}
        make_cell(tmp_path, "vae", "nf", number, config=config, image__rmse=alpha / 1000)
    assert main([str(tmp_path)]) == 0
    assert "no claims: " in capsys.readouterr().out
    assert (tmp_path / "curve_image_rmse.png").is_file()
    assert not (tmp_path / "claims.json").exists()


def test_where_nothing_has_finished_there_is_a_page_of_failures(tmp_path, capsys):
    make_cell(tmp_path, "vae", "nf", 0, state="failed")
    assert main([str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "1 cell: 1 failed" in shown
    assert "no tables: no finished cell" in shown
    assert "failed  vae-to-nf_0  ValueError: broken" in shown
    assert "ValueError: broken" in (tmp_path / "report.html").read_text()


def test_claims_are_asked_again_of_all_that_they_were_asked_of(tmp_path):
    first, second = sweep(tmp_path / "a"), sweep(tmp_path / "b", data="celeba")
    claims.answer([first, second])
    main([str(first)])
    answers = json.loads((first / "claims.json").read_text())["claims"]
    folders = {answer["folder"] for claim in answers for answer in claim["answers"]}
    assert {str(first), str(second)} <= folders


def test_the_page_is_opened_on_demand(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    main([str(sweep(tmp_path))])
    assert opened == []
    main(["--open", str(tmp_path)])
    assert opened == [(tmp_path / "report.html").as_uri()]


def run(code):
    root = Path(__file__).parents[2]
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
        "light = {'pandas', 'matplotlib', 'PIL'} & set(sys.modules)\n"
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
