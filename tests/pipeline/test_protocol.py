"""The protocols as configured: what each switch is set to, and what a result is called."""

import pytest
import yaml

from stitching.config import build_protocol, compose_config
from stitching.config.compose import conf_dir
from stitching.pipeline.protocol import PRESETS, Protocol


def protocol(*overrides: str) -> Protocol:
    return build_protocol(compose_config(list(overrides)).settings["protocol"])


def probe(*overrides: str) -> str:
    return str(compose_config(list(overrides)).settings["probe"]["_target_"])


@pytest.mark.parametrize("name", ["strict", "paper"])
def test_an_option_sets_the_switches_its_label_stands_for(name: str) -> None:
    found = protocol(f"protocol={name}")
    assert found.name == name
    assert {key: getattr(found, key) for key in PRESETS[name] if key != "probe"} == {
        key: value for key, value in PRESETS[name].items() if key != "probe"
    }
    assert found.label(str(PRESETS[name]["probe"])) == name


def test_the_default_is_strict() -> None:
    assert protocol() == protocol("protocol=strict")


@pytest.mark.parametrize(
    ("option", "label"),
    [
        ("only-probe-ids", "strict, probe_ids=overlapping"),
        ("only-penalty", "strict, penalty=by_hand"),
        ("only-latents", "strict, latents=sampled"),
        ("only-test-images", "strict, test_images=100"),
        ("only-lasso", "strict, probe=lasso"),
    ],
)
def test_an_option_with_one_switch_flipped_names_it_in_its_label(option: str, label: str) -> None:
    kind = "lasso" if option == "only-lasso" else "logistic"
    assert protocol(f"protocol={option}").label(kind) == label


def test_every_option_is_swept_by_the_experiment() -> None:
    text = (conf_dir() / "experiment" / "protocols.yaml").read_text()
    swept = yaml.safe_load(text)["hydra"]["sweeper"]["params"]["protocol"].split(",")
    assert sorted(swept) == sorted(path.stem for path in (conf_dir() / "protocol").glob("*.yaml"))


def test_a_switch_set_on_the_command_line_shows_in_the_label() -> None:
    assert protocol("protocol.latents=sampled").label("logistic") == "strict, latents=sampled"
    changed = protocol("protocol=paper", "protocol.penalty=chosen")
    assert changed.label("lasso") == "paper, penalty=chosen"


def test_the_paper_probes_with_lasso_by_default() -> None:
    assert probe("protocol=paper").endswith("LassoProbes")
    assert probe("protocol=paper", "probe=logistic").endswith("LogisticProbes")
    assert probe("protocol=strict").endswith("LogisticProbes")


def test_penalties_by_hand_are_those_of_the_table_and_none_for_others() -> None:
    paper = protocol("protocol=paper")
    assert paper.map_alpha("nf", "vae") == 5e3
    assert paper.map_alpha("nf-celeba64", "dm-celeba64") == 5e4
    assert paper.map_alpha("vae", "nf") == 0
    assert paper.probe_alpha("dm") == 0.02
    assert paper.probe_alpha("gan") is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("protocol.probe_ids=all", "protocol.probe_ids='all': use held_out or overlapping"),
        ("protocol.penalty=none", "protocol.penalty='none': use chosen or by_hand"),
        (
            "protocol.latents=median",
            r"protocol.latents='median': use mean or sampled, did you mean mean\?",
        ),
        ("protocol.invalid=drop", "protocol.invalid='drop': use fail or exclude"),
        (
            "protocol.test_images=0",
            "protocol.test_images must be a whole number >= 1, or null for all, got 0",
        ),
        ("protocol.n_bootstrap=-1", "protocol.n_bootstrap must be a whole number >= 0, got -1"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        protocol(override)
