"""Options `probe=...`."""

from inspect import signature
from pathlib import Path

import pytest
import yaml

from stitching import probes

CONF = Path(__file__).parents[2] / "conf" / "probe"


@pytest.mark.parametrize("name", ["logistic", "ridge", "lasso"])
def test_an_option_names_every_setting_and_leaves_attributes_to_the_data(name):
    options = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    kind = getattr(probes, options.pop("_target_").removeprefix("stitching.probes."))
    built = kind(**options)
    assert built.kind == name
    assert built.attributes == "auto"
    assert options.keys() == signature(kind).parameters.keys()


@pytest.mark.parametrize("name", ["logistic", "ridge", "lasso"])
def test_settings_of_an_option_are_those_of_its_class(name):
    options = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    kind = getattr(probes, options.pop("_target_").removeprefix("stitching.probes."))
    assert kind(**options).identity == kind().identity


def test_probes_can_be_switched_off():
    assert yaml.safe_load((CONF / "none.yaml").read_text()) == {"_target_": None}
