"""All that is told of a sweep, from one command."""

import json
import webbrowser

import pytest

from stitching import claims
from stitching.report import command
from tests.report.made import drawn, make_cell, make_pictures, scores


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
    assert command.main([str(sweep(tmp_path))]) == 0
    for name in ("grid.csv", "grid.parquet", "table.md", "table.tex", "claims.json", "claims.md",
                 "report.html", "figures/figure1.svg", "figures/figure3.png"):  # fmt: skip
        assert (tmp_path / name).is_file(), name
    shown = capsys.readouterr().out
    assert "4 cells: 4 succeeded" in shown
    assert f"page: {tmp_path / 'report.html'}" in shown


def test_a_second_report_has_the_same_page(tmp_path):
    command.main([str(sweep(tmp_path))])
    before = (tmp_path / "report.html").read_bytes()
    command.main([str(tmp_path)])
    assert (tmp_path / "report.html").read_bytes() == before


def test_a_sweep_over_sizes_has_curves_and_a_page_and_no_claims(tmp_path, capsys):
    for number, n in enumerate((50, 100)):
        config = {"data": {"n_train": n}}
        make_cell(tmp_path, "vae", "nf", number, config=config, n_train=n, image__rmse=n / 1000)
    assert command.main([str(tmp_path)]) == 0
    assert "no claims: " in capsys.readouterr().out
    assert (tmp_path / "report.html").is_file()
    assert (tmp_path / "curve_image_rmse.png").is_file()
    assert not (tmp_path / "claims.json").exists()


def test_where_nothing_has_finished_there_is_a_page_of_failures(tmp_path, capsys):
    make_cell(tmp_path, "vae", "nf", 0, state="failed")
    assert command.main([str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "1 cell: 1 failed" in shown
    assert "no tables: " in shown
    assert "ValueError: broken" in (tmp_path / "report.html").read_text()


def test_what_is_no_sweep_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no cells in the folder"):
        command.main([str(tmp_path)])


def test_claims_are_asked_again_of_all_that_they_were_asked_of(tmp_path):
    first, second = sweep(tmp_path / "a"), sweep(tmp_path / "b", data="celeba")
    claims.answer([first, second])
    command.main([str(first)])
    answers = json.loads((first / "claims.json").read_text())["claims"]
    folders = {answer["folder"] for claim in answers for answer in claim["answers"]}
    assert {str(first), str(second)} <= folders


def test_the_page_is_opened_on_demand(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    command.main([str(sweep(tmp_path))])
    assert opened == []
    command.main(["--open", str(tmp_path)])
    assert opened == [(tmp_path / "report.html").as_uri()]
