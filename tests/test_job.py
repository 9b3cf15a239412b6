from stitching import job
from tests.test_report import make_cell


def test_a_sweep_over_another_setting_keeps_its_csv_and_says_why_there_is_no_table(
    tmp_path, monkeypatch, capsys
):
    for number, rmse in enumerate((0.1, 0.2)):
        make_cell(tmp_path, "vae", "nf", number, image__rmse=rmse, seed=number)
    monkeypatch.setattr(job, "_sweep_folder", tmp_path)
    job.report_sweep()
    assert "differ in image/rmse, seed" in capsys.readouterr().err
    assert len((tmp_path / "grid.csv").read_text().splitlines()) == 3


def test_without_a_sweep_there_is_no_report(monkeypatch, capsys):
    monkeypatch.setattr(job, "_sweep_folder", None)
    job.report_sweep()
    assert capsys.readouterr().out == ""
