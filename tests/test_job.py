from stitching import job
from tests.report.made import make_cell


def test_a_sweep_over_another_setting_keeps_its_csv_and_says_why_there_is_no_table(
    tmp_path, monkeypatch, capsys
):
    for number, rmse in enumerate((0.1, 0.2)):
        make_cell(
            tmp_path, "vae", "nf", number, image__rmse=rmse, dtype=f"float{32 + 32 * number}"
        )
    monkeypatch.setattr(job, "_sweep_folder", tmp_path)
    job.report_sweep()
    assert "differ in image/rmse, dtype" in capsys.readouterr().err
    assert len((tmp_path / "grid.csv").read_text().splitlines()) == 3


def test_without_a_sweep_there_is_no_report(monkeypatch, capsys):
    monkeypatch.setattr(job, "_sweep_folder", None)
    job.report_sweep()
    assert capsys.readouterr().out == ""


def test_attributes_make_rows_with_their_intervals():
    metrics = {
        "probe/kappa": 0.5,
        "probe/kappa/Male": 0.7,
        "probe/kappa/Male.low": 0.6,
        "probe/kappa/Male.high": 0.8,
        "probe/n_positive/Male": 9,
        "probe/missing/Bald": "no such attribute",
        "image/rmse": 0.1,
    }
    assert job.attribute_rows(metrics) == [
        ["Male", "kappa", 0.7, 0.6, 0.8],
        ["Male", "n_positive", 9.0, None, None],
    ]
