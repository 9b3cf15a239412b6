import json

from stitching.report.limits import Limits
from stitching.report.page.claims import read_claims
from stitching.results.output import Output
from tests.report.page.made import cell, read

NUMBER = {"name": "median", "value": 0.12345, "low": 0.1, "high": 0.2}


def answered(root, **changes):
    answer = {
        "folder": "x", "data": "faces", "protocol": "strict", "seeds": {"seed": 1},
        "verdict": "supported", "reason": "above 0", "decisive": [NUMBER], "facts": [],
        "notes": ["a note"], "run": [],
    }  # fmt: skip
    claim = {"id": "C1", "text": "text", "rule": "rule", "answers": [answer | changes]}
    Output(root).write({"claims.json": json.dumps({"claims": [claim]}).encode()})
    found, problem = read_claims(root, Limits(numbers=2))
    assert problem == ""
    return found["claims"][0]["answers"][0]


def test_an_answer_says_where_and_has_numbers_as_texts(tmp_path):
    answer = answered(tmp_path)
    assert answer["where"] == "faces, strict, seed=1"
    assert answer["numbers"] == [["median", "0.123", "[0.100, 0.200]"]]


def test_an_undefined_number_says_so(tmp_path):
    none = {"name": "n", "value": None, "low": None, "high": None}
    assert answered(tmp_path, decisive=[none])["numbers"] == [["n", "undefined", ""]]


def test_numbers_beyond_the_cap_are_counted(tmp_path):
    answer = answered(tmp_path, decisive=[NUMBER] * 5)
    assert (len(answer["numbers"]), answer["more"]) == (2, 3)


def test_claims_that_were_not_asked_say_what_to_run(tmp_path):
    cell(tmp_path, "vae", "vae", 0)
    assert f"python -m stitching.claims {tmp_path}" in read(tmp_path).index["unasked"]


def test_damaged_claims_say_so_and_the_page_is_written(tmp_path):
    cell(tmp_path, "vae", "vae", 0)
    Output(tmp_path).write({"claims.json": b'{"claims": [{}]}'})
    assert "claims.json cannot be read" in read(tmp_path).index["unasked"]


def test_an_answer_says_on_which_images_and_which_models_were_changed(tmp_path):
    changed = ["nf: objective: own + 50 gain of the inverse", "vae: linear_channels"]
    answer = answered(tmp_path, images="drawn faces", changed=changed)
    assert answer["scope"] == "on drawn faces; changed for stitching: nf, vae"


def test_a_fragile_answer_has_the_verdicts_at_both_penalties(tmp_path):
    other = {"cells": "vae-to-nf at 1e3", "verdict": "not supported", "reason": "below 0"}
    answer = answered(tmp_path, verdict="fragile", other_penalties=[other])
    assert answer["notes"][0] == "not supported with vae-to-nf at 1e3: below 0"
    assert answered(tmp_path / "same", other_penalties=[other])["notes"] == ["a note"]


def test_the_meaning_of_a_verdict_is_there_where_the_verdict_is(tmp_path):
    verdicts = {"supported": "all inside", "fragile": "by penalty"}
    claim = {
        "id": "C1",
        "text": "t",
        "rule": "r",
        "answers": [{"verdict": "fragile", "reason": ""}],
    }
    text = json.dumps({"claims": [claim], "introduction": "First.", "verdicts": verdicts})
    Output(tmp_path).write({"claims.json": text})
    found, _ = read_claims(tmp_path, Limits())
    assert (found["introduction"], found["verdicts"]) == ("First.", {"fragile": "by penalty"})
