import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stitching.report.page.packing import Chunks, as_script, href, rounded
from tests.report.page.made import NASTY


@given(st.floats(1e-15, 1e15), st.sampled_from([1, -1]))
def test_rounded_keeps_five_significant_digits(value, sign):
    (found,) = rounded([sign * value], 5)
    assert found == float(f"{found:.5g}")
    assert found == pytest.approx(sign * value, rel=5.001e-5)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_what_is_not_finite_is_none(value):
    assert rounded([value, 0.0], 5) == [None, 0]


def test_json_in_a_script_can_end_no_script_and_reads_the_same():
    text = as_script({"x": NASTY + "\u2028"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"x": NASTY + "\u2028"}


def test_a_chunk_that_finds_no_room_is_not_added():
    chunks = Chunks()
    assert chunks.add("a", list(range(100)), room=10) == 0
    assert chunks.texts == {}


def test_links_are_quoted(tmp_path):
    assert href(tmp_path / 'a "b' / "#c", tmp_path / "page.html") == "a%20%22b/%23c"
