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
    ((claim,), problem) = read_claims(root, Limits(numbers=2))
    assert problem == ""
    return claim["answers"][0]


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
