"""Tables for papers."""

import re

import pytest

from stitching.report import main, read_grid
from stitching.report.latex import escaped, latex, main_latex
from tests.report.made import drawn, make_cell, make_sweep, scores


def cells_of(line):
    return re.split(r"(?<!\\)&", line)


def test_every_table_has_as_many_entries_in_each_row_as_columns(tmp_path):
    make_sweep(tmp_path, ("a_1", "b&c"), ("d%", "e", "f#"), latent__r2=0.5)
    tables = latex(read_grid(tmp_path)).split(r"\begin{table}")[1:]
    assert len(tables) == 2
    for text in tables:
        body = text[text.index(r"\cmidrule") : text.index(r"\bottomrule")]
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len(rows) == 3
        assert {len(cells_of(row)) for row in rows} == {4}
        assert r"\begin{tabular}{lrrr}" in text


def test_braces_and_environments_are_balanced(tmp_path):
    make_sweep(tmp_path, ("a{", "b}"), ("c\\d", "[e]"), image__rmse=0.5)
    text = latex(read_grid(tmp_path))
    plain = re.sub(r"\\[{}]", "", text)
    assert plain.count("{") == plain.count("}")
    for kind in ("table", "tabular"):
        assert text.count(rf"\begin{{{kind}}}") == text.count(rf"\end{{{kind}}}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("a_b", r"a\_b"), ("50 %", r"50 \%"), ("R²", r"R\textsuperscript{2}")),
        *(("a\\b", r"a\textbackslash{}b"), ("[x]", "{[}x]"), ("é", "é")),
    ],
)
def test_a_name_is_printed_as_it_is(text, expected):
    assert escaped(text) == expected


def test_a_table_has_a_caption_with_direction_and_setting_and_a_label(tmp_path):
    make_cell(tmp_path, "a", "b", latent__r2=0.5)
    text = latex(read_grid(tmp_path), "seed=1")
    (caption,) = re.findall(r"\\caption\{Latent R(.*)\}", text)
    assert "Higher is better. Data faces, map ridge, 100 images to fit, 20 to test" in caption
    assert caption.endswith("Seed=1.")
    assert r"\label{tab:latent-r2-seed-1}" in text


def test_the_main_table_has_the_main_measures_one_below_the_other(tmp_path):
    make_sweep(tmp_path, ("vae", "random"), ("d", "e"), latent__r2=0.5, probe__auc_mapped=0.75)
    text = main_latex(read_grid(tmp_path))
    assert text.count(r"\begin{table}") == 1
    assert r"\caption{Encoders are rows, decoders columns. Data faces" in text
    places = [text.index(x) for x in (r"\textbf{Pixel RMSE (0-1 scale)}, lower is better", "vae &",
                                      r"\textbf{Latent R")]  # fmt: skip
    assert places == sorted(places)
    assert "AUC" not in text
    assert text.count(r"\emph{controls}") == 2
    body = text[text.index(r"\cmidrule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r"\\") and "multicol" not in line]
    assert {len(cells_of(row)) for row in rows} == {3}


def test_intervals_stand_below_and_the_best_is_bold(tmp_path):
    for number, (encoder, level) in enumerate((("a", 0.1), ("b", 0.3))):
        draws = {"image/rmse": drawn(scores(level, own=0.02, seed=number + 1))}
        make_cell(tmp_path, encoder, "d", number, draws=draws)
    lines = [line.strip() for line in latex(read_grid(tmp_path)).splitlines()]
    place = lines.index(r"a & \textbf{0.100} \\")
    assert re.fullmatch(r"& \{\\scriptsize \[0\.\d+, 0\.\d+\]\} \\\\", lines[place + 1])
    assert lines[place + 2] == r"b & 0.300 \\"
    assert any("bold: best of its column" in line for line in lines)


def test_numbers_below_zero_have_a_minus_and_words_stay(tmp_path):
    ends = {"latent__r2.low": -0.75, "latent__r2.high": 0.25}
    make_cell(tmp_path, "a", "b", 0, latent__r2=-0.5, **ends)
    make_cell(tmp_path, "c", "b", 1, latent__r2=float("nan"))
    make_cell(tmp_path, "e", "b", 2, state="failed")
    text = main_latex(read_grid(tmp_path))
    assert r"a & $-$0.500 {\scriptsize [$-$0.750, 0.250]} \\" in text
    assert r"c & invalid \\" in text
    assert r"e & failed \\" in text
    assert "% e-to-b_2 failed: ValueError: broken" in text


def test_each_seed_has_its_own_labels(tmp_path):
    for seed in (0, 1):
        make_cell(tmp_path, "a", "b", seed, seed=seed)
    main([str(tmp_path)])
    for seed in (0, 1):
        text = (tmp_path / "report" / f"seed={seed}" / "table.tex").read_text()
        assert rf"\label{{tab:stitching-seed-{seed}}}" in text
