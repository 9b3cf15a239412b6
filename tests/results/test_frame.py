"""Raw values as CSV and as Parquet."""

import math
import re

import pandas as pd
import pytest

from stitching.report import main, read_grid
from stitching.results import raw, reading
from stitching.results.raw import Raw
from tests.report.made import make_cell, rows_of


def csv_of(grid):
    return b"".join(Raw(grid).csv()).decode()


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


@pytest.mark.parametrize("many", [False, True])
def test_the_csv_is_what_pandas_writes_of_the_table(mixed, monkeypatch, many):
    if many:
        monkeypatch.setattr(raw, "_MANY", 1)
    grid = read_grid(mixed)
    expected = grid.frame.to_csv(index=False, lineterminator="\n")
    if many:  # 1e-7 for 1e-07
        assert csv_of(grid) != expected
        expected = re.sub(r"(?<=\de-)0", "", expected)
    assert csv_of(grid) == expected


def test_cells_read_by_several_processes_are_the_same(mixed, monkeypatch):
    before = read_grid(mixed)
    monkeypatch.setattr(reading, "_MANY", 2)
    monkeypatch.setattr(reading, "_CHUNK", 3)
    after = read_grid(mixed)
    pd.testing.assert_frame_equal(after.frame, before.frame)
    assert csv_of(after) == csv_of(before)
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
    states = table["image/fid.state"].tolist()
    assert states[1:3] == ["invalid", "invalid"]
    assert pd.isna(states[0])
    assert pd.isna(states[3])
    assert "latent/r2.state" not in table


def test_a_seed_has_the_rows_of_the_whole(tmp_path):
    for number, (encoder, seed) in enumerate([("a", 0), ("a", 1), ("b", 0), ("b", 1)]):
        make_cell(tmp_path, encoder, "d", number, seed=seed, latent__r2=number / 7)
    main([str(tmp_path)])
    whole = pd.read_csv(tmp_path / "grid.csv")
    for seed in (0, 1):
        place = tmp_path / "report" / f"seed={seed}"
        part = whole[whole["seed"] == seed].reset_index(drop=True)
        pd.testing.assert_frame_equal(pd.read_csv(place / "grid.csv"), part)
        found = pd.read_parquet(place / "grid.parquet")
        pd.testing.assert_frame_equal(found, part, check_dtype=False)


def test_a_whole_number_stays_one_in_a_seed_without_gaps(tmp_path):
    make_cell(tmp_path, "a", "d", 0, seed=0, rank=3)
    make_cell(tmp_path, "b", "d", 1, seed=0, rank=4)
    make_cell(tmp_path, "a", "d", 2, seed=1, rank=5)
    make_cell(tmp_path, "b", "d", 3, seed=1)
    main([str(tmp_path)])
    ranks = [row["rank"] for row in rows_of(tmp_path / "report" / "seed=0" / "grid.csv")]
    assert ranks == ["3", "4"]
