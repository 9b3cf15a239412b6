"""Protocols side by side: the files, and what each switch moves."""

import pytest

from stitching.report import grid_report, main, read_grid, report_sweeps
from stitching.results.grid import grid_of
from stitching.results.output import CLAIMS, PAGE, RECORD
from stitching.results.protocols import Comparison
from stitching.results.variants import Variant, split
from tests.report.made import (
    TABLES,
    cells_of,
    drawn,
    make_cell,
    make_pictures,
    rows_of,
    scores,
)  # fmt: skip

SWITCH = "strict, probe=lasso"
LEVELS = {("a", "a"): 0.1, ("a", "b"): 0.3, ("b", "a"): 0.5, ("random", "b"): 0.9}
MEASURES = {"protocol__measures": "image/lpips,latent/mse"}


@pytest.fixture(autouse=True)
def plain_heatmaps(monkeypatch):
    """Heatmaps take most of a report's time, and have tests of their own."""
    monkeypatch.setattr(grid_report, "heatmap", lambda *values, **options: b"a heatmap")


def make_protocol(root, protocol, shift=0.0, start=0, levels=LEVELS, **facts):
    """A small grid under a protocol that moves LPIPS by some amount off the diagonal."""
    for number, ((encoder, decoder), level) in enumerate(levels.items(), start):
        moved = level + (shift if encoder != decoder else 0)
        draws = {"image/lpips": drawn(scores(moved, shared=0.2))}
        found = {"protocol": protocol} | MEASURES | facts
        folder = make_cell(root, encoder, decoder, number, draws=draws, **found)
        make_pictures(folder, (number, 0, 0))
    return root


def compare(*roots):
    cells = [cell for root in roots for cell in read_grid(root).read]
    parts, _ = split(cells)
    return Comparison({key: grid_of(roots[0], part) for key, part in parts.items()})


def effect(compared, encoders="trained models", protocol=SWITCH, key="image/lpips"):
    (found,) = [
        x
        for x in compared.effects()
        if (x.encoders, x.protocol, x.measure.key) == (encoders, protocol, key)
    ]
    return found


def two(root, shift=0.02, **facts):
    make_protocol(root, "strict")
    return make_protocol(root, SWITCH, shift, 10, **facts)


# ---- what a switch moves


def test_a_switch_moves_the_mean_of_the_cells_of_two_models(tmp_path):
    found = effect(compare(two(tmp_path)))
    assert found.n_cells == 2
    assert found.reference.value == pytest.approx(0.4)
    assert found.difference.value == pytest.approx(0.02)
    assert found.difference.paired
    assert found.difference.resolved  # although items differ by 0.2


def test_baselines_have_a_mean_of_their_own(tmp_path):
    found = effect(compare(two(tmp_path)), "baselines")
    assert (found.n_cells, found.difference.value) == (1, pytest.approx(0.02))


def test_other_test_items_are_independent(tmp_path):
    found = effect(compare(two(tmp_path, data__test_ids="others")))
    assert not found.difference.paired
    assert not found.difference.resolved


def test_a_cell_that_one_protocol_lacks_is_in_no_mean(tmp_path):
    make_protocol(tmp_path, "strict")
    make_protocol(tmp_path, SWITCH, 0.02, 10, {("a", "a"): 0.1, ("a", "b"): 0.3})
    found = effect(compare(tmp_path))
    assert (found.n_cells, found.reference.value) == (1, pytest.approx(0.3))


def test_a_measure_in_the_decoders_units_has_no_mean(tmp_path):
    compared = compare(two(tmp_path, latent__mse=3.0))
    assert {x.measure.key for x in compared.effects()} == {"image/lpips"}


def test_protocols_are_compared_seed_by_seed(tmp_path):
    number = 0
    for seed, level in ((0, 0.3), (1, 0.7)):
        for protocol, shift in (("strict", 0), (SWITCH, 0.02)):
            levels = {("a", "b"): level}
            make_protocol(tmp_path, protocol, shift, number, levels, seed=seed)
            number += 1
    found = effect(compare(tmp_path))
    assert found.n_cells == 2
    assert found.difference.value == pytest.approx(0.02)
    assert found.difference.high - found.difference.low < 1e-6


