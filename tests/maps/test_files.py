"""Maps saved to files and read again."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from stitching.maps import OLS, Factorisation, Identity, ReducedRank, Ridge, factorise, load_map
from tests.maps.helpers import EVERY_MAP, SHAPES, fit_quietly, make, paired, relative

every_kind = pytest.mark.parametrize("kind", EVERY_MAP)
every_width = pytest.mark.parametrize("width", SHAPES)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def saved(kind, width, path, dtype=torch.float32):
    """A fitted map, the same map read from a file, and latents."""
    source, target = (x.to(dtype) for x in paired(30, width, width))
    fitted = fit_quietly(make(kind, width), source, target)
    fitted.save(path)
    return fitted, load_map(path), source


@every_kind
@every_width
@DTYPES
def test_a_saved_map_predicts_the_same_to_the_bit(kind, width, dtype, tmp_path):
    fitted, loaded, source = saved(kind, width, tmp_path / "map", dtype)
    assert torch.equal(loaded.predict(source), fitted.predict(source))
    assert torch.equal(loaded.predict(source[:3] * 2), fitted.predict(source[:3] * 2))


@every_kind
@every_width
def test_a_saved_map_keeps_its_kind_settings_and_facts(kind, width, tmp_path):
    fitted, loaded, _ = saved(kind, width, tmp_path / "map")
    assert type(loaded) is type(fitted)
    assert loaded.summary() == fitted.summary()
    settings = [{k: v for k, v in vars(m).items() if k[0] != "_"} for m in (loaded, fitted)]
    assert settings[0] == settings[1]


@every_kind
def test_a_loaded_map_can_be_saved_and_fitted_again(kind, tmp_path):
    fitted, loaded, source = saved(kind, 8, tmp_path / "map")
    loaded.save(tmp_path / "again")
    assert torch.equal(load_map(tmp_path / "again").predict(source), loaded.predict(source))
    target = paired(30, 8, 8)[1].float()
    assert fit_quietly(loaded, source, target).summary() == fitted.summary()


@every_kind
def test_saving_writes_one_file_in_a_folder_that_it_makes(kind, tmp_path):
    saved(kind, 8, tmp_path / "maps" / "map.safetensors")
    assert [path.name for path in (tmp_path / "maps").iterdir()] == ["map.safetensors"]


def test_a_saved_map_replaces_the_file_that_was_there(tmp_path):
    saved("ridge", 8, tmp_path / "map")
    saved("ols", 8, tmp_path / "map")
    assert load_map(tmp_path / "map").name == "ols"


def test_a_map_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    fitted = Ridge(alpha=1.0).fit(*paired(30, 4))
    (tmp_path / "map").mkdir()
    with pytest.raises(OSError, match="map"):
        fitted.save(tmp_path / "map")
    assert [path.name for path in tmp_path.iterdir()] == ["map"]


def test_an_unfitted_map_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="not fitted: call fit first"):
        Ridge().save(tmp_path / "map")
    assert not (tmp_path / "map").exists()


def test_facts_can_be_read_without_the_tensors(tmp_path):
    fitted, _, _ = saved("ridge, chosen", 8, tmp_path / "map")
    with safe_open(tmp_path / "map", "pt") as file:
        card = json.loads(file.metadata()["stitching.map"])
    assert card["facts"] == fitted.summary()
    assert card["settings"]["selection"] == "gcv"


@every_width
@DTYPES
def test_a_saved_weight_is_the_same_to_the_bit(width, dtype, tmp_path):
    fitted, loaded, _ = saved("ridge", width, tmp_path / "map", dtype)
    assert torch.equal(loaded.weight, fitted.weight)


@pytest.mark.parametrize("per_target", [False, True])
def test_a_saved_ridge_keeps_its_curve(per_target, tmp_path):
    ours = Ridge(alphas=[0.1, 1, 10, 100], alpha_per_target=per_target)
    fitted = fit_quietly(ours, *paired(30, 4))
    fitted.save(tmp_path / "map")
    loaded = Ridge.load(tmp_path / "map")
    assert torch.equal(loaded.scores_, fitted.scores_)
    assert torch.equal(loaded.alphas_, fitted.alphas_)
    assert loaded.penalty_curve() == fitted.penalty_curve()
    assert loaded.alphas == [0.1, 1, 10, 100]


@pytest.mark.parametrize("width", [7, 50])
def test_a_saved_reduced_rank_map_keeps_all_its_ranks(width, tmp_path):
    source, target = paired(30, width)
    fitted = ReducedRank(None, alpha=0.5).fit(source, target)
    fitted.save(tmp_path / "map")
    loaded = ReducedRank.load(tmp_path / "map")
    assert relative(loaded.predict(source, rank=2), fitted.predict(source, rank=2)) < 1e-12
    expected = fitted.errors_by_rank(source, target)
    assert relative(loaded.errors_by_rank(source, target), expected) < 1e-12


@pytest.mark.parametrize("width", [7, 50])
def test_a_loaded_ridge_can_be_sorted_by_rank(width, tmp_path):
    source, target = paired(30, width)
    fitted = Ridge(alpha=0.5).fit(source, target)
    fitted.save(tmp_path / "map")
    found = ReducedRank.of(Ridge.load(tmp_path / "map")).predict(source, rank=2)
    assert relative(found, ReducedRank.of(fitted).predict(source, rank=2)) < 1e-12


@pytest.mark.parametrize("width", [7, 50])
def test_a_factorisation_from_a_file_gives_the_same_map_to_the_bit(width, tmp_path):
    source, target = paired(30, width)
    fresh = factorise(source)
    save_file({k: v.contiguous() for k, v in fresh.to_tensors().items()}, tmp_path / "file")
    stored = Factorisation.from_tensors(load_file(tmp_path / "file"))
    expected = Ridge(alpha=0.5).fit(source, target, fresh).predict(source)
    assert torch.equal(Ridge(alpha=0.5).fit(source, target, stored).predict(source), expected)


def test_a_saved_identity_keeps_its_dtype(tmp_path):
    source, target = paired(30, 4)
    Identity().fit(source, target).save(tmp_path / "map")
    assert Identity.load(tmp_path / "map").predict(source.float()).dtype == torch.float64


def test_loading_refuses_what_is_no_map(tmp_path):
    with pytest.raises(FileNotFoundError, match="no map file"):
        load_map(tmp_path / "absent")
    (tmp_path / "text").write_text("no map at all")
    with pytest.raises(ValueError, match="not a safetensors file"):
        load_map(tmp_path / "text")
    save_file({"x": torch.zeros(1)}, tmp_path / "tensors")
    with pytest.raises(ValueError, match="safetensors file but no map"):
        load_map(tmp_path / "tensors")


def test_loading_refuses_a_map_of_another_kind(tmp_path):
    OLS().fit(*paired(30, 4)).save(tmp_path / "map")
    with pytest.raises(ValueError, match="holds map=ols, which is no Ridge"):
        Ridge.load(tmp_path / "map")


def test_loading_refuses_a_map_without_a_class_in_this_version(tmp_path):
    card = json.dumps({"facts": {"map": "oracle"}, "settings": {}})
    save_file({"x": torch.zeros(1)}, tmp_path / "map", {"stitching.map": card})
    with pytest.raises(ValueError, match="holds map=oracle, but only"):
        load_map(tmp_path / "map")
