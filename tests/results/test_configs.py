"""Configurations of cells, read in pieces."""

import pytest
import yaml

from stitching.results.configs import merged, read_blocks

TEXT = """data:
  name: faces
  seed: 3
names:
- a
- b
text: "two
  lines"
block: |
  one

  # no comment
"quoted key": 1
empty: null
"""


@pytest.mark.parametrize(
    "text",
    [TEXT, TEXT.rstrip(), '{"seed": 0,\n "data": {"seed": 1}}', "a: &x 1\nb: *x\n", "", "a: 1"],
)
def test_pieces_together_are_the_whole(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    assert merged(read_blocks(tmp_path / "config.yaml")) == (yaml.safe_load(text) or {})


def test_there_is_a_piece_for_each_key(tmp_path):
    (tmp_path / "config.yaml").write_text("a: 1\nb:\n  c: 2\n")
    assert read_blocks(tmp_path / "config.yaml") == ("a: 1", "b:\n  c: 2")


def test_without_a_file_there_is_nothing(tmp_path):
    assert merged(read_blocks(tmp_path / "config.yaml")) == {}
