"""Presets of sweeps: they compose, their models exist, and each names its command."""

import pytest
from hydra import compose, initialize_config_dir

from stitching import config

CONF = config.conf_dir()
PRESETS = ("learning", "ceilings", "controls")
MODELS = {path.stem for path in (CONF / "model").glob("*.yaml")}


def composed(name):
    config.register_roles()
    with initialize_config_dir(str(CONF.resolve()), version_base="1.3"):
        return compose("config", [f"experiment={name}"], return_hydra_config=True)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_sweeps_models_that_exist_and_names_its_command(name):
    hydra = composed(name).hydra
    assert hydra.mode.name == "MULTIRUN"
    for role in config.ROLES:
        assert {*hydra.sweeper.params[role].split(",")} <= MODELS
    assert f"python launch.py experiment={name}" in (CONF / f"experiment/{name}.yaml").read_text()


def test_learning_curves_have_the_sizes_of_an_extrapolation():
    from stitching.results.extrapolation import FEWEST_SIZES, LEAST_RANGE

    sizes = [int(n) for n in composed("learning").hydra.sweeper.params["data.n_train"].split(",")]
    assert len(sizes) > FEWEST_SIZES
    assert max(sizes) / min(sizes) >= LEAST_RANGE


@pytest.mark.parametrize("name", sorted(name for name in MODELS if name.endswith("-2")))
def test_a_second_training_differs_in_name_and_weights_alone(name):
    model = name.removesuffix("-2")
    first, second = (
        config.compose_config([f"encoder={x}", "tracker=none"]).settings["encoder"]
        for x in (model, name)
    )
    # `_model_` is the name of the YAML.
    keys = (first | second).keys() - {"_model_"}
    differing = {key for key in keys if first.get(key) != second.get(key)}
    assert differing == {"name", "weights"}
    assert second["weights"] == f"zoo:faces-2/{model}.safetensors"