def test_the_reference_is_strict_wherever_it_stands(tmp_path):
    make_protocol(tmp_path, "paper")
    make_protocol(tmp_path, "strict", start=10)
    assert compare(tmp_path).protocols == ["strict", "paper"]


def test_different_data_sets_are_not_compared(tmp_path):
    make_protocol(tmp_path, "strict")
    make_protocol(tmp_path, "paper", start=10, data="celeba")
    with pytest.raises(ValueError, match="different data sets cannot be compared: celeba, faces"):
        report_sweeps([tmp_path])


# ---- files


def test_each_protocol_has_its_own_files(tmp_path, capsys):
    two(tmp_path)
    assert main([str(tmp_path)]) == 0
    for name in ("strict", "strict_probe=lasso"):
        written = {path.name for path in (tmp_path / "report" / name).iterdir()}
        assert written == TABLES | {"figures", "pictures.png", "heatmap_image_lpips.png",
                           "heatmap_image_rmse.png"}  # fmt: skip
        assert len(cells_of(tmp_path / "report" / name)) == 4
    top = {path.name for path in tmp_path.iterdir() if path.is_file()}
    tables = {"summary.csv", "grid.parquet", "protocols.md", "protocols.csv"}
    assert top == tables | {RECORD, PAGE, *CLAIMS}
    assert len(cells_of(tmp_path)) == 8
    labels = [row["protocol"] for row in rows_of(tmp_path / "summary.csv")]
    assert labels == ["strict"] * 6 + ["strict, probe=lasso"] * 6
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) <= 20
    words = " ".join(shown.split())
    assert "image/lpips trained models 0.400 +0.0200*" in words


def test_a_second_report_writes_the_same_bytes(tmp_path):
    two(tmp_path)
    contents = []
    for _ in range(2):
        main([str(tmp_path)])
        contents.append({p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()})
    assert contents[0] == contents[1]


def test_files_of_protocols_that_are_gone_are_removed(tmp_path):
    make_protocol(tmp_path, "strict")
    main([str(tmp_path)])
    assert (tmp_path / "table.md").exists()
    make_protocol(tmp_path, SWITCH, start=10)
    main([str(tmp_path)])
    assert not (tmp_path / "table.md").exists()
    for folder in tmp_path.glob("*_1?"):
        (folder / "metrics.json").unlink()
        (folder / "status.json").unlink()
    main([str(tmp_path)])
    assert not (tmp_path / "report").exists()
    assert not (tmp_path / "protocols.md").exists()
    assert (tmp_path / "table.md").exists()


def test_one_folder_per_protocol_is_compared_in_the_first(tmp_path):
    strict = make_protocol(tmp_path / "one", "strict")
    paper = make_protocol(tmp_path / "two", "paper", 0.02)
    main([str(strict), str(paper)])
    assert (strict / "table.md").exists()
    assert (paper / "table.md").exists()
    assert (strict / "protocols.md").exists()
    assert not (paper / "protocols.md").exists()
    assert effect(compare(strict, paper), protocol="paper").difference.paired


def test_cells_of_one_protocol_in_two_folders_must_agree(tmp_path):
    for name in ("one", "two"):
        make_protocol(tmp_path / name, "strict", shift=0.1 * (name == "two"))
        make_protocol(tmp_path / name, "paper", start=10)
    with pytest.raises(ValueError, match="2 cells for random to b differ in image/lpips"):
        main([str(tmp_path / "one"), str(tmp_path / "two")])


def test_cells_that_differ_within_a_protocol_are_an_error(tmp_path):
    two(tmp_path)
    make_cell(tmp_path, "a", "b", 30, protocol="strict", image__lpips=0.7)
    with pytest.raises(ValueError, match="2 cells for a to b differ in"):
        report_sweeps([tmp_path])


