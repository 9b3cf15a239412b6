"""Configurations of cells, read in pieces."""

import pytest
import yaml

from stitching.results.blocks import merged, read_blocks
from stitching.results.configs import Configs
from stitching.results.reading import read_cells
from tests.report.page.made import cell

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


# ---- the pool of blocks


def configs(root):
    cells, _ = read_cells(root)
    return Configs(cells), cells


def test_equal_sections_are_kept_once(tmp_path):
    cell(tmp_path, "vae", "nf", 0)
    cell(tmp_path, "nf", "nf", 1)
    found, _ = configs(tmp_path)
    assert len(found.texts) == 6  # data, map, decoder, seed, and two encoders


def test_sections_give_the_file_back(tmp_path):
    folder = cell(tmp_path, "vae", "nf", 0)
    found, (one,) = configs(tmp_path)
    text = "\n".join(found.texts[place] for place in found.of[one.path])
    assert text == (folder / "config.yaml").read_text().removesuffix("\n")


def test_settings_have_dotted_names(tmp_path):
    cell(tmp_path, "vae", "nf", 0)
    found, (one,) = configs(tmp_path)
    assert found.settings(one)["data.n_train"] == 100
    assert found.settings(one)["map.alpha"] is None


def test_differing_names_the_settings_that_differ(tmp_path):
    cell(tmp_path, "vae", "nf", 0)
    cell(tmp_path, "vae", "nf", 1, settings={"data__n_train": 7, "seed": 3})
    found, cells = configs(tmp_path)
    assert found.differing(cells) == {"data.n_train", "seed"}


def test_common_sections_are_those_that_most_cells_have(tmp_path):
    for number, alpha in enumerate((1, 2, 2)):
        cell(tmp_path, "vae", "nf", number, settings={"map__alpha": alpha})
    found, _ = configs(tmp_path)
    assert {"map.alpha": 2} in [found.leaves[place] for place in found.common()]


def test_a_section_that_is_no_yaml_is_shown_as_it_is(tmp_path):
    folder = cell(tmp_path, "vae", "nf", 0)
    (folder / "config.yaml").write_text("seed: 0\nmap: [1\n")
    found, (one,) = configs(tmp_path)
    assert found.settings(one) == {"seed": 0}
    assert found.texts[1] == "map: [1"
