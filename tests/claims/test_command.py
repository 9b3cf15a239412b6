"""The command: which grids are asked, and what is written."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stitching.claims import CLAIMS, main, read_evidence
from stitching.results.commands import options_of
from tests.claims.grids import make_grid
from tests.report.made import drawn, make_cell


def read(root):
    def refuse(token):
        raise ValueError(f"{token} is no JSON")

    text = (root / "claims.json").read_text()
    claims = json.loads(text, parse_constant=refuse)["claims"]
    return {claim["id"]: claim["answers"] for claim in claims}


def test_every_claim_is_answered_or_says_what_to_run(tmp_path, capsys):
    assert main([str(make_grid(tmp_path, protocol="strict"))]) == 0
    found = read(tmp_path)
    assert list(found) == [f"C{number}" for number in range(1, 10)]
    assert found["C1"][0]["verdict"] == "supported"
    for name in ("C5", "C6", "C7", "C8", "C9"):
        (answer,) = found[name]
        assert answer["verdict"] == "not run"
        assert answer["reason"].startswith("needs ")
        assert answer["run"]
    out = capsys.readouterr().out
    assert "    faces, strict  supported  no worse than the maps from pixels, and R2 beyond" in out
    assert "    run: python launch.py experiment=grid-gan" in out
    assert f"  {tmp_path / 'claims.md'}" in out


def test_numbers_have_intervals_in_the_json(tmp_path):
    main([str(make_grid(tmp_path))])
    number = read(tmp_path)["C1"][0]["decisive"][0]
    assert number["low"] < number["value"] < number["high"]


def test_an_answer_says_on_which_images_and_what_was_changed(tmp_path):
    text = "own + 50 gain of the inverse"
    objective = {f"weights__{role}_objective": text for role in ("encoder", "decoder")}
    main([str(make_grid(tmp_path, models=("nf", "vae", "vqvae"), **objective))])
    (answer,) = read(tmp_path)["C1"]
    assert answer["images"] == "drawn faces, no photographs"
    assert answer["changed"][0] == "nf: objective: own + 50 gain of the inverse"
    text = (tmp_path / "claims.md").read_text()
    assert "- images: drawn faces, no photographs; 100 to fit the maps, 60 to test them" in text
    assert "changed in the models for the sake of stitching: nf: objective: own + 50" in text


def test_the_introduction_and_the_verdicts_have_their_meaning_in_both_files(tmp_path):
    main([str(make_grid(tmp_path))])
    found = json.loads((tmp_path / "claims.json").read_text())
    assert list(found) == ["claims", "introduction", "verdicts"]
    text = (tmp_path / "claims.md").read_text()
    assert found["introduction"] in text
    assert f"- *not run*: {found['verdicts']['not run']}" in text
    assert "- *fragile*" not in text


def test_what_is_undefined_is_null(tmp_path):
    zero = {"image/rmse": drawn(np.zeros(60)), "image/lpips": drawn(np.zeros(60))}
    main([str(make_grid(tmp_path, extra=lambda encoder, decoder: zero, gain=0.0, noise=0.0))])
    number = read(tmp_path)["C1"][0]["decisive"][-1]  # a share of an error of 0
    assert (number["value"], number["low"], number["high"]) == (None, None, None)
    assert "undefined" in (tmp_path / "claims.md").read_text()


def test_each_folder_and_protocol_is_asked_on_its_own(tmp_path):
    grid = make_grid(tmp_path / "grid", protocol="strict")
    make_grid(grid / "x", protocol="paper", gain=-0.3)
    for number, cell in enumerate(sorted((grid / "x").iterdir()), 100):
        cell.rename(grid / f"{cell.name.rpartition('_')[0]}_{number}")
    gan = make_grid(tmp_path / "gan", models=("vae", "nf", "gan"), data="drawn")
    main([str(grid), str(gan)])
    found = read(grid)
    asked = [(a["folder"], a["data"], a["protocol"], a["verdict"]) for a in found["C1"]]
    assert asked == [
        (str(grid), "faces", "strict", "supported"),
        (str(grid), "faces", "paper", "not supported"),
        (str(gan), "drawn", "", "supported"),
    ]
    assert [a["data"] for a in found["C7"]] == ["drawn"]
    text = (grid / "claims.md").read_text()
    assert "| claim | faces, strict | faces, paper | drawn, unnamed protocol |" in text
    assert not (gan / "claims.md").exists()


def test_folders_with_the_same_label_are_told_apart(tmp_path):
    roots = [make_grid(tmp_path / name) for name in ("one", "two")]
    main([str(root) for root in roots])
    text = (roots[0] / "claims.md").read_text()
    assert f"### faces, unnamed protocol ({roots[1]}): supported" in text


def test_seeds_are_asked_one_by_one(tmp_path):
    for seed in range(2):
        for cell in sorted(make_grid(tmp_path / "x", seed=seed).iterdir()):
            cell.rename(tmp_path / f"{cell.name}{seed}")
    main([str(tmp_path)])
    assert [answer["seeds"] for answer in read(tmp_path)["C1"]] == [{"seed": 0}, {"seed": 1}]


def test_cells_of_one_pair_that_differ_are_an_error(tmp_path):
    make_grid(tmp_path)
    make_cell(tmp_path, "vae", "nf", 99, image__rmse=0.5)
    with pytest.raises(ValueError, match="2 cells for vae to nf differ"):
        main([str(tmp_path)])


def test_the_command_line_names_data_and_protocol(tmp_path):
    config = {"data": {"name": "celeba", "root": "/data/celeba"}}
    make_cell(
        tmp_path, "vae", "nf", 0, config=config, data="celeba",
        protocol="strict, probe_ids=overlapping, probe=lasso",
    )  # fmt: skip
    (evidence,) = read_evidence([tmp_path])
    assert options_of(evidence.first) == [
        "data=celeba", "data.root=/data/celeba", "protocol=strict",
        "protocol.probe_ids=overlapping", "probe=lasso",
    ]  # fmt: skip


def test_a_second_run_writes_the_same_bytes(tmp_path):
    root = make_grid(tmp_path)
    contents = []
    for _ in range(2):
        main([str(root)])
        contents.append([(root / name).read_bytes() for name in ("claims.md", "claims.json")])
    assert contents[0] == contents[1]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_a_claim_has_text_rule_and_commands(claim):
    assert claim.text.endswith(".")
    assert claim.rule.endswith(".")
    for command in claim.commands(["data=faces"]):
        assert command.startswith(("python ", "for model in "))


def run(*code):
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-W", "error", *code],
        cwd=root, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_command_reports_an_error_in_one_line(tmp_path):
    done = run("-m", "stitching.claims", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: no cells in the folder")


def test_claims_need_no_torch(tmp_path):
    make_grid(tmp_path)
    code = (
        "import sys\nfrom stitching.claims import main\n"
        f"main([{str(tmp_path)!r}])\n"
        "print({'torch', 'matplotlib'} & set(sys.modules))"
    )
    done = run("-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("set()\n")