def test_two_folders_of_one_protocol_and_other_models_make_two_reports(tmp_path):
    first = make_protocol(tmp_path / "one", "strict", levels={("a", "b"): 0.1})
    other = make_protocol(tmp_path / "two", "strict", levels={("c", "b"): 0.1})
    main([str(first), str(other)])
    assert (first / "table.md").exists()
    assert (other / "table.md").exists()
    assert not (first / "protocols.md").exists()


def test_the_csv_has_every_cell_and_its_difference_unrounded(tmp_path):
    main([str(two(tmp_path))])
    rows = [r for r in rows_of(tmp_path / "protocols.csv") if r["measure"] == "image/lpips"]
    assert len(rows) == 8 + 2
    (row,) = [r for r in rows if (r["protocol"], r["encoder"], r["decoder"]) == (SWITCH, "a", "b")]
    assert float(row["value"]) == pytest.approx(0.32, rel=1e-12)
    assert float(row["difference"]) == pytest.approx(0.02)
    assert row["paired"] == "True"
    assert [r["difference"] for r in rows if r["protocol"] == "strict"] == [""] * 4
    assert [r["encoder"] for r in rows[-2:]] == ["mean of trained models", "mean of baselines"]


# ---- the table of protocols


def table_row(root, measure, *start):
    """The texts of a row in a section of protocols.md."""
    section = (root / "protocols.md").read_text().split(f"`{measure}`")[1]
    (line,) = [x for x in section.splitlines() if x.startswith(f"| {' | '.join(start)} |")][:1]
    return [text.strip() for text in line.strip("|").split("|")][len(start) :]


def test_every_cell_is_shown_under_every_protocol_with_its_interval(tmp_path):
    main([str(two(tmp_path))])
    strict, lasso = table_row(tmp_path, "image/lpips", "a", "b")
    assert strict.startswith("0.300 [0.2")
    assert lasso.startswith("0.320 [0.2")


@pytest.mark.parametrize(
    ("value", "word"), [(None, "missing"), (float("nan"), "invalid"), ("no", "invalid")]
)
def test_a_cell_without_a_number_says_so(tmp_path, value, word):
    two(tmp_path)
    make_cell(tmp_path, "b", "b", 20, protocol=SWITCH, image__lpips=value, **MEASURES)
    main([str(tmp_path)])
    assert table_row(tmp_path, "image/lpips", "b", "b") == ["missing", word]
    rows = [r for r in rows_of(tmp_path / "protocols.csv") if r["decoder"] == r["encoder"] == "b"]
    assert {r["value"] for r in rows} == {word, "missing"}


def test_a_failed_cell_says_so(tmp_path):
    for number, name in enumerate(("strict", SWITCH)):
        config = {"protocol": {"name": name}}
        make_protocol(tmp_path, name, start=10 * number, config=config)
        make_cell(tmp_path, "b", "b", 20 + number, state="failed", config=config)
    main([str(tmp_path)])
    assert table_row(tmp_path, "image/lpips", "b", "b") == ["failed", "failed"]


def test_an_independent_difference_is_marked(tmp_path):
    main([str(two(tmp_path, data__test_ids="others"))])
    text = (tmp_path / "protocols.md").read_text()
    assert "| image/lpips | trained models | 2 | 0.400 | +0.0200 [" in text
    assert "] (i) |" in text


def test_a_resolved_difference_is_bold(tmp_path):
    main([str(two(tmp_path))])
    text = (tmp_path / "protocols.md").read_text()
    assert "| 0.400 | **+0.0200 [0.0200, 0.0200]** |" in text


def test_seeds_are_a_mean_with_their_range(tmp_path):
    for number, level in enumerate((0.2, 0.3, 0.7)):
        make_protocol(tmp_path, "strict", start=number, levels={("a", "b"): level}, seed=number)
    main([str(tmp_path)])
    assert table_row(tmp_path, "image/lpips", "a", "b") == ["0.400 [0.200, 0.700]"]
    assert "brackets hold the lowest and the highest" in (tmp_path / "protocols.md").read_text()
    folders = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert folders == ["strict_seed=0", "strict_seed=1", "strict_seed=2"]


