"""Labels of models say what is in a row or column, and no label stands for two models."""

import pytest
from hydra import compose
from omegaconf import OmegaConf

from stitching import config
from stitching.config import assemble
from stitching.config.compose import initialized
from stitching.config.labels import check_labels, label_models

SMALL = ["data.n_train=12", "data.n_test=4", "metric=[rmse]", "tracker=none"]


def composed(*overrides):
    return config.compose_config([*SMALL, *overrides])


@pytest.mark.parametrize(
    ("overrides", "label"),
    [
        (["encoder=dm"], "dm"),
        (["encoder=dm", "encoder.n_steps=5"], "dm[n_steps=5]"),
        (["encoder=dm", "encoder.n_steps=10"], "dm"),
        (["encoder=nf", "encoder.checkpoint=5000"], "nf[checkpoint=5000]"),
        (["encoder=vqvae", "encoder.space=indices"], "vqvae[space=indices]"),
        (["encoder=vae", "encoder.weights=mine.safetensors"], "vae[weights=mine.safetensors]"),
        (["encoder=pca", "encoder.width=8"], "pca[width=8]"),
        (["encoder=untrained", "encoder.of=nf"], "untrained-nf"),
        (["encoder=untrained", "encoder.of=nf", "encoder.seed=3"], "untrained-nf[seed=3]"),
        (["encoder=vae", "encoder.channels=[8,8]"], "vae[channels=[8,8]]"),
        (["encoder=vae", "encoder.name=mine"], "mine"),
        # What every model gets from the global settings tells none of them apart.
        (["encoder=random", "seed=3", "data.image_size=32", "zoo=elsewhere"], "random"),
    ],
)
def test_a_label_is_the_name_and_the_options_that_differ_from_its_yaml(overrides, label):
    assert composed(*overrides).settings["encoder"]["name"] == label


def test_roles_of_one_model_with_other_options_have_two_labels():
    models = composed("encoder=dm", "decoder=dm", "encoder.n_steps=5").models.values()
    assert [model.node["name"] for model in models] == ["dm[n_steps=5]", "dm"]
    assert [model.yaml_name for model in models] == ["dm", "dm"]
    assert [model.changed for model in models] == [{"n_steps": 5}, {}]


def test_a_long_path_is_shown_by_its_end():
    path = "/a/folder/with/a/rather/long/name/run-7/vae.safetensors"
    model = composed("encoder=vae", f"encoder.weights={path}").models["encoder"]
    assert model.node["name"] == "vae[weights=.../run-7/vae.safetensors]"
    assert model.changed == {"weights": path}


def test_a_configuration_is_labelled_once():
    config.register_roles()
    with initialized():
        cfg = compose("config", [*SMALL, "encoder=dm", "encoder.n_steps=5"])
    choices = {"encoder": "dm", "decoder": "nf", "data": "faces"}
    label_models(cfg, choices)
    assert cfg.encoder.name == "dm[n_steps=5]"
    before = OmegaConf.to_container(cfg)
    label_models(cfg, choices)
    assert OmegaConf.to_container(cfg) == before


@pytest.mark.parametrize("name", ["nf", "dm", "random"])
def test_a_name_that_belongs_to_another_model_is_refused(name):
    with pytest.raises(
        ValueError, match=f"encoder=vae is called {name}, which is the name of another"
    ):
        composed("encoder=vae", f"encoder.name={name}")


@pytest.mark.parametrize("name", ["org/pix", "", "a b", "x" * 65, "ä", "a[b]"])
def test_a_name_that_files_cannot_have_is_refused(name):
    with pytest.raises(ValueError, match="1 to 64 letters, digits"):
        composed("decoder=vae", f"decoder.name='{name}'")


def test_one_name_for_two_models_of_a_sweep_is_refused():
    same = ("vae", "vae", {})
    check_labels([same, same, ("dm[n_steps=5]", "dm", {"n_steps": 5}), ("dm", "dm", {})])
    with pytest.raises(ValueError, match="x stands for two models: dm as it is, and dm with n_st"):
        check_labels([("x", "dm", {}), same, ("x", "dm", {"n_steps": 5})])


def test_one_name_for_two_models_of_a_cell_is_refused():
    names = ["encoder.name=x", "decoder.name=x"]
    cfg = composed("encoder=dm", "decoder=dm", "encoder.n_steps=5", *names)
    with pytest.raises(ValueError, match=r"both called x, but differ in n_steps \(5 and 10\)"):
        assemble.build_cell(cfg)


def test_the_identity_between_spaces_that_differ_is_refused():
    cfg = composed("encoder=dm", "decoder=dm", "encoder.n_steps=5", "map=identity")
    with pytest.raises(ValueError, match=r"map=identity is for one space.* n_steps \(5 and 10\)"):
        assemble.build_cell(cfg)
    assemble.build_cell(composed("encoder=dm", "decoder=dm", "map=identity"))


def test_penalties_by_hand_go_by_the_model_whatever_it_is_called():
    named = composed("encoder=nf", "encoder.name=glow", "decoder=vae", "protocol=paper",
                     "protocol.test_images=null")  # fmt: skip
    cell = assemble.build_cell(named)
    assert (cell.encoder.model.name, cell.encoder.model_name) == ("glow", "nf")
    assert cell.fitting.by_hand("nf", "vae") == 5000
    source, target = cell.encoder.model_name, cell.decoder.model_name
    assert cell.fitting.by_hand(source, target) == 5000


def test_what_differs_is_a_fact_of_the_cell():
    from stitching.pipeline.provenance import of_options

    cell = assemble.build_cell(composed("encoder=dm", "decoder=vae", "encoder.n_steps=5"))
    facts = of_options(encoder=cell.encoder, decoder=cell.decoder)
    assert facts == {"encoder/model": "dm", "encoder/n_steps": 5, "decoder/model": "vae"}


def test_a_data_set_has_no_name_of_another_one():
    with pytest.raises(
        ValueError, match="data=folder is called celeba, which is the name of another"
    ):
        composed("data=folder", "data.root=here", "data.name=celeba")
    assert (
        composed("data=folder", "data.root=here", "data.name=shoes").settings["data"]["name"]
        == "shoes"
    )


def test_a_copy_of_a_yaml_that_keeps_the_name_is_refused(tmp_path):
    from stitching.config.labels import check_name

    with pytest.raises(ValueError, match="encoder=dm5 is called dm"):
        check_name("encoder", "dm", "dm5", "model")


def test_a_key_of_a_training_that_nothing_reads_is_refused():
    with pytest.raises(ValueError, match=r"encoder\.training\.ema_ is not an option.*ema\?"):
        composed("encoder=vae", "+encoder.training.ema_=3")
