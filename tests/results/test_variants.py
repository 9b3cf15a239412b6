"""One grid per protocol and seed."""

import pytest

from stitching.report import read_grid
from stitching.results.variants import Variant, split
from tests.report.made import make_cell, make_sweep


def parts(root):
    found, rest = split(read_grid(root).read)
    return {v.label: [x.path.name for x in cells] for v, cells in found.items()}, rest


def test_cells_that_name_no_protocol_are_one_grid(tmp_path):
    make_sweep(tmp_path)
    assert list(parts(tmp_path)[0]) == ["unnamed"]


def test_cells_are_taken_apart_by_protocol(tmp_path):
    make_cell(tmp_path, "a", "b", 0, protocol="strict")
    make_cell(tmp_path, "a", "b", 1, protocol="strict, probe=lasso")
    make_cell(tmp_path, "b", "a", 2, protocol="strict")
    assert parts(tmp_path) == (
        {"strict": ["a-to-b_0", "b-to-a_2"], "strict, probe=lasso": ["a-to-b_1"]},
        [],
    )


def test_a_sweep_over_seeds_is_one_grid_per_seed(tmp_path):
    make_cell(tmp_path, "a", "b", 0, seed=0)
    make_cell(tmp_path, "a", "b", 1, seed=1)
    assert list(parts(tmp_path)[0]) == ["seed=0", "seed=1"]


def test_the_seed_of_the_data_is_one_too(tmp_path):
    for seed in (3, 4):
        make_cell(tmp_path, "a", "b", seed, config={"seed": 0, "data": {"seed": seed}})
    assert list(parts(tmp_path)[0]) == ["data.seed=3", "data.seed=4"]


def test_seeds_of_different_pairs_do_not_take_a_grid_apart(tmp_path):
    make_cell(tmp_path, "a", "b", 0, seed=0)
    make_cell(tmp_path, "b", "a", 1, seed=1)
    assert len(parts(tmp_path)[0]) == 1


def test_protocols_and_seeds_combine(tmp_path):
    number = 0
    for protocol in ("strict", "paper"):
        for seed in (0, 1):
            make_cell(tmp_path, "a", "b", number, protocol=protocol, seed=seed)
            number += 1
    assert list(parts(tmp_path)[0]) == [
        "strict, seed=0", "strict, seed=1", "paper, seed=0", "paper, seed=1",
    ]  # fmt: skip


def test_repeats_with_the_same_seeds_stay_together(tmp_path):
    make_cell(tmp_path, "a", "b", 0, config={"seed": 0, "data": {"n_train": 10}})
    make_cell(tmp_path, "a", "b", 1, config={"seed": 0, "data": {"n_train": 20}})
    assert len(parts(tmp_path)[0]) == 1


@pytest.mark.parametrize("seeds", [False, True])
def test_a_failed_cell_belongs_to_the_cells_with_its_configuration(tmp_path, seeds):
    number = 0
    for name in ("strict", "paper"):
        for seed in (0, 1) if seeds else (0,):
            config = {"seed": seed, "protocol": {"name": name}, "probe": {"kind": "logistic"}}
            for decoder, state in (("b", "done"), ("c", "failed")):
                made = {"state": state, "config": config, "protocol": name, "seed": seed}
                make_cell(tmp_path, "a", decoder, number, **made)
                number += 1
    found, rest = split(read_grid(tmp_path).read)
    assert rest == []
    assert all([x.state for x in cells] == ["done", "failed"] for cells in found.values())
    assert len(found) == (4 if seeds else 2)


def test_a_failed_cell_of_a_protocol_without_results_belongs_to_none(tmp_path):
    for number, name in enumerate(("strict", "paper", "other")):
        state = "failed" if name == "other" else "done"
        config = {"protocol": {"name": name}}
        make_cell(tmp_path, "a", "b", number, state=state, config=config, protocol=name)
    assert [cell.path.name for cell in parts(tmp_path)[1]] == ["a-to-b_2"]


def test_a_failed_cell_without_configuration_belongs_to_the_only_protocol(tmp_path):
    make_cell(tmp_path, "a", "b", 0, protocol="strict")
    make_cell(tmp_path, "c", "b", 1, state="failed")
    assert parts(tmp_path) == ({"strict": ["a-to-b_0", "c-to-b_1"]}, [])


@pytest.mark.parametrize(
    ("variant", "folder"),
    [
        (Variant("strict"), "strict"),
        (Variant("strict, probe_ids=overlapping"), "strict_probe_ids=overlapping"),
        (Variant("paper", (("data.seed", 1),)), "paper_data.seed=1"),
        (Variant(""), "unnamed"),
        (Variant("a/../b"), "a_.._b"),
    ],
)
def test_a_variant_names_a_folder(variant, folder):
    assert variant.folder == folder


def swept_maps(root):
    """A sweep over `map=ridge,mlp` of two models; own reconstructions are without a map."""
    number = 0
    for name, kind in (("Ridge", "ridge"), ("MLP", "mlp")):
        config = {"seed": 0, "map": {"_target_": f"stitching.maps.{name}", "seed": number}}
        for pair in (("a", "b"), ("b", "a"), ("a", "a")):
            found = kind if pair[0] != pair[1] else "identity"
            make_cell(root, *pair, number, protocol="strict", map=found, config=config)
            number += 1


def test_a_sweep_over_maps_is_one_grid_per_map(tmp_path):
    swept_maps(tmp_path)
    found, rest = parts(tmp_path)
    assert {label: sorted(names) for label, names in found.items()} == {
        "strict": ["a-to-a_2", "a-to-b_0", "b-to-a_1"],
        "strict, map=mlp": ["a-to-a_5", "a-to-b_3", "b-to-a_4"],
    }
    assert rest == []


def test_an_unfinished_cell_belongs_to_the_grid_of_its_map(tmp_path):
    swept_maps(tmp_path)
    config = {"seed": 0, "map": {"_target_": "stitching.maps.MLP", "seed": 3}}
    make_cell(tmp_path, "c", "b", 9, state="failed", config=config)
    found, rest = parts(tmp_path)
    assert "c-to-b_9" in found["strict, map=mlp"]
    assert rest == []


def test_maps_of_different_pairs_do_not_take_a_grid_apart(tmp_path):
    make_cell(tmp_path, "a", "b", 0, map="ridge")
    make_cell(tmp_path, "b", "a", 1, map="ols")
    assert len(parts(tmp_path)[0]) == 1
