"""docs/RESULTS.md: written from files of numbers, which come from sweeps."""

import importlib.util
import json
from pathlib import Path

import pytest

from tests.report.made import drawn, make_cell, scores, write

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("results", ROOT / "tests/benchmarks/results.py")
results = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(results)

ENCODERS, DECODERS = ("pixels", "vae", "vae-2", "nf"), ("vae", "vae-2", "nf")


def grid(root):
    for number, (e, d) in enumerate((e, d) for e in ENCODERS for d in DECODERS):
        place = ENCODERS.index(e)
        draws = {
            "latent/r2": drawn(scores(0.4 + place / 10, shared=0.1)),
            "latent/r2_beyond_pixels": drawn(scores(0.1 * (place - 2), own=0.01)),
        }
        config = {"data": {"n_train": 100, "image_size": 64}}
        make_cell(root, e, d, number, config=config, protocol="strict", draws=draws)
    plan = {"id": "s1", "started": "2026-11-29T15:00:00+00:00", "jobs": None}
    write(
        root, "sweep.json", plan | {"overrides": ["experiment=grid", "data.root=/home/me/faces"]}
    )
    return root


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    results.main(["extract", str(grid(folder / "sweep")), "--out", str(folder / "one/faces.json")])
    return folder / "one"


def test_the_published_page_is_what_its_numbers_give():
    assert results.OUT.read_text(encoding="utf-8") == results.write()


def test_a_file_of_numbers_has_values_and_no_folder_of_the_machine(place):
    text = (place / "faces.json").read_text()
    (part,) = json.loads(text)["parts"]
    assert part["measures"]["latent/r2"]["nf-to-vae"][0] == pytest.approx(0.7)
    assert part["controls"] == ["pixels"]
    assert part["command"] == "python launch.py experiment=grid data.root=DIR"
    assert "/home" not in text


def test_a_page_has_what_the_numbers_say(place):
    text = results.write(place)
    assert "2026-11-29: faces, 64 x 64, 100 images to fit, 60 to test, map ridge" in text
    # nf to both lies above 0 and vae to nf below it; vae to vae-2 is one model, trained twice.
    assert (
        "2 of 4 pairs explain a part of the target that no linear map from pixels does; 1 are"
        in text
    )
    assert "Two trainings of one model, vae to vae-2: R2 0.500 [" in text
    assert text.index("| *pixels* |") < text.index("| vae | 0.")


def test_verdicts_under_earlier_rules_stand_beside_those_of_today(place, tmp_path):
    record = json.loads((place / "faces.json").read_text())
    record["claims"]["C1"]["answers"] = [{"verdict": "as today", "reason": "a number"}]
    write(tmp_path, "faces.json", record | {"before": {"C1": ["as before"]}})
    text = results.write(tmp_path)
    assert "|  | claim | faces, earlier rules | faces |" in text
    assert "| as before | as today |" in text
    assert "- C1, as today: a number." in text


def test_a_sweep_over_sizes_has_limits(tmp_path):
    for number, n in enumerate((100, 200, 400, 800)):
        draws = {"latent/r2": drawn(scores(0.9 - 3 / n, shared=0.02))}
        config = {"data": {"n_train": n}}
        make_cell(tmp_path / "s", "vae", "nf", number, config=config, n_train=n, draws=draws)
    results.main(["extract", str(tmp_path / "s"), "--out", str(tmp_path / "r/curve.json")])
    row = "| nf | vae | 100 to 800 | 0.870 ["
    (line,) = [x for x in results.write(tmp_path / "r").splitlines() if x.startswith(row)]
    assert "| 0.900 [" in line
    assert "| 1.0" in line