def test_a_seed_that_failed_is_counted(tmp_path):
    for number in range(2):
        config = {"seed": number, "protocol": {"name": "strict"}}
        levels = {("a", "b"): 0.2, ("b", "a"): 0.4}
        make_protocol(tmp_path, "strict", 0, 10 * number, levels, seed=number, config=config)
    config = {"seed": 2, "protocol": {"name": "strict"}}
    make_protocol(tmp_path, "strict", 0, 30, {("b", "a"): 0.4}, seed=2, config=config)
    make_cell(tmp_path, "a", "b", 40, state="failed", config=config)
    main([str(tmp_path)])
    assert table_row(tmp_path, "image/lpips", "a", "b") == ["0.200 [0.200, 0.200] (2 of 3 seeds)"]


def test_a_swept_number_under_several_protocols_gives_curves_and_no_comparison(tmp_path, capsys):
    number = 0
    for protocol in ("strict", "paper"):
        for n in (100, 200):
            config = {"data": {"n_train": n}, "protocol": {"name": protocol}}
            make_cell(tmp_path, "a", "b", number, protocol=protocol, n_train=n, config=config)
            number += 1
    main([str(tmp_path)])
    assert (tmp_path / "report" / "paper" / "curve_image_rmse.png").exists()
    assert not (tmp_path / "protocols.md").exists()
    assert "over data.n_train" in capsys.readouterr().out


def test_cells_without_a_protocol_are_compared_as_unnamed(tmp_path):
    make_protocol(tmp_path, "strict")
    for number, (encoder, decoder) in enumerate(LEVELS, 10):
        make_cell(tmp_path, encoder, decoder, number, image__lpips=0.2)
    main([str(tmp_path)])
    assert table_row(tmp_path, "image/lpips", "a", "b")[1] == "0.200"
    assert (tmp_path / "report" / "unnamed" / "table.md").exists()
    assert Variant("") in compare(tmp_path).grids


# ---- maps side by side


def test_a_sweep_over_maps_has_tables_and_differences_of_each_pair(tmp_path, capsys):
    levels = {("a", "a"): 0.1, ("a", "b"): 0.3, ("b", "a"): 0.5}
    for start, kind, shift in ((0, "ridge", 0.0), (10, "mlp", -0.05)):
        for number, ((encoder, decoder), level) in enumerate(levels.items(), start):
            between = encoder != decoder
            draws = {"image/lpips": drawn(scores(level + shift * between, shared=0.2))}
            facts = {"map": kind if between else "identity", "protocol": "strict"} | MEASURES
            target = {"ridge": "stitching.maps.Ridge", "mlp": "stitching.maps.MLP"}[kind]
            config = {"map": {"_target_": target}}
            folder = make_cell(
                tmp_path, encoder, decoder, number, draws=draws, config=config, **facts
            )
            make_pictures(folder, (number, 0, 0))
    report_sweeps([tmp_path])
    text = (tmp_path / "protocols.md").read_text()
    assert text.startswith("# Maps side by side\n")
    table = text[text.index("`image/lpips`: lower") :].splitlines()
    head = next(line for line in table if line.startswith("| encoder"))
    assert head == "| encoder | decoder | map=ridge | map=mlp | map=mlp: difference |"
    (row,) = [line for line in table if line.startswith("| a | b |")]
    assert row.split(" | ")[-1].startswith("**-0.0500")
    (own,) = [line for line in table if line.startswith("| a | a |")]
    assert own.endswith("|  |")  # no map, no difference
    for kind in ("strict", "strict_map=mlp"):
        assert (tmp_path / "report" / kind / "table.md").is_file()
    assert "differences to map=ridge" in capsys.readouterr().out
