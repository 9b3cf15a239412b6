"""Values of cells in little memory."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stitching.results.frame import Packer, decoded, frame_of

SCALARS = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text() | st.floats()


@given(st.dictionaries(st.text(), SCALARS))
def test_packed_values_are_those_of_the_file(found):
    packed = Packer().pack(decoded(json.dumps(found).encode()))
    assert list(packed) == list(found)
    for key, value in found.items():
        assert type(packed[key]) is type(value)
        both_nan = isinstance(value, float) and math.isnan(value) and math.isnan(packed[key])
        assert both_nan or packed[key] == value


def test_a_key_that_is_not_there_is_told():
    packed = Packer().pack({"a": 1.0, "b": "x"})
    assert ("a" in packed, "c" in packed, packed.get("c", 7), len(packed)) == (True, False, 7, 2)
    with pytest.raises(KeyError, match="c"):
        packed["c"]


def test_a_number_too_large_for_a_float_is_infinite_as_in_python():
    packed = Packer().pack(decoded(b'{"a": 1e999, "b": 0.25}'))
    assert (packed["a"], packed["b"]) == (math.inf, 0.25)


def test_what_is_no_json_is_an_error():
    with pytest.raises(ValueError, match="Expecting"):
        decoded(b'{"a": 1')


def test_cells_with_the_same_keys_share_them():
    packer = Packer()
    first, second = (packer.pack({"a": x, "b": "text"}) for x in (1.0, 2.0))
    assert first.layout is second.layout


def test_a_table_has_its_first_columns_and_then_the_others_by_name():
    frame = frame_of([{"z": 1, "b": 2.0}, {"a": "x", "b": math.inf}], ["z", "no"])
    assert list(frame) == ["z", "a", "b"]
    assert frame["b"].tolist() == [2.0, "invalid"]
