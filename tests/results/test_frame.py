"""Raw values as Parquet."""

import json
import math

import pandas as pd
import pytest

from stitching.report import main, read_grid
from stitching.results import reading
from stitching.results.raw import Raw
from tests.records.test_plan import plan
from tests.report.made import cells_of, make_cell, make_sweep


@pytest.fixture
def mixed(tmp_path):
    """Cells with all that JSON has, keys that some lack, and an option that one sets."""
    make_cell(tmp_path, "a", "b", 0, zz='say "x, y"', rank=3, latent__r2=0.1 + 0.2,
              encoder__steps=5)  # fmt: skip
    make_cell(tmp_path, "c", "b", 1, alpha=None, on=True, image__fid=math.nan, latent__r2=-1e-17,
              config={"encoder": {"steps": 3}})  # fmt: skip
    make_cell(tmp_path, "d", "b", 2, alpha=5e300, image__fid=math.inf, latent__r2=1.0)
    make_cell(tmp_path, "e", "b", 3, alpha=1e-7, image__fid=3.0, rank=4, zz="", latent__r2=2)
    return tmp_path


def test_a_table_and_its_constants_have_all_values_of_all_cells(mixed):
    grid = read_grid(mixed)
    main([str(mixed)])
    found = cells_of(mixed)
    assert {*found} - {*grid.frame} == {"image/fid/state"}
    for key in grid.frame:
        numbers = pd.to_numeric(grid.frame[key], errors="coerce")
        if numbers.notna().any():
            known = pd.to_numeric(found[key], errors="coerce").astype(float)
            assert known.equals(numbers.astype(float)), key
        else:
            assert found[key].fillna("").tolist() == grid.frame[key].fillna("").tolist()


def test_what_all_cells_share_is_no_column_unless_it_is_a_result(tmp_path):
    make_sweep(tmp_path, latent__r2=0.5, probe__kappa__Male=0.25, device="cpu", alpha=None)
    plan(tmp_path, [], finished="now", started="", command=[], files={})
    main([str(tmp_path)])
    frame = pd.read_parquet(tmp_path / "grid.parquet")
    assert [*frame] == ["encoder", "decoder", "latent/r2", "image/rmse", "map", "folder",
                        "probe/kappa/Male", "time/total_s"]  # fmt: skip
    constants = {"data": "faces", "alpha": None, "n_train": 100, "n_test": 20, "seed": 0,
                 "sweep": "s1", "device": "cpu"}  # fmt: skip
    assert frame.attrs == constants
    assert json.loads((tmp_path / "sweep.json").read_text())["constants"] == constants


@pytest.mark.parametrize("facts", [{"finished": None, "files": {}}, {"finished": "now"}])
def test_the_record_of_a_sweep_that_runs_or_is_of_an_earlier_version_stays(tmp_path, facts):
    make_sweep(tmp_path)
    plan(tmp_path, [], started="", command=[], **facts)
    before = (tmp_path / "sweep.json").read_bytes()
    main([str(tmp_path)])
    assert (tmp_path / "sweep.json").read_bytes() == before


def test_columns_have_slashes_between_levels(tmp_path):
    values = {"latent/r2": 0.5, "latent/r2.low": 0.4, "geometry/cka.null_high": 0.1,
              "probe/kappa.low": 0.6, "probe/kappa/low": 0.7, "encoder/prior.rank": 8}  # fmt: skip
    make_cell(tmp_path, "a", "b", **values)
    frame = read_grid(tmp_path).frame
    assert {"latent/r2/low", "geometry/cka/null_high", "encoder/prior/rank"} <= {*frame}
    # The second is of a label called "low".
    assert (frame["probe/kappa.low"][0], frame["probe/kappa/low"][0]) == (0.6, 0.7)


def test_cells_read_by_several_processes_are_the_same(mixed, monkeypatch):
    before = read_grid(mixed)
    monkeypatch.setattr(reading, "_MANY", 2)
    monkeypatch.setattr(reading, "_CHUNK", 3)
    after = read_grid(mixed)
    pd.testing.assert_frame_equal(after.frame, before.frame)
    assert Raw(after).parquet() == Raw(before).parquet()
    assert [dict(x.values) for x in after.done[:1]] == [dict(x.values) for x in before.done[:1]]


def test_numbers_are_numbers_in_parquet(mixed):
    main([str(mixed)])
    table = pd.read_parquet(mixed / "grid.parquet", dtype_backend="numpy_nullable")
    kinds = {key: str(table[key].dtype) for key in ("latent/r2", "alpha", "rank", "encoder", "on")}
    assert kinds == {
        "latent/r2": "Float64", "alpha": "Float64", "rank": "Float64", "encoder": "string",
        "on": "boolean",
    }  # fmt: skip
    assert table["latent/r2"].tolist() == [0.1 + 0.2, -1e-17, 1.0, 2.0]


def test_an_invalid_number_is_told_from_a_missing_one_in_parquet(mixed):
    main([str(mixed)])
    table = pd.read_parquet(mixed / "grid.parquet")
    assert table["image/fid"].isna().tolist() == [True, True, True, False]
    states = table["image/fid/state"].tolist()
    assert states[1:3] == ["invalid", "invalid"]
    assert pd.isna(states[0])
    assert pd.isna(states[3])
    assert "latent/r2/state" not in table


def test_a_seed_has_the_rows_of_the_whole(tmp_path):
    for number, (encoder, seed) in enumerate([("a", 0), ("a", 1), ("b", 0), ("b", 1)]):
        make_cell(tmp_path, encoder, "d", number, seed=seed, latent__r2=number / 7)
    main([str(tmp_path)])
    whole = pd.read_parquet(tmp_path / "grid.parquet")
    for seed in (0, 1):
        found = pd.read_parquet(tmp_path / "report" / f"seed={seed}" / "grid.parquet")
        part = whole[whole["seed"] == seed].reset_index(drop=True)
        pd.testing.assert_frame_equal(found, part)
        assert found.attrs == whole.attrs
